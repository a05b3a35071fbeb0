/// Products of matrices and the kernels made of them, on the GPU under test (tests/gpu_harness.h).
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

#include "engine/cuda/blas.h"
#include "engine/cuda/column_major.h"
#include "engine/registry.h"
#include "layers/conv/conv.h"
#include "layers/linear/linear.h"
#include "tests/device_values.h"
#include "tests/gpu_harness.h"

namespace camlucida {
namespace {

using test::DeviceValues;
using test::numbers;
using test::worst_error;
using Axis = BlasProblem::Axis;

// ---- Products ----------------------------------------------------------------------------------

struct ProductData {
  std::vector<double> a, b, addend, bias;

  explicit ProductData(const BlasProblem& p)
      : a(numbers(p.a_count(), "a", p.operand_type)),
        b(numbers(p.b_count(), "b", p.operand_type)),
        addend(numbers(p.c_count(), "addend", p.result_type)),
        bias(numbers(p.n, "bias", p.result_type)) {}
};

/// The definition, in double.
std::vector<double> expected_product(const BlasProblem& p, const ProductData& data) {
  std::vector<double> c(static_cast<size_t>(p.c_count()), 0.0);
  const auto at = [](const std::vector<double>& values, int64_t i) {
    return values[static_cast<size_t>(i)];
  };
  int64_t batch = 1;
  for (const Axis& axis : p.axes) batch *= axis.extent;
  for (int64_t i = 0; i < batch; ++i) {
    Axis from{};
    int64_t rest = i;
    for (auto axis = p.axes.rbegin(); axis != p.axes.rend(); ++axis) {
      from.a += rest % axis->extent * axis->a;
      from.b += rest % axis->extent * axis->b;
      from.c += rest % axis->extent * axis->c;
      rest /= axis->extent;
    }
    for (int64_t r = 0; r < p.m; ++r) {
      for (int64_t q = 0; q < p.n; ++q) {
        for (int64_t k = 0; k < p.k; ++k) {
          c[static_cast<size_t>(from.c + r * p.n + q)] +=
              at(data.a, from.a + (p.transpose_a ? k * p.m + r : r * p.k + k)) *
              at(data.b, from.b + (p.transpose_b ? q * p.k + k : k * p.n + q));
        }
      }
    }
  }
  for (size_t i = 0; i < c.size(); ++i) {
    c[i] = p.alpha * c[i] + p.beta * data.addend[i];
    if (p.has_bias) c[i] += data.bias[i % static_cast<size_t>(p.n)];
    if (p.relu) c[i] = std::max(c[i], 0.0);
  }
  return c;
}

std::vector<double> run_product(const std::shared_ptr<Stream>& stream, const BlasProduct& product,
                                const BlasProblem& p, const ProductData& data) {
  const DeviceValues a(stream, data.a, p.operand_type);
  const DeviceValues b(stream, data.b, p.operand_type);
  const DeviceValues addend(stream, data.addend, p.result_type);
  const DeviceValues bias(stream, data.bias, p.result_type);
  const std::vector<double> unknown(data.addend.size(), NAN);
  const DeviceValues c(stream, unknown, p.result_type);
  const DeviceBuffer workspace = stream->allocate(product.workspace_bytes() + 1);
  product.run(*stream,
              {a.data(), b.data(), c.data(), bias.data(), addend.data(), workspace.data()});
  return c.values();
}

double tolerance(const BlasProblem& p) {
  if (p.result_type == DType::kFloat16) return 0x1.1p-11;
  if (p.result_type == DType::kBFloat16) return 0x1.1p-8;
  if (p.operand_type == DType::kFloat32 && p.math == BlasMath::kTf32) return 8 * 0x1p-11;
  return 2e-6;
}

/// Problems of every form, small.
std::vector<BlasProblem> problems() {
  std::vector<BlasProblem> result;
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      BlasProblem p{.m = 7, .n = 10, .k = 13};
      p.transpose_a = transpose_a;
      p.transpose_b = transpose_b;
      p.alpha = 0.75f;
      result.push_back(p);
      p.has_bias = true;
      p.relu = true;
      p.beta = 0.5f;
      result.push_back(p);
      p.axes = {{3, 7 * 13, 13 * 10, 7 * 10}};
      result.push_back(p);
      // Both broadcast, along different axes: A [3, 1, 7, 13], B [5, 13, 10].
      p.axes = {{3, 7 * 13, 0, 5 * 7 * 10}, {5, 0, 13 * 10, 7 * 10}};
      result.push_back(p);
      p.has_bias = p.relu = false;
      // Sums over the middle axis: A [2, 3, 4, 7, 13], B [3, 4, 13, 10], c [2, 4, 7, 10].
      p.axes = {{2, 3 * 4 * 91, 0, 4 * 70}, {3, 4 * 91, 4 * 130, 0}, {4, 91, 130, 70}};
      result.push_back(p);
      // Sums over all, as for the gradient of a shared operand.
      p.axes = {{6, 91, 130, 0}};
      p.beta = 0;
      result.push_back(p);
    }
  }
  result.push_back({.m = 1, .n = 9, .k = 1100});
  result.push_back({.m = 9, .n = 1, .k = 1100});
  result.push_back({.m = 1, .n = 1, .k = 5});
  result.push_back({.m = 66, .n = 33, .k = 1});
  BlasProblem shared{.m = 5, .n = 6, .k = 7};  // rows of all pictures meet one matrix
  shared.axes = {{4, 35, 0, 30}};
  result.push_back(shared);
  return result;
}

