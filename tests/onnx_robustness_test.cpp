// Damaged and hostile model files: always an Error of one line, never a crash, a hang, a giant
// allocation or output on standard error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <random>

#include "engine/fs.h"
#include "engine/import/onnx.h"
#include "tests/onnx_model.h"
#include "tests/shared.h"

namespace camlucida::test {
namespace {

using schema::AttributeProto;

/// A valid model with something of everything: weights raw, typed and in Constant nodes, a
/// function, an If on a shape, module names, absent inputs.
OnnxModel rich_model() {
  OnnxModel model;
  model.input("x", {0, 3}).output("y").output("k");
  auto& raw = model.floats("w", {3}, {});
  raw.set_raw_data(std::string(12, '\1'));
  model.floats("limit", {}, {6});
  model.ints("axis", {}, {1});
  auto& constant = model.node("Constant", {}, {"one"}, "/c/Constant");
  set_ints(*add_attribute(constant, "value", AttributeProto::TENSOR).mutable_t(), {}, {1});
  model.node("Identity", {"limit"}, {"limit2"});
  model.node("Add", {"x", "w"}, {"a"}, "/layer1/layer1.0/Add");
  model.node("Clip", {"a", "", "limit2"}, {"b"}, "/layer1/layer1.1/Clip");
  model.node("Shape", {"b"}, {"s"});
  model.node("Gather", {"s", "axis"}, {"extent"});
  model.node("Equal", {"extent", "one"}, {"condition"});
  auto& choice = model.node("If", {"condition"}, {"c"}, "choice");
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& branch = *add_attribute(choice, name, AttributeProto::GRAPH).mutable_g();
    set_node(*branch.add_node(), name[0] == 't' ? "Relu" : "Identity", {"b"}, {"r"});
    branch.add_output()->set_name("r");
  }
  auto& function = *model.proto().add_functions();
  function.set_name("Twice");
  function.set_domain("local");
  function.add_opset_import()->set_version(13);
  function.add_input("in");
  function.add_output("out");
  set_node(*function.add_node(), "Relu", {"in"}, {"t"});
  set_node(*function.add_node(), "Dropout", {"t"}, {"out", "mask"});
  model.node("Twice", {"c"}, {"y"}, "call").set_domain("local");
  model.node("Identity", {"w"}, {"k"});
  return model;
}

/// Imports and reports whether that ended in a graph; anything but a graph or an Error fails.
bool imports(const std::string& bytes, const std::string& what) {
  try {
    import_bytes(bytes);
    return true;
  } catch (const Error& error) {
    const std::string line = error.what();
    EXPECT_EQ(line.find('\n'), std::string::npos) << what;
    EXPECT_TRUE(error.kind() == ErrorKind::kModel || error.kind() == ErrorKind::kUnsupported)
        << what << ": " << line;
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
  return false;
}

long peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(OnnxRobustness, TruncatedAnywhere) {
  const std::string whole = rich_model().bytes();
  ASSERT_TRUE(imports(whole, "whole"));
  ::testing::internal::CaptureStderr();
  int graphs = 0;
  for (size_t length = 0; length < whole.size(); ++length) {
    graphs += imports(whole.substr(0, length), "cut at " + std::to_string(length)) ? 1 : 0;
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  // Only cuts between the last top-level fields (the function, the operator set) can be valid.
  EXPECT_LT(graphs, 3);
}

TEST(OnnxRobustness, DamagedAnywhere) {
  const std::string whole = rich_model().bytes();
  ::testing::internal::CaptureStderr();
  const long before = peak_kilobytes();
  int graphs = 0;
  int errors = 0;
  for (uint32_t seed = 0; seed < 6000; ++seed) {
    std::mt19937 random(seed);
    std::string damaged = whole;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < changes; ++i) {
      char& byte = damaged[random() % damaged.size()];
      byte = random() % 2 == 0 ? static_cast<char>(random())
                               : static_cast<char>(byte ^ (1 << random() % 8));
    }
    (imports(damaged, "seed " + std::to_string(seed)) ? graphs : errors) += 1;
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_LT(peak_kilobytes() - before, 1'000'000);
  EXPECT_GT(graphs, 100);
  EXPECT_GT(errors, 1000);
}

TEST(OnnxRobustness, NotAModelAtAll) {
  const TemporaryFolder folder;
  const auto import = [&](std::string_view content) {
    write_file_atomic(folder / "cat.onnx", content);
    import_onnx(folder / "cat.onnx", nullptr, toy_registry());
  };
  EXPECT_ERROR(import(""), kModel, "not an ONNX model, or truncated");
  EXPECT_ERROR(import("<!DOCTYPE html><html></html>"), kModel, "cat.onnx");
  EXPECT_ERROR(import("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"),
               kModel, "Git LFS pointer");
  EXPECT_ERROR(import_onnx(folder / "none.onnx"), kModel, "no such file");
  EXPECT_ERROR(import_onnx(folder.path()), kModel, "not a regular file");
  EXPECT_ERROR(import_onnx("/dev/zero"), kModel, "not a regular file");
  EXPECT_ERROR(read_onnx_info(folder / "none.onnx"), kModel, "none.onnx");
  EXPECT_ERROR(tensor_from_onnx(as_bytes("\xff\xff")), kModel, "not an ONNX tensor");
}

TEST(OnnxRobustness, FilesOverTwoGigabytesAreRefusedUnread) {
  const TemporaryFolder folder;
  write_file_atomic(folder / "big.onnx", std::string_view("x"));
  std::filesystem::resize_file(folder / "big.onnx", uint64_t{3} << 30);  // sparse, takes no disk
  EXPECT_ERROR(import_onnx(folder / "big.onnx"), kModel, "external data");
}

TEST(OnnxRobustness, CyclesAreFound) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.node("Add", {"x", "b"}, {"a"}, "one");
  model.node("Relu", {"a"}, {"b"}, "two");
  model.node("Relu", {"b"}, {"y"}, "three");
  EXPECT_ERROR(model.import(), kModel,
               "the graph has a cycle (node 'one', operator Add, opset 13)");
  OnnxModel self;
  self.input("x", {2}).output("y");
  self.node("Relu", {"y"}, {"y"}, "self");
  EXPECT_ERROR(self.import(), kModel, "cycle");
}

TEST(OnnxRobustness, NamesMustBeProducedOnce) {
  OnnxModel twice;
  twice.input("x", {2}).output("y");
  twice.node("Relu", {"x"}, {"y"}, "one");
  twice.node("Relu", {"x"}, {"y"}, "two");
  EXPECT_ERROR(twice.import(), kModel, "'y' is produced twice");

  OnnxModel shadow;
  shadow.input("x", {2}).output("y");
  shadow.node("Relu", {"x"}, {"x"}, "one");
  shadow.node("Relu", {"x"}, {"y"}, "two");
  EXPECT_ERROR(shadow.import(), kModel, "'x' is produced twice");

  OnnxModel weights;
  weights.input("x", {2}).output("y");
  weights.floats("w", {1}, {1});
  weights.floats("w", {1}, {2});
  weights.node("Add", {"x", "w"}, {"y"});
  EXPECT_ERROR(weights.import(), kModel, "initializer 'w' is given twice");
}

TEST(OnnxRobustness, MissingPieces) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.node("Add", {"x", "w"}, {"y"}, "add");
  EXPECT_ERROR(model.import(), kModel, "'w' is read but nothing produces it (node 'add'");
  OnnxModel output;
  output.input("x", {2}).output("y");
  EXPECT_ERROR(output.import(), kModel, "'y' is read but nothing produces it");
  OnnxModel none;
  none.input("x", {2});
  EXPECT_ERROR(none.import(), kModel, "no outputs");
  OnnxModel version;
  version.input("x", {2}).output("y");
  version.node("Relu", {"x"}, {"y"}, "relu");
  version.proto().clear_opset_import();
  EXPECT_ERROR(version.import(), kModel, "does not say which operator set");
  version.proto().set_ir_version(1);
  EXPECT_NO_THROW(version.import());
}

TEST(OnnxRobustness, AbsurdInputShapes) {
  OnnxModel model;
  const int64_t huge = int64_t{1} << 40;
  model.input("x", {huge, huge}).output("y");
  model.node("Relu", {"x"}, {"y"}, "relu");
  EXPECT_ERROR(model.import(), kModel, "more elements than can be addressed");
  model.graph().clear_input();
  model.input("x", {-5, -1, 2});
  EXPECT_EQ(model.import().value(0).desc.shape, (Shape{Shape::kUnknown, Shape::kUnknown, 2}));
}

TEST(OnnxRobustness, AttributesOfTheWrongType) {
  OnnxModel model(10);
  model.input("x", {2}).output("y");
  auto& clip = model.node("Clip", {"x"}, {"y"}, "clip");
  add_attribute(clip, "max", AttributeProto::STRING).set_s("six");
  EXPECT_ERROR(model.import(), kModel, "attribute 'max' has the wrong type (node 'clip'");
}

TEST(OnnxRobustness, DeepNesting) {
  // Branches within branches, far deeper than any exporter writes; the writer recurses as well, and
  // must get through with the frames of a sanitizer.
  for (const int depth : {20, 500}) {
    OnnxModel model;
    model.input("x", {2}).output("y");
    model.ints("yes", {}, {1});
    schema::GraphProto* at = &model.graph();
    for (int i = 0; i < depth; ++i) {
      auto& node = *at->add_node();
      set_node(node, "If", {"yes"}, {i == 0 ? "y" : "r"});
      add_attribute(node, "else_branch", AttributeProto::GRAPH).mutable_g();
      at = add_attribute(node, "then_branch", AttributeProto::GRAPH).mutable_g();
      at->add_output()->set_name("r");
    }
    set_node(*at->add_node(), "Relu", {"x"}, {"r"});
    EXPECT_EQ(imports(model.bytes(), "depth"), depth == 20);
  }
}

TEST(OnnxRobustness, LongChainsAndManyNodes) {
  OnnxModel model;
  model.input("x", {2}).output("v100000");
  std::string last = "x";
  for (int i = 1; i <= 100'000; ++i) {
    const std::string next = "v" + std::to_string(i);
    model.node("Relu", {last}, {next}, "same name");
    last = next;
  }
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(imports(model.bytes(), "chain"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

}  // namespace
}  // namespace camlucida::test
