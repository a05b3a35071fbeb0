/// Linear kernels on sizes that the small examples of the layers do not reach: several panels of
/// weights, tails in every extent, one row and many.
#include <gtest/gtest.h>

#include "layers/linear/linear.h"
#include "tests/layer_harness.h"

namespace camlucida {
namespace {

struct Parameter {
  std::string layer;
  Example example;
};

ExampleInput weights(Shape shape) { return {.shape = std::move(shape), .constant = true}; }

Parameter gemm(std::string name, bool trans_b, int64_t rows, int64_t inner, int64_t columns) {
  const Shape b = trans_b ? Shape{columns, inner} : Shape{inner, columns};
  return {"Gemm",
          {.name = std::move(name),
           .attributes = GemmAttributes{.trans_b = trans_b},
           .inputs = {{{rows, inner}}, weights(b), weights({columns})},
           .tolerance = 1e-5}};
}

std::vector<Parameter> parameters() {
  return {
      gemm("classifier_of_one", true, 1, 515, 101),
      gemm("classifier_of_many", true, 13, 515, 37),
      gemm("row_major_of_one", false, 1, 515, 101),
      gemm("row_major_of_three", false, 3, 270, 66),
      gemm("row_major_of_many", false, 101, 515, 131),
      gemm("one_column", true, 7, 33, 1),
      gemm("one_product", false, 9, 1, 70),
      {"MatMul",
       {.name = "pixels", .inputs = {{{2, 5, 12, 40}}, weights({40, 96})}, .tolerance = 1e-5}},
      {"MatMul",
       {.name = "attention", .inputs = {{{2, 3, 49, 20}}, {{2, 3, 20, 49}}}, .tolerance = 1e-5}},
      {"Gemm",
       {.name = "transposed_x_scaled",
        .attributes = GemmAttributes{.alpha = 0.5, .beta = 2, .trans_a = true},
        .inputs = {{{300, 10}}, weights({300, 70}), weights({70})},
        .tolerance = 1e-5,
        .batched = false}},
  };
}

class LinearKernels : public ::testing::TestWithParam<Parameter> {};

TEST_P(LinearKernels, AgreeWithReference) {
  const LayerDef& layer = Registry::instance().require(GetParam().layer);
  const test::LayerCase layer_case(layer, GetParam().example);
  EXPECT_GT(test::check_kernels(Registry::instance(), layer_case), 0);
  EXPECT_GT(test::check_epilogues(Registry::instance(), layer_case), 0);
}

INSTANTIATE_TEST_SUITE_P(All, LinearKernels, ::testing::ValuesIn(parameters()),
                         [](const auto& p) { return p.param.example.name; });

}  // namespace
}  // namespace camlucida