TEST(Product, OwnComputesEveryForm) {
  const std::shared_ptr<Stream> stream = test::test_gpu()->new_stream();
  for (BlasProblem p : problems()) {
    for (const DType operand : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
      for (const DType result : {DType::kFloat32, operand}) {
        p.operand_type = operand;
        p.result_type = result;
        SCOPED_TRACE(p.to_string());
        const ProductData data(p);
        const auto product = plan_own_blas(p);
        EXPECT_LE(worst_error(run_product(stream, *product, p, data), expected_product(p, data)),
                  tolerance(p));
      }
    }
  }
}

TEST(Product, OwnOfNothing) {
  const std::shared_ptr<Stream> stream = test::test_gpu()->new_stream();
  BlasProblem p{.m = 2, .n = 3, .k = 0};
  p.has_bias = true;
  const ProductData data(p);
  const std::vector<double> c = run_product(stream, *plan_own_blas(p), p, data);
  for (size_t i = 0; i < c.size(); ++i) EXPECT_EQ(c[i], data.bias[i % 3]);
  p.m = 0;
  EXPECT_TRUE(run_product(stream, *plan_own_blas(p), p, ProductData(p)).empty());
}

TEST(Product, OwnKeepsNaN) {
  const std::shared_ptr<Stream> stream = test::test_gpu()->new_stream();
  BlasProblem p{.m = 1, .n = 2, .k = 2};
  p.relu = true;
  ProductData data(p);
  data.a = {1, 1};
  data.b = {NAN, -1, 0, -1};
  const std::vector<double> c = run_product(stream, *plan_own_blas(p), p, data);
  EXPECT_TRUE(std::isnan(c[0]));
  EXPECT_EQ(c[1], 0.0);
}

TEST(Product, SimplifiesBatches) {
  BlasProblem p{.m = 5, .n = 6, .k = 7};
  p.axes = {{2, 3 * 35, 0, 3 * 30}, {1, 9, 9, 9}, {3, 35, 0, 30}};
  EXPECT_EQ(simplified(p).m, 30) << "rows that meet one matrix";
  EXPECT_TRUE(simplified(p).axes.empty());
  p = {.m = 5, .n = 6, .k = 7, .transpose_a = true};
  p.axes = {{4, 35, 42, 0}};
  EXPECT_EQ(simplified(p).k, 28) << "sums over blocks that follow each other";
  EXPECT_TRUE(simplified(p).axes.empty());
  p.axes = {{2, 3 * 35, 3 * 42, 3 * 30}, {3, 35, 42, 30}, {8, 35, 0, 0}};
  const BlasProblem mixed = simplified(p);
  ASSERT_EQ(mixed.axes.size(), 2u);
  EXPECT_EQ(mixed.axes[0].extent, 6) << "neighbouring axes are one";
  EXPECT_EQ(mixed.axes[1].c, 0) << "sums come last";
}

// ---- The same in the words of a BLAS -----------------------------------------------------------

