// Every Caffe layer against values worked out by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/caffe_net.h"

namespace camlucida::test {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;

struct TrainedBlob {
  std::vector<int64_t> dims;
  std::vector<float> values;
};

/// One layer "l" over the blob "x".
struct LayerCase {
  std::string name;
  std::string layer;  ///< type and parameters
  Shape input;
  std::vector<float> values;
  std::vector<TrainedBlob> blobs;
  Shape output;
  std::vector<float> expected;
};

void PrintTo(const LayerCase& layer, std::ostream* out) { *out << layer.name; }

class CaffeLayerTest : public ::testing::TestWithParam<LayerCase> {};

TEST_P(CaffeLayerTest, GivesTheValuesWorkedOutByHand) {
  const LayerCase& given = GetParam();
  Net net;
  net.input("x", given.input.dims());
  net.add("layer { name: 'l' bottom: 'x' top: 'y' " + given.layer + " }");
  for (const TrainedBlob& blob : given.blobs) net.blob("l", blob.dims, blob.values);
  const Tensor made = run(import_net(net).graph, given.input, given.values);
  EXPECT_EQ(made.shape(), given.output);
  const std::vector<float> values(made.floats(), made.floats() + made.count());
  EXPECT_THAT(values, Pointwise(FloatNear(1e-5f), given.expected));
}

const std::vector<float> kNine = {1, 2, 3, 4, 5, 6, 7, 8, 9};

std::vector<LayerCase> layer_cases() {
  const float e = std::exp(1.0f);
  return {
      {"convolution",
       "type: 'Convolution' convolution_param { num_output: 1 kernel_size: 2 }",
       {1, 1, 3, 3},
       kNine,
       {{{1, 1, 2, 2}, {1, 0, 0, -1}}, {{1}, {10}}},
       {1, 1, 2, 2},
       {6, 6, 6, 6}},
      {"convolution_padded_strided",
       "type: 'Convolution' convolution_param { num_output: 1 kernel_size: 2 pad: 1 stride: 2 }",
       {1, 1, 3, 3},
       kNine,
       {{{1, 1, 2, 2}, {1, 0, 0, -1}}, {{1}, {10}}},
       {1, 1, 2, 2},
       {9, 7, 3, 6}},
      {"convolution_by_axis",
       "type: 'Convolution' convolution_param { num_output: 1 bias_term: false kernel_h: 1 "
       "kernel_w: 2 pad_h: 0 pad_w: 1 stride_h: 2 stride_w: 1 }",
       {1, 1, 3, 3},
       kNine,
       {{{1, 1, 1, 2}, {1, 10}}},
       {1, 1, 2, 4},
       {10, 21, 32, 3, 70, 87, 98, 9}},
      {"convolution_grouped_old_shapes",
       "type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 group: 2 }",
       {1, 2, 1, 1},
       {3, 5},
       {{{2, 1, 1, 1}, {2, -1}}, {{1, 1, 1, 2}, {0, 1}}},
       {1, 2, 1, 1},
       {6, -4}},
      {"convolution_dilated",
       "type: 'Convolution' convolution_param { num_output: 1 bias_term: false kernel_h: 1 "
       "kernel_w: 2 dilation: 2 }",
       {1, 1, 1, 4},
       {1, 2, 3, 4},
       {{{1, 1, 1, 2}, {1, 10}}},
       {1, 1, 1, 2},
       {31, 42}},
      {"depthwise_of_a_fork",
       "type: 'DepthwiseConvolution' convolution_param { num_output: 2 kernel_size: 1 bias_term: "
       "false }",
       {1, 2, 1, 1},
       {3, 5},
       {{{2, 1, 1, 1}, {2, -1}}},
       {1, 2, 1, 1},
       {6, -5}},
      {"deconvolution",
       "type: 'Deconvolution' convolution_param { num_output: 1 kernel_h: 1 kernel_w: 2 stride_h: "
       "1 stride_w: 2 bias_term: false }",
       {1, 1, 1, 2},
       {1, 2},
       {{{1, 1, 1, 2}, {3, 4}}},
       {1, 1, 1, 4},
       {3, 4, 6, 8}},
      {"max_pooling_rounds_up",
       "type: 'Pooling' pooling_param { kernel_h: 1 kernel_w: 3 stride_h: 1 stride_w: 2 }",
       {1, 1, 1, 4},
       {1, 5, 2, 4},
       {},
       {1, 1, 1, 2},
       {5, 4}},
      {"max_pooling_rounds_down",
       "type: 'Pooling' pooling_param { kernel_h: 1 kernel_w: 3 stride_h: 1 stride_w: 2 "
       "round_mode: FLOOR }",
       {1, 1, 1, 4},
       {1, 5, 2, 4},
       {},
       {1, 1, 1, 1},
       {5}},
      // ceil((3 + 2 - 2) / 2) + 1 = 3 windows, the last of which would start at 4 >= 3 + 1.
      {"max_pooling_drops_a_window_in_the_padding",
       "type: 'Pooling' pooling_param { kernel_h: 1 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 0 "
       "pad_w: 1 }",
       {1, 1, 1, 3},
       {1, 5, 2},
       {},
       {1, 1, 1, 2},
       {1, 5}},
      {"average_pooling_rounds_up",
       "type: 'Pooling' pooling_param { pool: AVE kernel_h: 1 kernel_w: 3 stride_h: 1 stride_w: 2 "
       "}",
       {1, 1, 1, 4},
       {1, 5, 2, 4},
       {},
       {1, 1, 1, 2},
       {8.0f / 3, 3}},
      // The divisor counts padding (3, 3), but not what rounding up adds beyond it (2).
      {"average_pooling_counts_padding",
       "type: 'Pooling' pooling_param { pool: AVE kernel_h: 1 kernel_w: 3 stride_h: 1 stride_w: 2 "
       "pad_h: 0 pad_w: 1 }",
       {1, 1, 1, 4},
       {1, 5, 2, 4},
       {},
       {1, 1, 1, 3},
       {2, 11.0f / 3, 2}},
      {"global_average",
       "type: 'Pooling' pooling_param { pool: AVE global_pooling: true }",
       {1, 1, 3, 3},
       kNine,
       {},
       {1, 1, 1, 1},
       {5}},
      {"global_maximum",
       "type: 'Pooling' pooling_param { pool: MAX global_pooling: true }",
       {1, 1, 3, 3},
       kNine,
       {},
       {1, 1, 1, 1},
       {9}},
      {"inner_product",
       "type: 'InnerProduct' inner_product_param { num_output: 2 }",
       {1, 3, 1, 1},
       {1, 2, 3},
       {{{2, 3}, {1, 0, 1, 0, 2, 0}}, {{2}, {0, 1}}},
       {1, 2},
       {4, 5}},
      {"inner_product_old_shapes",
       "type: 'InnerProduct' inner_product_param { num_output: 2 }",
       {1, 3, 1, 1},
       {1, 2, 3},
       {{{1, 1, 2, 3}, {1, 0, 1, 0, 2, 0}}, {{1, 1, 1, 2}, {0, 1}}},
       {1, 2},
       {4, 5}},
      {"inner_product_transposed",
       "type: 'InnerProduct' inner_product_param { num_output: 2 transpose: true }",
       {1, 3, 1, 1},
       {1, 2, 3},
       {{{3, 2}, {1, 0, 0, 2, 1, 0}}, {{2}, {0, 1}}},
       {1, 2},
       {4, 5}},
      {"inner_product_of_the_last_axis",
       "type: 'InnerProduct' inner_product_param { num_output: 1 axis: -1 }",
       {1, 2, 2},
       {1, 2, 3, 4},
       {{{1, 2}, {10, 1}}, {{1}, {5}}},
       {1, 2, 1},
       {17, 39}},
      // mean 2 / 2, variance 8 / 2, and sqrt(4 + 5) = 3.
      {"batch_norm",
       "type: 'BatchNorm' batch_norm_param { eps: 5 }",
       {1, 1, 1, 2},
       {4, 7},
       {{{1}, {2}}, {{1}, {8}}, {{1}, {2}}},
       {1, 1, 1, 2},
       {1, 2}},
      {"batch_norm_without_training",
       "type: 'BatchNorm' batch_norm_param { eps: 0.25 }",
       {1, 1, 1, 2},
       {4, 7},
       {{{1}, {2}}, {{1}, {8}}, {{1}, {0}}},
       {1, 1, 1, 2},
       {8, 14}},
      {"scale",
       "type: 'Scale' scale_param { bias_term: true }",
       {1, 2, 1, 2},
       {1, 2, 3, 4},
       {{{2}, {10, -1}}, {{2}, {1, 0}}},
       {1, 2, 1, 2},
       {11, 21, -3, -4}},
      {"scale_of_the_last_axes",
       "type: 'Scale' scale_param { axis: 2 num_axes: 2 bias_term: true }",
       {1, 2, 1, 2},
       {1, 2, 3, 4},
       {{{1, 2}, {10, -1}}, {{1, 2}, {0, 5}}},
       {1, 2, 1, 2},
       {10, 3, 30, 1}},
      {"scale_of_a_vector", "type: 'Scale'", {1, 2}, {3, 4}, {{{2}, {10, -1}}}, {1, 2}, {30, -4}},
      {"bias",
       "type: 'Bias'",
       {1, 2, 1, 2},
       {1, 2, 3, 4},
       {{{2}, {10, -1}}},
       {1, 2, 1, 2},
       {11, 12, 2, 3}},
      {"prelu",
       "type: 'PReLU'",
       {1, 2, 1, 2},
       {-1, 2, -3, 4},
       {{{2}, {0.5f, 2}}},
       {1, 2, 1, 2},
       {-0.5f, 2, -6, 4}},
      {"prelu_of_a_vector",
       "type: 'PReLU'",
       {1, 2},
       {-1, -3},
       {{{2}, {0.5f, 2}}},
       {1, 2},
       {-0.5f, -6}},
      {"prelu_shared",
       "type: 'PReLU' prelu_param { channel_shared: true }",
       {1, 2, 1, 1},
       {-1, -3},
       {{{1}, {0.5f}}},
       {1, 2, 1, 1},
       {-0.5f, -1.5f}},
      {"relu", "type: 'ReLU'", {1, 2}, {-1, 3}, {}, {1, 2}, {0, 3}},
      {"relu_leaky",
       "type: 'ReLU' relu_param { negative_slope: 0.25 }",
       {1, 2},
       {-1, 3},
       {},
       {1, 2},
       {-0.25f, 3}},
      {"relu6_of_a_fork", "type: 'ReLU6'", {1, 2}, {-1, 9}, {}, {1, 2}, {0, 6}},
      {"elu",
       "type: 'ELU' elu_param { alpha: 2 }",
       {1, 2},
       {-1, 3},
       {},
       {1, 2},
       {2 * (1 / e - 1), 3}},
      {"sigmoid", "type: 'Sigmoid'", {1, 1}, {1}, {}, {1, 1}, {e / (1 + e)}},
      {"tanh", "type: 'TanH'", {1, 1}, {1}, {}, {1, 1}, {std::tanh(1.0f)}},
      {"bnll", "type: 'BNLL'", {1, 1}, {1}, {}, {1, 1}, {std::log(1 + e)}},
      {"absolute_value", "type: 'AbsVal'", {1, 2}, {-2, 3}, {}, {1, 2}, {2, 3}},
      {"clip",
       "type: 'Clip' clip_param { min: -1 max: 2 }",
       {1, 3},
       {-3, 1, 3},
       {},
       {1, 3},
       {-1, 1, 2}},
      {"swish",
       "type: 'Swish' swish_param { beta: 2 }",
       {1, 1},
       {0.5f},
       {},
       {1, 1},
       {0.5f * e / (1 + e)}},
      {"power",
       "type: 'Power' power_param { power: 2 scale: 3 shift: -1 }",
       {1, 2},
       {1, 2},
       {},
       {1, 2},
       {4, 25}},
      {"power_that_changes_nothing", "type: 'Power'", {1, 2}, {1, 2}, {}, {1, 2}, {1, 2}},
      {"exp", "type: 'Exp'", {1, 1}, {1}, {}, {1, 1}, {e}},
      {"exp_of_base_2",
       "type: 'Exp' exp_param { base: 2 scale: 3 shift: 1 }",
       {1, 1},
       {1},
       {},
       {1, 1},
       {16}},
      {"log", "type: 'Log'", {1, 1}, {e}, {}, {1, 1}, {1}},
      {"log_of_base_2",
       "type: 'Log' log_param { base: 2 scale: 3 shift: 2 }",
       {1, 1},
       {2},
       {},
       {1, 1},
       {3}},
      {"threshold",
       "type: 'Threshold' threshold_param { threshold: 1 }",
       {1, 3},
       {0, 1, 2},
       {},
       {1, 3},
       {0, 0, 1}},
      {"lrn",
       "type: 'LRN' lrn_param { local_size: 3 alpha: 3 beta: 1 }",
       {1, 3, 1, 1},
       {1, 2, 3},
       {},
       {1, 3, 1, 1},
       {1.0f / 6, 2.0f / 15, 3.0f / 14}},
      {"lrn_from_2",
       "type: 'LRN' lrn_param { local_size: 3 alpha: 3 beta: 1 k: 2 }",
       {1, 3, 1, 1},
       {1, 2, 3},
       {},
       {1, 3, 1, 1},
       {1.0f / 7, 2.0f / 16, 3.0f / 15}},
      {"lrn_within_channels",
       "type: 'LRN' lrn_param { local_size: 3 alpha: 9 beta: 1 norm_region: WITHIN_CHANNEL }",
       {1, 1, 1, 3},
       {1, 2, 3},
       {},
       {1, 1, 1, 3},
       {1.0f / 6, 2.0f / 15, 3.0f / 14}},
      {"mvn", "type: 'MVN'", {1, 2, 1, 2}, {1, 3, 5, 11}, {}, {1, 2, 1, 2}, {-1, 1, -1, 1}},
      {"mvn_of_the_mean",
       "type: 'MVN' mvn_param { normalize_variance: false across_channels: true }",
       {1, 2, 1, 2},
       {1, 3, 5, 11},
       {},
       {1, 2, 1, 2},
       {-4, -2, 0, 6}},
      {"softmax",
       "type: 'Softmax'",
       {1, 2, 1, 2},
       {0, 1, 0, 2},
       {},
       {1, 2, 1, 2},
       {0.5f, 1 / (1 + e), 0.5f, e / (1 + e)}},
      {"softmax_of_the_last_axis",
       "type: 'Softmax' softmax_param { axis: -1 }",
       {1, 2, 1, 2},
       {0, 1, 0, 0},
       {},
       {1, 2, 1, 2},
       {1 / (1 + e), e / (1 + e), 0.5f, 0.5f}},
      {"dropout",
       "type: 'Dropout' dropout_param { dropout_ratio: 0.9 }",
       {1, 2},
       {1, 2},
       {},
       {1, 2},
       {1, 2}},
      {"flatten", "type: 'Flatten'", {1, 2, 1, 2}, {1, 2, 3, 4}, {}, {1, 4}, {1, 2, 3, 4}},
      {"flatten_from_axis_2",
       "type: 'Flatten' flatten_param { axis: -2 }",
       {1, 2, 1, 2},
       {1, 2, 3, 4},
       {},
       {1, 2, 2},
       {1, 2, 3, 4}},
      {"reshape",
       "type: 'Reshape' reshape_param { shape { dim: 0 dim: -1 dim: 1 } }",
       {1, 2, 1, 2},
       {1, 2, 3, 4},
       {},
       {1, 4, 1},
       {1, 2, 3, 4}},
      {"reshape_from_axis_1",
       "type: 'Reshape' reshape_param { shape { dim: 4 } axis: 1 }",
       {1, 2, 1, 2},
       {1, 2, 3, 4},
       {},
       {1, 4},
       {1, 2, 3, 4}},
      {"permute",
       "type: 'Permute' permute_param { order: 0 order: 3 }",
       {1, 2, 1, 2},
       {1, 2, 3, 4},
       {},
       {1, 2, 2, 1},
       {1, 3, 2, 4}},
      {"arg_max", "type: 'ArgMax'", {1, 3, 1, 1}, {1, 5, 2}, {}, {1, 1, 1}, {1}},
      {"arg_max_along_channels",
       "type: 'ArgMax' argmax_param { axis: 1 }",
       {1, 2, 1, 2},
       {1, 4, 3, 2},
       {},
       {1, 1, 1, 2},
       {1, 0}},
      {"interp_to_size",
       "type: 'Interp' interp_param { height: 1 width: 3 }",
       {1, 1, 1, 2},
       {1, 3},
       {},
       {1, 1, 1, 3},
       {1, 2, 3}},
      {"interp_by_factor",
       "type: 'Interp' interp_param { zoom_factor: 2 }",
       {1, 1, 2, 2},
       {1, 3, 5, 7},
       {},
       {1, 1, 3, 3},
       {1, 2, 3, 3, 4, 5, 5, 6, 7}},
  };
}

INSTANTIATE_TEST_SUITE_P(Caffe, CaffeLayerTest, ::testing::ValuesIn(layer_cases()),
                         [](const auto& parameter) { return parameter.param.name; });

/// A layer "l" over two inputs "x" and "z" of extents [1, 2, 1, 2].
std::vector<float> over_two(const std::string& layer, const std::vector<float>& x,
                            const std::vector<float>& z, const Shape& second = {1, 2, 1, 2}) {
  Net net;
  net.input("x", {1, 2, 1, 2}).input("z", second.dims());
  net.add("layer { name: 'l' bottom: 'x' bottom: 'z' top: 'y' " + layer + " }");
  return floats(
      run(import_net(net).graph, {1, 2, 1, 2}, x, 0, {{"z", Tensor::from_floats(second, z)}}));
}

TEST(CaffeLayers, LayersOverTwoBottoms) {
  const std::vector<float> x = {1, 2, 3, 4};
  const std::vector<float> z = {5, 0, -1, 2};
  EXPECT_THAT(over_two("type: 'Eltwise'", x, z), ElementsAre(6, 2, 2, 6));
  EXPECT_THAT(over_two("type: 'Eltwise' eltwise_param { coeff: 1 coeff: -2 }", x, z),
              ElementsAre(-9, 2, 5, 0));
  EXPECT_THAT(over_two("type: 'Eltwise' eltwise_param { operation: PROD }", x, z),
              ElementsAre(5, 0, -3, 8));
  EXPECT_THAT(over_two("type: 'Eltwise' eltwise_param { operation: MAX }", x, z),
              ElementsAre(5, 2, 3, 4));
  EXPECT_THAT(over_two("type: 'Concat'", x, z), ElementsAre(1, 2, 3, 4, 5, 0, -1, 2));
  EXPECT_THAT(over_two("type: 'Concat' concat_param { axis: 3 }", x, z),
              ElementsAre(1, 2, 5, 0, 3, 4, -1, 2));
  EXPECT_THAT(over_two("type: 'Scale'", x, {10, -1}, {2}), ElementsAre(10, 20, -3, -4));
  EXPECT_THAT(over_two("type: 'Scale' scale_param { axis: 0 }", x, {10, -1}, {1, 2}),
              ElementsAre(10, 20, -3, -4));
  EXPECT_THAT(over_two("type: 'Bias' bias_param { axis: 0 }", x, {10, -1}, {1, 2}),
              ElementsAre(11, 12, 2, 3));
  EXPECT_THAT(over_two("type: 'Crop' crop_param { axis: 3 offset: 1 }", x, {0, 0}, {1, 2, 1, 1}),
              ElementsAre(2, 4));
  EXPECT_THAT(over_two("type: 'Interp'", x, {0, 0, 0}, {1, 1, 1, 3}),
              ElementsAre(1, 1.5, 2, 3, 3.5, 4));
}

TEST(CaffeLayers, ThreeTermsAndFactors) {
  for (const auto& [operation, expected] : std::map<std::string, std::vector<float>>{
           {"SUM", {12, 15}}, {"PROD", {28, 80}}, {"MAX", {7, 8}}}) {
    Net net;
    net.input("x", {1, 6})
        .add(
            "layer { name: 's' type: 'Slice' bottom: 'x' top: 'a' top: 'b' top: 'c' } layer { "
            "name: "
            "'l' type: 'Eltwise' bottom: 'a' bottom: 'b' bottom: 'c' top: 'y' eltwise_param { "
            "operation: " +
            operation + " } }");
    EXPECT_EQ(floats(run(import_net(net).graph, {1, 6}, {1, 2, 4, 5, 7, 8})), expected);
  }
  Net axpy;
  axpy.input("a", {1, 2, 1, 1}).input("x", {1, 2, 1, 1}).input("y", {1, 2, 1, 1});
  axpy.add("layer { name: 'l' type: 'Axpy' bottom: 'a' bottom: 'x' bottom: 'y' top: 'r' }");
  EXPECT_THAT(floats(run(import_net(axpy).graph, {1, 2, 1, 1}, {2, 3}, 0,
                         {{"x", Tensor::from_floats({1, 2, 1, 1}, {5, 7})},
                          {"y", Tensor::from_floats({1, 2, 1, 1}, {1, -1})}})),
              ElementsAre(11, 20));
}

TEST(CaffeLayers, LayersWithSeveralTops) {
  Net net;
  net.input("x", {1, 4, 1, 1})
      .add(
          "layer { name: 's' type: 'Slice' bottom: 'x' top: 'a' top: 'b' slice_param { "
          "slice_point: 1 "
          "} } layer { name: 'p' type: 'Split' bottom: 'b' top: 'c' top: 'd' }");
  const Graph graph = import_net(net).graph;
  std::vector<std::string> names;
  for (const ValueId id : graph.outputs()) names.push_back(graph.value(id).name);
  EXPECT_THAT(names, ElementsAre("d", "c", "a"));
  EXPECT_THAT(floats(run(graph, {1, 4, 1, 1}, {1, 2, 3, 4}, 0)), ElementsAre(2, 3, 4));
  EXPECT_THAT(floats(run(graph, {1, 4, 1, 1}, {1, 2, 3, 4}, 1)), ElementsAre(2, 3, 4));
  EXPECT_THAT(floats(run(graph, {1, 4, 1, 1}, {1, 2, 3, 4}, 2)), ElementsAre(1));
}

}  // namespace
}  // namespace camlucida::test
