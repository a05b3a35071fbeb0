/// Convolution kernels on cases that the small examples of the layers do not reach: many channels
/// (several chunks of weights), channel tails, merged groups, wide and narrow maps.
#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "engine/cpu/direct_conv.h"
#include "layers/conv/conv.h"
#include "tests/layer_harness.h"

namespace camlucida {
namespace {

ExampleInput weights(Shape shape) { return {.shape = std::move(shape), .constant = true}; }

Example conv(std::string name, ConvAttributes attributes, Shape x, Shape weight) {
  const int64_t out = weight[0];
  return {.name = std::move(name),
          .attributes = std::move(attributes),
          .inputs = {{std::move(x)}, weights(std::move(weight)), weights({out})},
          .tolerance = 1e-5};
}

ConvAttributes attributes(int64_t stride, int64_t pad, int64_t dilation = 1, int64_t group = 1) {
  return {{.strides = {stride, stride},
           .dilations = {dilation, dilation},
           .pads = {pad, pad, pad, pad}},
          group};
}

std::vector<Example> convolutions() {
  return {
      conv("1x1_many_channels", attributes(1, 0), {2, 1100, 3, 5}, {70, 1100, 1, 1}),
      conv("3x3_many_channels", attributes(1, 1), {1, 150, 7, 7}, {68, 150, 3, 3}),
      conv("3x3_stride2_many_channels", attributes(2, 1), {1, 260, 9, 7}, {72, 260, 3, 3}),
      conv("3x3_wide", attributes(1, 1), {1, 20, 5, 40}, {24, 20, 3, 3}),
      conv("3x3_stride3_dilation2_wide", attributes(3, 2, 2), {1, 20, 13, 50}, {24, 20, 3, 3}),
      conv("5x5_larger_than_map", attributes(1, 2), {1, 17, 2, 3}, {18, 17, 5, 5}),
      conv("groups_of_4", attributes(1, 1, 1, 32), {1, 128, 6, 14}, {128, 4, 3, 3}),
      conv("groups_of_8_stride2", attributes(2, 1, 1, 6), {1, 48, 7, 8}, {96, 8, 3, 3}),
      conv("groups_of_24", attributes(1, 1, 1, 3), {1, 72, 6, 5}, {72, 24, 3, 3}),
      // RegNet's widths: the last block of channels is partly filled, or groups lie across blocks.
      conv("groups_of_8_half_a_block_over", attributes(1, 1, 1, 13), {2, 104, 7, 9},
           {104, 8, 3, 3}),
      conv("groups_of_8_half_a_block_over_stride2", attributes(2, 1, 1, 5), {1, 40, 9, 7},
           {40, 8, 3, 3}),
      conv("groups_of_16_odd_count", attributes(2, 1, 1, 3), {1, 48, 5, 15}, {48, 16, 3, 3}),
      conv("groups_of_24_odd_count", attributes(1, 1, 1, 7), {1, 168, 5, 3}, {168, 24, 3, 3}),
      conv("groups_of_40", attributes(2, 1, 1, 3), {1, 120, 6, 7}, {120, 40, 3, 3}),
      conv("groups_of_112_in_chunks", attributes(1, 1, 1, 2), {1, 224, 4, 3}, {224, 112, 3, 3}),
      conv("groups_of_12_dilated", attributes(1, 2, 2, 5), {2, 60, 7, 6}, {60, 12, 3, 3}),
      conv("groups_of_2_wide", attributes(1, 1, 1, 11), {1, 22, 4, 29}, {22, 2, 3, 3}),
      conv("groups_of_3", attributes(1, 1, 1, 9), {2, 27, 5, 6}, {27, 3, 3, 3}),
      conv("groups_of_6_stride2_dilated", attributes(2, 2, 2, 7), {1, 42, 9, 8}, {42, 6, 3, 3}),
      conv("groups_of_10", attributes(1, 1, 1, 5), {1, 50, 6, 4}, {50, 10, 3, 3}),
      conv("groups_of_4_to_6", attributes(1, 1, 1, 9), {1, 36, 5, 8}, {54, 4, 3, 3}),
      conv("groups_of_5_to_20", attributes(2, 1, 1, 4), {1, 20, 7, 7}, {80, 5, 3, 3}),
      conv("groups_of_20_to_3", attributes(1, 1, 1, 6), {1, 120, 4, 5}, {18, 20, 3, 3}),
      // ShuffleNet's pointwise groups, and many groups at one pixel.
      conv("groups_of_80_to_20_1x1", attributes(1, 0, 1, 3), {2, 240, 5, 3}, {60, 80, 1, 1}),
      conv("groups_of_9_to_36_1x1", attributes(2, 0, 1, 4), {1, 36, 5, 7}, {144, 9, 1, 1}),
      conv("groups_of_7_one_pixel", attributes(1, 0, 1, 9), {3, 63, 1, 1}, {63, 7, 1, 1}),
      conv("one_pixel", attributes(1, 0), {3, 96, 1, 1}, {24, 96, 1, 1}),
      conv("rgb_7x7_wide", attributes(2, 3), {1, 3, 15, 75}, {64, 3, 7, 7}),
      conv("rgb_11x11_stride4", attributes(4, 2), {1, 3, 31, 45}, {40, 3, 11, 11}),
      conv("gray_3x3", attributes(1, 1), {1, 1, 6, 30}, {20, 1, 3, 3}),
      conv("two_planes_3x3_dilated", attributes(1, 2, 2), {1, 2, 9, 31}, {33, 2, 3, 3}),
      conv("rgba_patches", attributes(4, 0), {1, 4, 16, 24}, {24, 4, 4, 4}),
      conv("depthwise_3x3_wide", attributes(1, 1, 1, 40), {1, 40, 5, 37}, {40, 1, 3, 3}),
      conv("depthwise_7x7_small_map", attributes(1, 3, 1, 20), {2, 20, 4, 5}, {20, 1, 7, 7}),
      conv("depthwise_3x3_stride2", attributes(2, 1, 1, 33), {1, 33, 8, 41}, {33, 1, 3, 3}),
      conv("depthwise_dilation3", attributes(1, 3, 3, 16), {1, 16, 9, 22}, {16, 1, 3, 3}),
      conv("depthwise_multiplier3", attributes(1, 1, 1, 12), {1, 12, 6, 21}, {36, 1, 3, 3}),
  };
}

class ConvKernels : public ::testing::TestWithParam<Example> {};

TEST_P(ConvKernels, AgreeWithReference) {
  const test::LayerCase layer_case(Registry::instance().require("Conv"), GetParam());
  EXPECT_GT(test::check_kernels(Registry::instance(), layer_case), 0);
  EXPECT_GT(test::check_epilogues(Registry::instance(), layer_case), 0);
}

INSTANTIATE_TEST_SUITE_P(All, ConvKernels, ::testing::ValuesIn(convolutions()),
                         [](const auto& example) { return example.param.name; });

TEST(LineMap, AdjointReadsWhatReads) {
  for (int64_t stride = 1; stride <= 3; ++stride) {
    const int64_t in = 11, taps = 3, dilation = 2, pad = 3;
    const int64_t out = (in + 2 * pad - (taps - 1) * dilation - 1) / stride + 1;
    const LineMap forward = LineMap::convolution(in, out, taps, stride, dilation, pad);
    const LineMap adjoint = LineMap::adjoint(in, out, taps, stride, dilation, pad);
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t t = 0; t < taps; ++t) {
        int32_t reader = -1;
        for (int64_t o = 0; o < out; ++o) {
          if (forward.at[static_cast<size_t>(o * taps + t)] == i) reader = static_cast<int32_t>(o);
        }
        EXPECT_EQ(adjoint.at[static_cast<size_t>(i * taps + t)], reader)
            << "stride " << stride << " line " << i << " tap " << t;
      }
    }
  }
}