/// What a BLAS that stores matrices column by column does with the description, in double.
std::vector<double> column_major_product(const ColumnMajor& calls, const BlasProblem& p,
                                         const ProductData& data) {
  std::vector<double> c(static_cast<size_t>(p.c_count()), NAN);
  const auto element = [](const std::vector<double>& values, int64_t start,
                          const ColumnMajor::Matrix& matrix, int64_t row, int64_t column) {
    if (matrix.transposed) std::swap(row, column);
    EXPECT_LT(row, matrix.rows);
    EXPECT_LT(column, matrix.columns);
    return values[static_cast<size_t>(start + column * matrix.leading + row)];
  };
  for (const ColumnMajor::Call& call : calls.calls) {
    for (int64_t batch = 0; batch < calls.batch; ++batch) {
      const int64_t left = call.b + batch * calls.left.batch_stride;
      const int64_t right = call.a + batch * calls.right.batch_stride;
      const int64_t result = call.c + batch * calls.result.batch_stride;
      const int64_t inner = calls.left.transposed ? calls.left.rows : calls.left.columns;
      for (int64_t column = 0; column < calls.result.columns; ++column) {
        for (int64_t row = 0; row < calls.result.rows; ++row) {
          double sum = 0;
          for (int64_t k = 0; k < inner; ++k) {
            sum += element(data.b, left, calls.left, row, k) *
                   element(data.a, right, calls.right, k, column);
          }
          const auto at = static_cast<size_t>(result + column * calls.result.leading + row);
          double value = p.alpha * sum;
          if (call.adds) {
            value += c[at];
          } else if (p.beta != 0) {
            value += p.beta * data.addend[at];
          }
          if (p.has_bias) value += data.bias[static_cast<size_t>(row)];
          c[at] = p.relu ? std::max(value, 0.0) : value;
        }
      }
    }
  }
  return c;
}

TEST(ColumnMajorCalls, ComputeEveryForm) {
  for (const BlasProblem& p : problems()) {
    SCOPED_TRACE(p.to_string());
    std::string why_not;
    const std::optional<ColumnMajor> calls = column_major(p, &why_not);
    ASSERT_TRUE(calls) << why_not;
    const ProductData data(p);
    EXPECT_LE(worst_error(column_major_product(*calls, p, data), expected_product(p, data)), 1e-12);
  }
}

TEST(ColumnMajorCalls, SayWhatIsAligned) {
  BlasProblem p{.m = 8, .n = 8, .k = 8};
  EXPECT_EQ(column_major(p, nullptr)->left.alignment, 256);
  p.alignment = 64;
  EXPECT_EQ(column_major(p, nullptr)->result.alignment, 64);
  // The longest axis is in the call; loops over the other start 4 * 20 bytes apart.
  p.axes = {{2, 20, 0, 5 * 64}, {5, 0, 64, 64}};
  const std::optional<ColumnMajor> calls = column_major(p, nullptr);
  EXPECT_EQ(calls->batch, 5);
  EXPECT_EQ(calls->calls.size(), 2u);
  EXPECT_EQ(calls->right.alignment, 16);
  EXPECT_EQ(calls->left.alignment, 64);
}

TEST(ColumnMajorCalls, RefuseWithReason) {
  std::string why_not;
  EXPECT_FALSE(column_major({.m = 0}, &why_not));
  EXPECT_EQ(why_not, "an empty product");
  BlasProblem p{.m = 2, .n = 2, .k = 2};
  p.axes = {{40, 4, 0, 160}, {40, 0, 4, 4}};
  p.axes.push_back({30, 1000, 1000, 0});
  EXPECT_FALSE(column_major(p, &why_not));
  EXPECT_EQ(why_not, "batches in too many pieces");
  p.axes = {{4, 4, 4, 0}};
  p.relu = true;
  EXPECT_FALSE(column_major(p, &why_not));
  EXPECT_EQ(why_not, "an epilogue behind a sum of products");
}

TEST(VendorProduct, AgreesWithOurs) {
  const std::shared_ptr<Gpu> gpu = test::test_gpu();
  std::string why_not;
  if (!blas_takes(*gpu, {.m = 8, .n = 8, .k = 8}, &why_not)) GTEST_SKIP() << why_not;
  int refused = 0;
  const std::shared_ptr<Stream> stream = gpu->new_stream();
  std::vector<BlasProblem> all = problems();
  for (BlasProblem p : problems()) {
    p.math = BlasMath::kTf32;
    all.push_back(p);
  }
  for (BlasProblem p : all) {
    for (const DType operand : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
      if (operand != DType::kFloat32 && p.math == BlasMath::kTf32) continue;
      for (const DType result : {DType::kFloat32, operand}) {
        p.operand_type = operand;
        p.result_type = result;
        SCOPED_TRACE(p.to_string());
        const auto product = plan_blas(*gpu, p, &why_not);
        if (product == nullptr) {  // our own runs in its place
          std::cout << "[ REFUSED  ] " << p.to_string() << ": " << why_not << "\n";
          ++refused;
          continue;
        }
        EXPECT_LE(product->workspace_bytes(), blas_workspace_limit(*gpu));
        const ProductData data(p);
        const std::vector<double> c = run_product(stream, *product, p, data);
        EXPECT_LE(worst_error(c, expected_product(p, data)), tolerance(p));
        EXPECT_EQ(c, run_product(stream, *product, p, data)) << "bits differ from run to run";
      }
    }
  }
  EXPECT_LE(refused, std::ssize(all)) << "of four times as many";
}

