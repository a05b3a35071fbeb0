#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <span>

#include "engine/import/onnx.h"
#include "engine/native/format.h"
#include "engine/native/model_file.h"
#include "engine/session.h"
#include "explain/model.h"
#include "tests/shared.h"
#include "tests/small_net.h"

/// The native format: what is written comes back bit by bit, and what is damaged is refused.
namespace camlucida {
namespace {

namespace fs = std::filesystem;

std::vector<char> read_all(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_all(const fs::path& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<long>(bytes.size()));
}

std::vector<float> logits(const Graph& graph) {
  Session session(Plan::compile(graph, {{"x", {1, 3, 9, 11}}}));
  session.forward(testing::random_tensor({1, 3, 9, 11}, 5));
  const Tensor scores = session.output();
  return {scores.floats(), scores.floats() + scores.count()};
}

class NativeFormat : public ::testing::Test {
 protected:
  fs::path path() const { return folder_.path() / "net.clm"; }

  NativeModel small_model() const {
    NativeModel model{testing::residual_net(), {}, Labels({"a", "b", "c", "d", "e"})};
    model.manifest.name = "small";
    model.manifest.preprocessing = Preprocessing::imagenet(9, 11);
    model.manifest.outputs = {{"logits", {1, 5}, "logits"}};
    model.manifest.target_layer = Manifest::TargetLayer{"last", "relu2"};
    model.manifest.taps = {{"block.0", "relu1"}};
    return model;
  }

  test::TemporaryFolder folder_;
};

TEST_F(NativeFormat, RoundTripIsExact) {
  const NativeModel written = small_model();
  const NativeWriteReport report = write_native(path(), written);
  EXPECT_EQ(report.bytes, fs::file_size(path()));
  EXPECT_EQ(report.largest_error, 0.0);
  const NativeModel read = read_native(path());

  ASSERT_EQ(read.graph.nodes().size(), written.graph.nodes().size());
  for (size_t i = 0; i < read.graph.nodes().size(); ++i) {
    const Node& a = written.graph.nodes()[i];
    const Node& b = read.graph.nodes()[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.layer, b.layer);
    EXPECT_EQ(a.operation, b.operation);
    EXPECT_EQ(a.attributes.fields(), b.attributes.fields());
  }
  for (const Value& value : written.graph.values()) {
    const Value& twin = read.graph.value(read.graph.require(value.name));
    EXPECT_EQ(value.desc, twin.desc);
    ASSERT_EQ(value.is_constant(), twin.is_constant());
    if (value.is_constant()) {
      EXPECT_EQ(std::memcmp(value.constant.raw(), twin.constant.raw(), value.constant.bytes()), 0);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(twin.constant.raw()) % native::kAlignment, 0u);
    }
  }
  EXPECT_EQ(logits(written.graph), logits(read.graph));
  EXPECT_EQ(read.manifest.name, "small");
  EXPECT_EQ(read.manifest.preprocessing, written.manifest.preprocessing);
  EXPECT_EQ(read.manifest.outputs.at(0).kind, "logits");
  EXPECT_EQ(read.manifest.target_layer->value, "relu2");
  EXPECT_EQ(read.manifest.taps, written.manifest.taps);
  EXPECT_EQ(read.labels.names(), written.labels.names());
}

TEST_F(NativeFormat, FewerBitsStayWithinTheirStep) {
  const NativeModel model = small_model();
  const NativeWriteReport exact = write_native(path(), model);
  const NativeWriteReport half = write_native(path(), model, WeightStorage::kFloat16);
  EXPECT_LT(half.weight_bytes, exact.weight_bytes);
  EXPECT_GT(half.largest_error, 0.0);
  EXPECT_LE(half.largest_error, 0x1p-11);
  const std::vector<float> expected = logits(model.graph);
  const std::vector<float> rounded = logits(read_native(path()).graph);
  float peak = 0;
  for (float v : expected) peak = std::max(peak, std::abs(v));
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(rounded[i], expected[i], 0.01f * peak);
  }
  const NativeWriteReport bytes = write_native(path(), model, WeightStorage::kInt8);
  EXPECT_LT(bytes.weight_bytes, half.weight_bytes);
  EXPECT_LE(bytes.largest_error, 0.5 / 127 + 1e-6);
  EXPECT_GT(bytes.largest_error, half.largest_error);
}

TEST_F(NativeFormat, ChangedBytesAreNoticed) {
  write_native(path(), small_model());
  const std::vector<char> good = read_all(path());
  std::fstream file(path(), std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](size_t at, char byte) {
    file.seekp(static_cast<long>(at));
    file.put(byte);
    file.flush();
  };
  // Padding between tensors is the only part that means nothing.
  size_t tried = 0;
  size_t accepted = 0;
  for (size_t at = 0; at < good.size(); at += at < native::kHeaderBytes ? 1 : 23, ++tried) {
    put(at, static_cast<char>(good[at] ^ 0x10));
    try {
      read_native(path());
      EXPECT_EQ(good[at], 0) << "byte " << at;
      ++accepted;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kModel) << "byte " << at;
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
    put(at, good[at]);
  }
  EXPECT_LT(accepted, tried / 20);
  EXPECT_NO_THROW(read_native(path()));
}