/// Every output block is cut once, and no grouped convolution costs what a dense one would.
TEST(ChannelCuts, ReadLittleMoreThanTheirGroups) {
  const TileSet* tiles = tile_set();
  if (tiles == nullptr) GTEST_SKIP() << "no SIMD";
  struct Groups {
    int64_t count, width;
    double most;  // weight vectors over those of whole blocks without zeros
  };
  for (const Groups& g : {Groups{13, 8, 2},
                          {55, 8, 2},
                          {32, 4, 4},
                          {26, 2, 8},
                          {17, 3, 3},
                          {7, 12, 2},
                          {7, 24, 2},
                          {9, 40, 1.5},
                          {21, 48, 1},
                          {2, 232, 1.1}}) {
    int64_t block = 0;
    int64_t vectors = 0;
    for (const ChannelCut& cut : cut_channels(g.count, g.width, g.width, *tiles)) {
      EXPECT_EQ(cut.out_block, block);
      block += cut.blocks;
      vectors += cut.vectors();
    }
    EXPECT_EQ(block, (g.count * g.width + tiles->lanes - 1) / tiles->lanes);
    EXPECT_LE(static_cast<double>(vectors), g.most * static_cast<double>(block * g.width))
        << g.count << " groups of " << g.width;
  }
}

/// A NaN in one input pixel reaches every output that reads it, through a clamp, and no other.
TEST(DirectConv, KeepsNan) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    if (tile_set() == nullptr) continue;
    const int64_t block = simd_block();
    const int64_t columns = 20;
    DirectConvShape shape;
    shape.group_in = shape.group_out = block;
    shape.in_columns = columns;
    shape.rows = LineMap::convolution(1, 1, 1, 1, 1, 0);
    shape.columns = LineMap::convolution(columns, columns, 3, 1, 1, 1);
    shape.out_stride = block * 3;
    shape.in_stride = 3;
    const std::vector<float> weight(static_cast<size_t>(block * block * 3), 0.5f);
    FusedEpilogue epilogue;
    epilogue.clamps = true;
    epilogue.low = 0;
    epilogue.high = 6;
    Tensor x(Shape{columns * block});
    Tensor y(Shape{columns * block});
    x.floats()[9 * block + 1] = std::numeric_limits<float>::quiet_NaN();
    ThreadPool pool(1);
    DirectConv(shape, weight.data(), nullptr, epilogue).run(x.floats(), y.floats(), {}, pool);
    for (int64_t i = 0; i < columns * block; ++i) {
      const bool reads = std::abs(i / block - 9) <= 1;
      EXPECT_EQ(std::isnan(y.floats()[i]), reads) << hwy::TargetName(target) << " element " << i;
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace
}  // namespace camlucida