TEST(VendorProduct, EmulatedGpuHasNone) {
  const std::shared_ptr<Gpu> gpu = Gpu::emulated();
  std::string why_not;
  EXPECT_FALSE(blas_takes(*gpu, {}, &why_not));
  EXPECT_EQ(why_not, "an emulated GPU has no cuBLAS");
  EXPECT_EQ(plan_blas(*gpu, {}, &why_not), nullptr);
  EXPECT_EQ(blas_workspace_limit(*gpu), 0u);
}

// ---- Kernels on sizes that the examples of the layers do not reach -----------------------------

struct Parameter {
  std::string layer;
  Example example;
};

void PrintTo(const Parameter& parameter, std::ostream* out) { *out << parameter.example.name; }

ExampleInput weights(Shape shape) { return {.shape = std::move(shape), .constant = true}; }

Parameter gemm(std::string name, GemmAttributes attributes, Shape a, Shape b, Shape c) {
  return {"Gemm",
          {.name = std::move(name),
           .attributes = attributes,
           .inputs = {{std::move(a)}, weights(std::move(b)), weights(std::move(c))},
           .tolerance = 1e-5,
           .batched = !attributes.trans_a}};
}

Parameter conv(std::string name, Shape x, int64_t channels, double bias = 1) {
  const Shape weight = [&] {
    std::vector<int64_t> dims = {channels, x[1]};
    dims.resize(static_cast<size_t>(x.rank()), 1);
    return Shape(dims);
  }();
  Example example{.name = std::move(name),
                  .attributes = ConvAttributes{},
                  .inputs = {{x}, weights(weight)},
                  .tolerance = 1e-5};
  if (bias != 0) example.inputs.push_back(weights(Shape{channels}));
  return {"Conv", example};
}

/// The same, not to be run row by row.
Parameter alone(Parameter parameter) {
  parameter.example.batched = false;
  return parameter;
}

std::vector<Parameter> parameters() {
  const GemmAttributes torch{.trans_b = true};
  std::vector<Parameter> result = {
      gemm("classifier_of_one", torch, {1, 520}, {101, 520}, {101}),
      gemm("classifier_of_one_odd", torch, {1, 515}, {101, 515}, {101}),
      gemm("classifier_of_three", torch, {3, 520}, {37, 520}, {37}),
      gemm("classifier_of_many", torch, {13, 515}, {37, 515}, {1, 37}),
      gemm("row_major_of_one", {}, {1, 270}, {270, 66}, {66}),
      gemm("row_major_of_four", {.alpha = 0.5, .beta = 2}, {4, 33}, {33, 70}, {}),
      gemm("scaled_transposed_x", {.alpha = 0.5, .beta = 2, .trans_a = true}, {300, 10}, {300, 70},
           {70}),
      gemm("one_transposed_row", {.trans_a = true}, {300, 1}, {300, 70}, {70}),
      alone(gemm("addend_per_row", torch, {6, 40}, {9, 40}, {6, 1})),
      alone(gemm("addend_per_element", torch, {2, 40}, {9, 40}, {2, 9})),
      {"MatMul", {.name = "pixels", .inputs = {{{2, 5, 12, 40}}, weights({40, 96})}}},
      {"MatMul", {.name = "attention", .inputs = {{{2, 3, 49, 20}}, {{2, 3, 20, 49}}}}},
      {"MatMul",
       {.name = "shared_over_middle_axes",
        .inputs = {{{2, 3, 4, 5, 6}}, {{2, 1, 1, 6, 7}}},
        .batched = false}},
      {"MatMul",
       {.name = "eight_axes",
        .inputs = {{{2, 1, 2, 1, 3, 1, 4, 5}}, {{2, 1, 2, 3, 2, 5, 3}}},
        .batched = false}},
      {"MatMul",
       {.name = "constant_left", .inputs = {weights({6, 9}), {{2, 9, 5}}}, .batched = false}},
      conv("pixels_of_odd_channels", {2, 13, 5, 7}, 21),
      conv("pixels_of_packed_channels", {3, 32, 9, 9}, 48, 0),
      conv("squeezed", {2, 136, 1, 1}, 24),
      conv("squeezed_short", {1, 24, 1, 1}, 40),
      conv("four_pixels", {1, 40, 2, 2}, 17),
      conv("line", {2, 9, 11}, 5),
      conv("volume", {1, 6, 3, 4, 5}, 8),
      {"ConvTranspose",
       {.name = "pixels_back",
        .attributes = ConvTransposeAttributes{},
        .inputs = {{{2, 12, 5, 5}}, weights({12, 7, 1, 1}), weights({7})},
        .tolerance = 1e-5}},
  };
  // An addend computed at run time, which takes a gradient.
  Parameter all = gemm("all_computed", {.alpha = 0.5, .beta = 3}, {8, 30}, {30, 9}, {9});
  for (ExampleInput& input : all.example.inputs) input.constant = false;
  result.push_back(alone(all));
  return result;
}