TEST_F(NativeFormat, EveryTruncationIsRefused) {
  write_native(path(), small_model());
  const std::vector<char> good = read_all(path());
  for (size_t size = 0; size < good.size(); size += size < 128 ? 1 : 97) {
    write_all(path(), {good.begin(), good.begin() + static_cast<long>(size)});
    EXPECT_THROW(read_native(path()), Error) << size;
  }
  std::vector<char> longer = good;
  longer.push_back(0);
  write_all(path(), longer);
  EXPECT_ERROR(read_native(path()), kModel, "bytes");
}

void flip(std::vector<std::byte>& bytes, size_t bit) {
  bytes[bit / 8] ^= std::byte{1} << (bit % 8);
}

/// Every bit counts wherever it lies: in a whole block, in the rest after it.
TEST(NativeChecksum, EveryBitCounts) {
  for (const size_t size : {0, 1, 7, 8, 127, 128, 129, 300}) {
    std::vector<std::byte> bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 37);
    std::set<uint64_t> seen = {native::checksum(bytes)};
    for (size_t bit = 0; bit < size * 8; ++bit) {
      flip(bytes, bit);
      EXPECT_TRUE(seen.insert(native::checksum(bytes)).second) << size << " bytes, bit " << bit;
      flip(bytes, bit);
    }
    bytes.push_back(std::byte{0});
    EXPECT_TRUE(seen.insert(native::checksum(bytes)).second) << "a zero after " << size << " bytes";
  }
}

/// No two changed bits cancel, be they in one step of a lane or in steps that follow each other.
TEST(NativeChecksum, TwoBitsDoNotCancel) {
  constexpr size_t kBlockBits = 128 * 8;  // a lane takes the first 128 of every block
  std::vector<size_t> bits;
  for (size_t bit = 0; bit < 128; ++bit) bits.insert(bits.end(), {bit, bit + kBlockBits});
  std::vector<std::byte> bytes(2 * kBlockBits / 8);
  std::vector<uint64_t> seen = {native::checksum(bytes)};
  for (size_t i = 0; i < bits.size(); ++i) {
    flip(bytes, bits[i]);
    for (size_t j = i + 1; j < bits.size(); ++j) {
      flip(bytes, bits[j]);
      seen.push_back(native::checksum(bytes));
      flip(bytes, bits[j]);
    }
    flip(bytes, bits[i]);
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
}

/// Files are read by other builds: the values are part of the format.
TEST(NativeChecksum, ValuesAreFixed) {
  const std::string letter = "a";
  std::array<uint8_t, 200> ramp;
  std::iota(ramp.begin(), ramp.end(), uint8_t{0});
  EXPECT_EQ(native::checksum({}), 0xdc0b6be853d46c4au);
  EXPECT_EQ(native::checksum(std::as_bytes(std::span(letter))), 0x406951b7bcd63aa5u);
  EXPECT_EQ(native::checksum(std::as_bytes(std::span(ramp))), 0x03861f4353cb7557u);
}

TEST_F(NativeFormat, ForeignAndOtherVersionsAreNamed) {
  write_all(path(), {'P', 'K', 3, 4});
  EXPECT_ERROR(read_native(path()), kModel, "not a .clm");
  EXPECT_ERROR(read_native(folder_.path() / "missing.clm"), kModel, "missing.clm");
  write_native(path(), small_model());
  std::vector<char> newer = read_all(path());
  newer[8] = static_cast<char>(native::kVersion + 1);
  write_all(path(), newer);
  EXPECT_ERROR(read_native(path()), kModel, "use a newer Camlucida");
  newer[8] = static_cast<char>(native::kVersion - 1);
  write_all(path(), newer);
  EXPECT_ERROR(read_native(path()), kModel, "convert the model again");
}

TEST_F(NativeFormat, WeightsThatAreNotFiniteAreNotRounded) {
  testing::NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {1, 1024}});
  Tensor weight = testing::random_tensor({1024, 4}, 3);
  weight.floats()[17] = NAN;
  net.builder.add_output(net.node("MatMul", "y", {x, net.constant("w", weight)}));
  const NativeModel model{std::move(net.builder).build(), {}, {}};
  write_native(path(), model);
  EXPECT_ERROR(write_native(path(), model, WeightStorage::kInt8), kUnsupported, "'w'");
}

TEST(NativeModelFiles, RealNetworksAreTheSameBits) {
  REQUIRE_SHARED(shared);
  test::TemporaryFolder folder;
  for (const std::string name : {"squeezenet1_1", "resnet20_cifar10", "shufflenetv2_trunk"}) {
    const fs::path onnx = shared / "zoo" / name / "model.onnx";
    const Model model = Model::load(onnx);
    const fs::path path = folder.path() / (name + ".clm");
    NativeModel native{model.graph(), model.manifest().value(), model.labels()};
    write_native(path, native);
    const Model twin = Model::load(path);
    EXPECT_EQ(twin.name(), model.name());
    EXPECT_EQ(twin.labels().names(), model.labels().names());
    EXPECT_EQ(twin.preprocessing(), model.preprocessing());
    const Tensor input = testing::random_tensor(model.input_shape(), 9);
    const Tensor a = model.predict(input).scores;
    const Tensor b = twin.predict(input).scores;
    ASSERT_EQ(a.bytes(), b.bytes());
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << name;
  }
}

}  // namespace
}  // namespace camlucida
