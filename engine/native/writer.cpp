#include <algorithm>
#include <cmath>
#include <map>

#include "engine/fs.h"
#include "engine/native/description.h"
#include "engine/native/model_file.h"

namespace camlucida {
namespace {

using native::Description;
using native::Storage;
using native::StoredTensor;

/// Weights smaller than this stay exact: biases and statistics, which cost little and matter much.
constexpr int64_t kSmallWeight = 1024;
constexpr float kInt8Steps = 127.0f;

/// A tensor in the form it is stored in.
struct Encoded {
  Storage storage = Storage::kPlain;
  std::vector<std::byte> bytes;
  double error = 0;  // over the largest magnitude
};

void append(std::vector<std::byte>& bytes, const void* data, size_t size) {
  const auto* from = static_cast<const std::byte*>(data);
  bytes.insert(bytes.end(), from, from + size);
}

/// Over the largest magnitude of the tensor.
double largest_error(const Tensor& given, const Tensor& stored) {
  double error = 0;
  double peak = 0;
  for (int64_t i = 0; i < given.count(); ++i) {
    error = std::max<double>(error, std::abs(given.floats()[i] - stored.floats()[i]));
    peak = std::max<double>(peak, std::abs(given.floats()[i]));
  }
  return peak > 0 ? error / peak : 0.0;
}

Encoded as_float16(const Tensor& tensor) {
  const Tensor half = tensor.cast(DType::kFloat16);
  Encoded encoded{Storage::kFloat16, {}, largest_error(tensor, half.cast(DType::kFloat32))};
  append(encoded.bytes, half.raw(), half.bytes());
  return encoded;
}

/// Symmetric, one scale per entry of axis 0 (an output channel): x = scale * q, |q| <= 127.
Encoded as_int8(const Tensor& tensor) {
  const int64_t rows = tensor.shape()[0];
  const int64_t columns = tensor.count() / rows;
  std::vector<float> scales(static_cast<size_t>(rows));
  std::vector<int8_t> steps(static_cast<size_t>(tensor.count()));
  Tensor rounded(tensor.shape());
  for (int64_t row = 0; row < rows; ++row) {
    const float* values = tensor.floats() + row * columns;
    float peak = 0;
    for (int64_t i = 0; i < columns; ++i) peak = std::max(peak, std::abs(values[i]));
    const float scale = peak / kInt8Steps;
    scales[static_cast<size_t>(row)] = scale;
    for (int64_t i = 0; i < columns; ++i) {
      const float step = scale > 0 ? std::nearbyint(values[i] / scale) : 0.0f;
      const float limited = std::clamp(step, -kInt8Steps, kInt8Steps);
      steps[static_cast<size_t>(row * columns + i)] = static_cast<int8_t>(limited);
      rounded.floats()[row * columns + i] = scale * limited;
    }
  }
  Encoded encoded{Storage::kInt8, {}, largest_error(tensor, rounded)};
  append(encoded.bytes, scales.data(), scales.size() * sizeof(float));
  append(encoded.bytes, steps.data(), steps.size());
  return encoded;
}

bool can_shrink(const Tensor& tensor) {
  return tensor.dtype() == DType::kFloat32 && tensor.shape().rank() >= 2 &&
         tensor.count() >= kSmallWeight;
}

void check_finite(const Tensor& tensor, const std::string& name) {
  const auto values = tensor.as<float>();
  if (std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) return;
  throw Error(ErrorKind::kUnsupported,
              "weight '" + name + "' holds NaN or infinity and cannot be stored in fewer bits",
              "store it as float32");
}

Encoded encode(const Tensor& tensor, const std::string& name, WeightStorage storage) {
  if (storage != WeightStorage::kFloat32 && can_shrink(tensor)) {
    check_finite(tensor, name);
    return storage == WeightStorage::kFloat16 ? as_float16(tensor) : as_int8(tensor);
  }
  Encoded encoded;
  append(encoded.bytes, tensor.raw(), tensor.bytes());
  return encoded;
}

/// The file as it grows in memory, tensors first.
class Writer {
 public:
  Writer(const NativeModel& model, WeightStorage storage) : model_(model), storage_(storage) {
    file_.resize(native::kHeaderBytes);
  }

  std::vector<std::byte> run(NativeWriteReport* report) {
    Description description;
    description.manifest = model_.manifest;
    description.labels = model_.labels.to_text();
    for (const Value& value : model_.graph.values()) {
      native::StoredValue stored{value.name, value.shaped, value.desc, kNone};
      if (value.is_constant()) {
        stored.tensor = static_cast<int32_t>(description.tensors.size());
        description.tensors.push_back(add_tensor(value));
      }
      description.values.push_back(std::move(stored));
    }
    for (const Node& node : model_.graph.nodes()) description.nodes.push_back(describe(node));
    description.inputs = model_.graph.inputs();
    description.outputs = model_.graph.outputs();
    description.aliases = {model_.graph.aliases().begin(), model_.graph.aliases().end()};
    report->tensors = static_cast<int>(description.tensors.size());
    report->weight_bytes = weight_bytes_;
    report->largest_error = largest_error_;

    native::WriteArchive archive;
    archive(description);
    align();
    const uint64_t offset = file_.size();
    append(file_, archive.bytes().data(), archive.bytes().size());
    write_header(offset, archive.bytes());
    report->bytes = file_.size();
    return std::move(file_);
  }

 private:
  void align() {
    file_.resize((file_.size() + native::kAlignment - 1) / native::kAlignment * native::kAlignment);
  }

  StoredTensor add_tensor(const Value& value) {
    align();
    const Encoded encoded = encode(value.constant, value.name, storage_);
    StoredTensor stored{value.constant.desc(), encoded.storage, file_.size(), encoded.bytes.size(),
                        native::checksum(encoded.bytes)};
    append(file_, encoded.bytes.data(), encoded.bytes.size());
    weight_bytes_ += encoded.bytes.size();
    largest_error_ = std::max(largest_error_, encoded.error);
    return stored;
  }

  static native::StoredNode describe(const Node& node) {
    if (!node.epilogues.empty()) {
      throw Error(ErrorKind::kInternal, "a fused graph cannot be stored");
    }
    native::StoredNode stored{node.name, node.layer->name, node.operation, node.opset,
                              {},        node.inputs,      node.outputs};
    for (auto& [name, value] : node.attributes.fields()) stored.attributes.push_back({name, value});
    return stored;
  }

  void write_header(uint64_t offset, std::span<const std::byte> description) {
    const auto put = [this](size_t at, auto value) {
      std::memcpy(file_.data() + at, &value, sizeof value);
    };
    std::memcpy(file_.data(), native::kMagic.data(), native::kMagic.size());
    put(8, native::kVersion);
    put(12, static_cast<uint32_t>(native::kHeaderBytes));
    put(16, uint64_t{file_.size()});
    put(24, offset);
    put(32, uint64_t{description.size()});
    put(40, native::checksum(description));
    put(56, native::checksum(std::span(file_).first(56)));
  }

  const NativeModel& model_;
  WeightStorage storage_;
  std::vector<std::byte> file_;
  uint64_t weight_bytes_ = 0;
  double largest_error_ = 0;
};

}  // namespace

NativeWriteReport write_native(const std::filesystem::path& path, const NativeModel& model,
                               WeightStorage storage) {
  NativeWriteReport report;
  const std::vector<std::byte> bytes = Writer(model, storage).run(&report);
  write_file_atomic(path, std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
  return report;
}

}  // namespace camlucida
