/// The paths of the GPU kernels of convolutions, pools and normalisations that only larger or wider
/// maps take than those of the layers' examples.
#include <gtest/gtest.h>

#include "engine/registry.h"
#include "layers/conv/conv.h"
#include "layers/norm/norm.h"
#include "layers/pool/pool.h"
#include "layers/resize/resize.h"
#include "tests/gpu_harness.h"

namespace camlucida {
namespace {

class GpuSpatial : public ::testing::TestWithParam<Precision> {
 protected:
  void check(const std::string& layer, const Example& example, int least_runs) const {
    SCOPED_TRACE(layer + " " + example.name);
    const test::LayerCase c(Registry::instance().require(layer), example);
    EXPECT_GE(test::check_gpu_kernels(Registry::instance(), c, GetParam()), least_runs);
  }
};

ExampleInput constant(Shape shape) { return {.shape = std::move(shape), .constant = true}; }

TEST_P(GpuSpatial, DirectConvolution) {
  check("Conv",
        {"tiles_of_eight_pixels",
         ConvAttributes{{.pads = {1, 1, 1, 1}}},
         {{.shape = {2, 8, 19, 33}}, constant({36, 8, 3, 3}), constant({36})}},
        4);
  check("Conv",
        {"odd_channels",
         ConvAttributes{{.strides = {2, 2}, .pads = {1, 2, 2, 1}}},
         {{.shape = {1, 9, 38, 61}}, constant({39, 9, 3, 3})}},
        4);
  check("Conv",
        {"stem",
         ConvAttributes{{.strides = {2, 2}, .pads = {3, 3, 3, 3}}},
         {{.shape = {1, 3, 50, 54}}, constant({32, 3, 7, 7}), constant({32})}},
        4);
  check("ConvTranspose",
        {"stride_2",
         ConvTransposeAttributes{{.strides = {2, 2}, .pads = {1, 1, 1, 1}}},
         {{.shape = {1, 12, 17, 19}}, constant({12, 16, 4, 4}), constant({16})}},
        4);
}

TEST_P(GpuSpatial, DepthwiseConvolution) {
  const auto depthwise = [this](int64_t extent, int64_t kernel, int64_t stride, int64_t dilation) {
    const int64_t pad = kernel / 2 * dilation;
    const std::string name = std::to_string(kernel) + "x" + std::to_string(kernel) + "_stride" +
                             std::to_string(stride) + "_" + std::to_string(extent);
    check("Conv",
          {name,
           ConvAttributes{{.strides = {stride, stride},
                           .dilations = {dilation, dilation},
                           .pads = {pad, pad, pad, pad}},
                          16},
           {{.shape = {2, 16, extent, extent}}, constant({16, 1, kernel, kernel}), constant({16})}},
          4);
  };
  for (const int64_t extent : {7, 45}) {  // narrow and wide tiles
    for (const int64_t stride : {1, 2}) {
      depthwise(extent, 3, stride, 1);
      depthwise(extent, 5, stride, 1);
    }
    depthwise(extent, 7, 1, 1);
    depthwise(extent, 3, 1, 2);
  }
  check("ConvTranspose",
        {"depthwise",
         ConvTransposeAttributes{{.strides = {2, 2}, .pads = {1, 1, 1, 1}}, 8},
         {{.shape = {1, 8, 6, 5}}, constant({8, 1, 4, 4}), constant({8})}},
        4);
}

TEST_P(GpuSpatial, GlobalPoolsInTwoSteps) {
  const std::vector<ExampleInput> maps = {{.shape = {2, 16, 24, 23}}};
  check("GlobalAveragePool", {"large", {}, maps}, 4);
  check("GlobalMaxPool", {"large", {}, maps}, 4);
  check("GlobalLpPool", {"large", GlobalLpPoolAttributes{3}, maps}, 4);
  check("AveragePool", {"whole", AveragePoolAttributes{{.kernel = {24, 23}}}, maps}, 4);
}

TEST_P(GpuSpatial, PoolsOfManyChannels) {
  const WindowAttributes window{.kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1}};
  const std::vector<ExampleInput> maps = {{.shape = {2, 16, 11, 10}}};
  check("MaxPool", {"16_channels", MaxPoolAttributes{window}, maps}, 4);
  check("MaxPool",
        {.name = "16_channels_indices",
         .attributes = MaxPoolAttributes{window},
         .inputs = maps,
         .output_count = 2,
         .batched = false},
        2);
  check("AveragePool", {"16_channels", AveragePoolAttributes{window}, maps}, 4);
  check("LpPool", {"16_channels", LpPoolAttributes{window}, maps}, 4);
}

TEST_P(GpuSpatial, NormsOfManyRows) {
  check(
      "LayerNormalization",
      {"many_rows", LayerNormAttributes{}, {{.shape = {2, 2051, 7}}, constant({7}), constant({7})}},
      4);
  check("GroupNormalization",
        {"long_rows",
         GroupNormAttributes{2},
         {{.shape = {2, 8, 21, 20}}, constant({8}), constant({8})}},
        4);
  check("BatchNormalization",
        {"16_channels",
         BatchNormAttributes{},
         {{.shape = {2, 16, 5, 6}},
          constant({16}),
          constant({16}),
          constant({16}),
          {.shape = {16}, .constant = true, .low = 0.2, .high = 2.0}}},
        4);
}

TEST_P(GpuSpatial, ResizeOfManyChannels) {
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    ResizeAttributes attributes;
    attributes.mode = mode;
    check("Resize",
          {mode,
           attributes,
           {{.shape = {2, 16, 5, 7}},
            {.absent = true},
            {.shape = {4}, .constant = true, .values = {1, 1, 2.5, 1.5}}}},
          4);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GpuSpatial,
                         ::testing::Values(Precision::kFp32, Precision::kFp16, Precision::kBf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace camlucida