class MatrixKernels : public ::testing::TestWithParam<Parameter> {};

TEST_P(MatrixKernels, AgreeWithReference) {
  const LayerDef& layer = Registry::instance().require(GetParam().layer);
  const test::LayerCase layer_case(layer, GetParam().example);
  for (const Precision precision :
       {Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16}) {
    SCOPED_TRACE(std::string(name_of(precision)));
    EXPECT_GT(test::check_gpu_kernels(Registry::instance(), layer_case, precision), 0);
    const int fused = test::check_gpu_epilogues(Registry::instance(), layer_case, precision);
    EXPECT_EQ(fused > 0, layer.epilogue == EpilogueRole::kHost);
  }
}

INSTANTIATE_TEST_SUITE_P(All, MatrixKernels, ::testing::ValuesIn(parameters()),
                         [](const auto& p) { return p.param.example.name; });

/// Offers of `kernel` for a case on the emulated GPU that say `remark`.
int offers_saying(const std::string& kernel, const Parameter& parameter, Precision precision,
                  const std::string& remark) {
  const test::LayerCase c(Registry::instance().require(parameter.layer), parameter.example);
  Node node;
  node.layer = c.layer;
  node.attributes = c.example.attributes;
  KernelCase kernel_case{node, false, "plain", {}, {}, {}, {}};
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    node.inputs.push_back(static_cast<ValueId>(i));
    kernel_case.inputs.push_back({c.input_descs[i], nullptr, true, Layout::kPlain});
    if (c.constants[i].defined()) kernel_case.inputs.back().constant = &c.constants[i];
  }
  kernel_case.outputs.push_back({c.output_descs[0], nullptr, true, Layout::kPlain});
  kernel_case.gpu = Gpu::emulated();
  kernel_case.precision = precision;
  int count = 0;
  for (const auto& one : Registry::instance().kernels()) {
    if (one->name != kernel) continue;
    for (const Offer& offer : one->offer(kernel_case)) {
      count += offer.possible && offer.reason.find(remark) != std::string::npos ? 1 : 0;
    }
  }
  return count;
}

TEST(MatrixKernelOffers, FewRowsAndShortTypes) {
  const Parameter one = gemm("one", {.trans_b = true}, {1, 64}, {10, 64}, {10});
  const Parameter many = gemm("many", {.trans_b = true}, {5, 64}, {10, 64}, {10});
  EXPECT_EQ(offers_saying("linear_gpu", one, Precision::kFp32, "few rows"), 1);
  EXPECT_EQ(offers_saying("linear_gpu", many, Precision::kFp32, "few rows"), 0);
  EXPECT_EQ(offers_saying("linear_gpu", many, Precision::kFp32, "16 bits"), 0);
  EXPECT_EQ(offers_saying("linear_gpu", many, Precision::kBf16, "16 bits"), 1);
  EXPECT_EQ(offers_saying("conv_pointwise_blas", conv("squeezed", {1, 8, 1, 1}, 4),
                          Precision::kFp16, "few pixels"),
            4)
      << "in and out of either layout";
  EXPECT_EQ(offers_saying("conv_pointwise_blas", conv("map", {1, 8, 3, 3}, 4), Precision::kFp16,
                          "own product"),
            1);
}

}  // namespace
}  // namespace camlucida
