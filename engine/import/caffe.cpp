#include "engine/import/caffe.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <new>

#include "engine/fs.h"
#include "engine/import/caffe_graph.h"
#include "engine/import/message_file.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;
namespace pb = google::protobuf;

constexpr uint64_t kMaxText = uint64_t{1} << 26;
constexpr const char* kTooLarge = "Caffe cannot read such a file either";
/// Networks nest three messages deep; layers of forks a few more.
constexpr int kMaxDepth = 32;

/// Keeps the first complaint of the parser. Fields that the schema does not have are no errors.
class FirstError final : public pb::io::ErrorCollector {
 public:
  void AddError(int line, pb::io::ColumnNumber column, const std::string& message) override {
    if (!text_.empty()) return;
    text_ = "line " + std::to_string(line + 1) + ", column " + std::to_string(column + 1) + ": " +
            message;
    std::replace_if(
        text_.begin(), text_.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  }
  void AddWarning(int, pb::io::ColumnNumber, const std::string&) override {}
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// Braces that are open at once, at most. The parser limits the depth of known fields only.
int depth_of(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size());
    } else if (c == '"' || c == '\'') {
      for (++i; i < text.size() && text[i] != c && text[i] != '\n'; ++i) {
        if (text[i] == '\\') ++i;
      }
    } else if (c == '{' || c == '<' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == '>' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

caffe::Network parse_network(std::string_view text) {
  const auto fail = [](const std::string& what) {
    return Error(ErrorKind::kModel, "not a Caffe network: " + what,
                 "give the network's .prototxt as model, its .caffemodel as --weights");
  };
  if (text.find('\0') != std::string_view::npos) throw fail("it is no text");
  if (text.rfind("version https://git-lfs", 0) == 0) {
    throw Error(ErrorKind::kModel, "a Git LFS pointer, not the network itself",
                "run `git lfs pull`");
  }
  if (depth_of(text) > kMaxDepth) {
    throw fail("messages are nested over " + std::to_string(kMaxDepth) + " deep");
  }
  FirstError errors;
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.AllowUnknownField(true);
  parser.SetRecursionLimit(kMaxDepth);
  pb::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  caffe::Network network;
  if (!parser.Parse(&stream, &network)) throw fail(errors.text());
  return network;
}

void check_weights(bool parsed) {
  if (parsed) return;
  throw Error(ErrorKind::kModel, "no Caffe weights, or truncated",
              "download the .caffemodel again");
}

/// Runs `work`, whose errors then name the file.
template <class Work>
auto naming(const std::string& file, Work&& work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kUnsupported && error.message().rfind(file, 0) == 0) throw;
    throw error.with_context(file);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kResource, file + ": not enough memory to read the model");
  }
}

std::string read_text(const fs::path& path) {
  check_model_file(path);
  std::error_code code;
  if (fs::file_size(path, code) > kMaxText) {
    throw Error(ErrorKind::kModel, "too large for the text of a network",
                "give the network's .prototxt as model, its .caffemodel as --weights");
  }
  const std::vector<uint8_t> bytes = read_file(path, kMaxText, "network");
  return std::string(bytes.begin(), bytes.end());
}

}  // namespace

fs::path find_caffe_weights(const fs::path& network) {
  fs::path same = network;
  same.replace_extension(".caffemodel");
  std::error_code code;
  if (fs::exists(same, code)) return same;
  const fs::path folder = network.has_parent_path() ? network.parent_path() : fs::path(".");
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    if (entry.path().extension() == ".caffemodel")
      found.push_back(entry.path().filename().string());
  }
  if (found.size() == 1) return network.parent_path() / found[0];
  std::sort(found.begin(), found.end());
  std::string which = "there is no .caffemodel beside it";
  if (!found.empty()) {
    which = "there are " + std::to_string(found.size()) + " .caffemodel files beside it, '" +
            found[0] + "' and '" + found[1] + "' among them";
  }
  throw Error(ErrorKind::kModel, network.string() + ": the weights are missing: " + which,
              "name them with --weights FILE");
}

CaffeModel import_caffe(const fs::path& network, fs::path weights, const Registry& registry) {
  const std::string name = network.string();
  const caffe::Network parsed = naming(name, [&] { return parse_network(read_text(network)); });
  if (weights.empty()) weights = find_caffe_weights(network);
  CaffeWeights blobs = naming(weights.string(), [&] {
    caffe::TrainedNetwork trained;
    check_weights(parse_message_file(weights, trained, kTooLarge));
    return CaffeWeights(std::move(trained));
  });
  return naming(name, [&] {
    const fs::path folder = network.has_parent_path() ? network.parent_path() : fs::path(".");
    return CaffeGraphImporter(parsed, std::move(blobs), folder, name, registry).run();
  });
}

CaffeModel import_caffe(std::string_view network, std::span<const std::byte> weights,
                        const fs::path& folder, const std::string& name, const Registry& registry) {
  return naming(name, [&] {
    if (network.size() > kMaxText) {
      throw Error(ErrorKind::kModel, "too large for the text of a network");
    }
    const caffe::Network parsed = parse_network(network);
    check_message_size(weights.size(), kTooLarge);
    caffe::TrainedNetwork trained;
    check_weights(trained.ParseFromArray(weights.data(), static_cast<int>(weights.size())));
    return CaffeGraphImporter(parsed, CaffeWeights(std::move(trained)), folder, name, registry)
        .run();
  });
}

Preprocessing caffe_preprocessing(const CaffeTransform& transform, const Shape& input) {
  constexpr int kCustomarySide = 256;
  constexpr int kSmallestCrop = 200;
  Preprocessing recipe;
  const bool gray = input.rank() == 4 && input[1] == 1;
  recipe.channel_order = gray ? ChannelOrder::kGray : ChannelOrder::kBgr;
  const int height = input.rank() == 4 ? static_cast<int>(input[2]) : 224;
  const int width = input.rank() == 4 ? static_cast<int>(input[3]) : 224;
  const auto cut = [](int extent) { return extent >= kSmallestCrop && extent <= kCustomarySide; };
  recipe.resize = ResizeOp::kExact;
  recipe.resize_height = height;
  recipe.resize_width = width;
  if (transform.resize_height >= height && transform.resize_width >= width) {
    recipe.resize_height = transform.resize_height;
    recipe.resize_width = transform.resize_width;
  } else if (cut(height) && cut(width)) {
    recipe.resize_height = recipe.resize_width = kCustomarySide;
  }
  recipe.crop_height = height;
  recipe.crop_width = width;
  if (!(transform.scale > 0)) {
    throw Error(ErrorKind::kModel,
                "transform_param has the scale " + std::to_string(transform.scale),
                "correct the network's .prototxt, or use --scale and --std");
  }
  recipe.scale = 1;
  recipe.std = {1 / transform.scale};
  recipe.mean = transform.mean;
  const bool unknown = !transform.stated || !transform.mean_file.empty();
  if (recipe.mean.empty() && unknown && !gray) recipe.mean = {104, 117, 123};
  if (recipe.mean.empty()) recipe.mean = {0};
  return recipe;
}

}  // namespace camlucida
