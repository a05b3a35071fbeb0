/// GPU kernels of the layers that move elements, on shapes at which they change their way: whole
/// packs of channels and odd ones, transpositions in tiles, more inputs than one launch takes, long
/// lines. The examples of the layers (gpu_layers_test) cover what the operators mean.
#include <gtest/gtest.h>

#include "engine/registry.h"
#include "tests/gpu_harness.h"

namespace camlucida {
namespace {

using Ints = std::vector<int64_t>;

ExampleInput constant(std::vector<double> values) {
  const auto count = static_cast<int64_t>(values.size());
  return {{count}, DType::kInt64, true, 0, 0, std::move(values)};
}

ExampleInput mask(std::vector<double> values) {
  ExampleInput input = constant(std::move(values));
  input.dtype = DType::kBool;
  return input;
}

/// An input of integers, or of another type that has no gradient.
ExampleInput of_type(DType type, Shape shape, double low = 0, double high = 9) {
  return {.shape = std::move(shape), .dtype = type, .low = low, .high = high};
}

class GpuShapes : public ::testing::Test {
 protected:
  void check(const std::string& layer, const FieldList& fields, std::vector<ExampleInput> inputs,
             int outputs = 1) {
    const LayerDef& def = Registry::instance().require(layer);
    Example example{layer, def.prototype.restore(fields), std::move(inputs), outputs};
    example.gradient = is_floating(example.inputs[0].dtype);
    example.batched = false;
    const test::LayerCase c(def, example);
    SCOPED_TRACE(c.input_descs[0].shape.to_string() + " " + example.attributes.to_string());
    int runs = 0;
    for (const Precision precision : {Precision::kFp32, Precision::kFp16, Precision::kBf16}) {
      runs += test::check_gpu_kernels(Registry::instance(), c, precision);
    }
    EXPECT_GT(runs, 0) << "no GPU kernel takes it";
  }
};

TEST_F(GpuShapes, Transpose) {
  const auto transpose = [&](Shape shape, Ints order) {
    check("Transpose", {{"permutation", std::move(order)}}, {{std::move(shape)}});
  };
  transpose({2, 64, 9, 9}, {0, 2, 3, 1});
  transpose({2, 9, 9, 64}, {0, 3, 1, 2});
  transpose({2, 49, 40}, {0, 2, 1});
  transpose({2, 8, 3, 16}, {3, 2, 1, 0});
  transpose({2, 3, 32, 4, 4}, {0, 2, 1, 3, 4});
  transpose({64, 128}, {1, 0});
  transpose({2, 3, 4, 5, 2, 3}, {5, 4, 3, 2, 1, 0});
}

TEST_F(GpuShapes, Slice) {
  check("Slice", {}, {{{2, 64, 6, 6}}, constant({8, 1}), constant({40, 5}), constant({1, 2})});
  check("Slice", {}, {{{2, 58, 6, 6}}, constant({0}), constant({29}), constant({1})});
  check("Slice", {}, {{{2, 64, 6, 6}}, constant({0}), constant({0}), constant({1})});  // nothing
  check("Slice", {},
        {{{2, 58, 6, 6}}, constant({57}), constant({-1000}), constant({1}), constant({-2})});
  for (const DType type : {DType::kUint8, DType::kInt64, DType::kFloat16, DType::kBool}) {
    check("Slice", {},
          {of_type(type, {2, 16, 8, 8}), constant({1, 4}), constant({100, 100}), constant({2, 1}),
           constant({2, 1})});
  }
}

TEST_F(GpuShapes, Pad) {
  const auto pad = [&](const std::string& mode, Shape shape, std::vector<double> pads,
                       bool value = false) {
    std::vector<ExampleInput> inputs = {{std::move(shape)}, constant(std::move(pads))};
    if (value) inputs.push_back({.shape = {}, .constant = true, .values = {-7.5}});
    check("Pad", {{"mode", mode}}, std::move(inputs));
  };
  pad("constant", {2, 16, 8, 8}, {0, 0, 1, 1, 0, 0, 1, 1});
  pad("constant", {2, 16, 8, 8}, {1, 8, 0, -2, 0, 16, -3, 4}, true);
  pad("constant", {2, 0, 3}, {0, 1, 0, 0, 1, 0});
  pad("edge", {2, 16, 8, 8}, {1, 8, 0, -2, 0, 16, -3, 4});
  pad("wrap", {2, 16, 8, 8}, {1, 8, 0, -2, 0, 16, -3, 4});
  pad("reflect", {2, 8, 5, 5}, {0, 0, 12, 9, 0, 0, 11, 13});
}

TEST_F(GpuShapes, Repeat) {
  check("Expand", {}, {{{1, 64, 1, 1}}, constant({3, 64, 7, 7})});
  check("Expand", {}, {{{3, 1, 7, 7}}, constant({3, 64, 7, 7})});
  check("Expand", {}, {{{1, 1, 1, 9}}, constant({2, 5, 7, 9})});
  check("Expand", {}, {{{16, 1, 8}}, constant({2, 16, 5, 8})});
  check("Tile", {}, {{{2, 16, 3, 8}}, constant({2, 3, 1, 2})});
  check("Tile", {}, {{{2, 16, 3, 8}}, constant({1, 0, 1, 2})});
}

TEST_F(GpuShapes, Gather) {
  const FieldList channels = {{"axis", int64_t{1}}};
  const ExampleInput image{{2, 16, 3, 3}};
  check("Gather", channels,
        {image, constant({0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15})});
  check("Gather", channels, {image, constant({3, 5, 7, 9, 11, 3, 3, 3, 3})});
  check("Gather", channels, {image, {{2, 2}, DType::kInt64, true, 0, 0, {1, 2, 3, 4}}});
  // Run-time indices; those outside read 0.
  check("Gather", channels,
        {of_type(DType::kInt32, {2, 16, 3, 3}),
         {{2, 2}, DType::kInt32, false, 0, 0, {1, -2, 3, 40}}});
  check("GatherElements", channels,
        {of_type(DType::kInt64, {2, 6, 3}),
         {{2, 2, 2}, DType::kInt64, false, 0, 0, {1, 2, 3, 4, 5, -1, -6, 44}}});
  check(
      "GatherND", {{"batch_axes", int64_t{1}}},
      {of_type(DType::kUint8, {2, 6, 3}), {{2, 2, 1}, DType::kInt64, false, 0, 0, {1, 2, 3, 40}}});
  check("GatherND", {{"batch_axes", int64_t{1}}},
        {{{2, 6, 3, 4}}, {{2, 2, 2}, DType::kInt64, true, 0, 0, {1, 2, 3, 0, 1, 2, 1, 2}}});
  check("Compress", {{"flat", int64_t{0}}, {"axis", int64_t{1}}},
        {{{2, 8, 3, 3}}, mask({1, 0, 1, 1, 0, 1, 1, 1})});
}

TEST_F(GpuShapes, DepthAndSpace) {
  for (const int64_t depth_first : {0, 1}) {
    check("DepthToSpace", {{"block", int64_t{2}}, {"depth_first", depth_first}}, {{{2, 64, 4, 4}}});
  }
  check("SpaceToDepth", {{"block", int64_t{2}}}, {{{2, 16, 4, 4}}});
}

TEST_F(GpuShapes, ConcatAndSplit) {
  const auto along = [](int64_t axis) { return FieldList{{"axis", axis}}; };
  check("Concat", along(1),
        {{{2, 29, 4, 4}}, {{2, 58, 4, 4}}, {.shape = {2, 3, 4, 4}, .constant = true}});
  check("Concat", along(3), {{{2, 8, 4, 4}}, {{2, 8, 4, 3}}});
  check("Concat", along(0), {{{2, 8, 4, 4}}, {{1, 8, 4, 4}}});
  check("Concat", along(1), {of_type(DType::kBool, {2, 8, 3}), of_type(DType::kBool, {2, 3, 3})});
  // More parts than a launch takes. Few of them are data: the check takes every set of gradients.
  std::vector<ExampleInput> many;
  for (int64_t i = 0; i < 70; ++i) {
    many.push_back({.shape = {2, 1 + i % 3 * 8, 2, 3}, .constant = i % 35 != 0});
  }
  check("Concat", along(1), many);
  check("Split", along(2), {{{2, 8, 6, 4}}, constant({1, 5})}, 2);
  check("Split", along(1), {{{2, 116, 6, 4}}}, 2);
  check("Split", along(1), {{{2, 6, 6, 4}}, constant({6, 0})}, 2);
  check("Split", along(1), {{{2, 6, 6, 4}}}, 1);
}

TEST_F(GpuShapes, TopKOfLongLines) {
  const auto top = [&](Shape shape, int64_t axis, int64_t largest, double k) {
    check("TopK", {{"axis", axis}, {"largest", largest}}, {{std::move(shape)}, constant({k})}, 2);
  };
  top({2, 2100, 3}, 1, 1, 7);
  top({2, 2100}, 1, 0, 3);
  top({50, 3}, 0, 0, 0);
}

TEST_F(GpuShapes, CastBetweenAllKindsOfTypes) {
  for (const char* to : {"float16", "int64", "int32", "int8", "uint8", "uint64", "bool"}) {
    for (const DType from : {DType::kFloat32, DType::kFloat64, DType::kInt64, DType::kInt8,
                             DType::kUint8, DType::kBool}) {
      if (to == name_of(from)) continue;
      const double low = from == DType::kUint8 ? 0 : -300;
      ExampleInput input = of_type(from, {1, 3, 5, 4}, low, low == 0 ? 255 : 300);
      const LayerDef& def = Registry::instance().require("Cast");
      Example example{"cast", def.prototype.restore({{"to", std::string(to)}}), {input}};
      example.gradient = example.batched = false;
      SCOPED_TRACE(std::string(name_of(from)) + " to " + to);
      const test::LayerCase c(def, example);
      EXPECT_GT(test::check_gpu_kernels(Registry::instance(), c, Precision::kFp32), 0);
    }
  }
}

}  // namespace
}  // namespace camlucida
