/// Winograd's convolution: its kernels against the references of Conv and ConvTranspose on shapes
/// that tiles do not fit, and what engine/cpu/winograd.h promises about bits, accuracy and values
/// that are not finite.
#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "engine/cpu/layout.h"
#include "engine/cpu/winograd.h"
#include "layers/conv/conv.h"
#include "tests/layer_harness.h"

namespace camlucida {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// This build's layers with no kernels but those under test.
const Registry& winograd_only() {
  static const Registry* registry = [] {
    auto* chosen = new Registry;
    for (const auto& layer : Registry::instance().layers()) chosen->add(LayerDef(*layer));
    for (const auto& kernel : Registry::instance().kernels()) {
      if (kernel->name.rfind("conv_winograd", 0) == 0) chosen->add(KernelDef(*kernel));
    }
    return chosen;
  }();
  return *registry;
}

struct Named {
  const char* layer;
  Example example;
};

/// Weights so small that sums are of the order of 1 and a sigmoid behind them is no step.
/// The cheapest way to convolve x to `out` channels with 3x3 weights, stride 1 and padding 1.
std::string choice(Shape x, int64_t out) {
  Node node;
  node.layer = &Registry::instance().require("Conv");
  node.attributes = ConvAttributes{{.pads = {1, 1, 1, 1}}};
  const Tensor weight(Shape{out, x[1], 3, 3});
  KernelCase kernel_case{node, false, "plain", {}, {}, {}, {}};
  kernel_case.inputs = {{{DType::kFloat32, x}, nullptr, true, Layout::kBlocked},
                        {weight.desc(), &weight, true}};
  x[1] = out;
  kernel_case.outputs = {{{DType::kFloat32, x}, nullptr, true}};
  std::string best;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& kernel : Registry::instance().kernels()) {
    if (kernel->device != Device::kCpu || kernel->backward || kernel->layers.empty() ||
        kernel->layers[0] != "Conv") {
      continue;
    }
    for (const Offer& offer : kernel->offer(kernel_case)) {
      if (!offer.possible || offer.cost_ns >= least) continue;
      least = offer.cost_ns;
      best = kernel->name + " " + offer.reason;
    }
  }
  return best;
}

ExampleInput constant(Shape shape) {
  return {.shape = std::move(shape), .constant = true, .low = -0.2, .high = 0.2};
}

/// [N, in, rows, columns] to `out` channels; pads: top, left, bottom, right.
Named conv(std::string name, Shape x, int64_t out, std::vector<int64_t> pads) {
  const int64_t in = x[1];
  return {"Conv",
          {.name = std::move(name),
           .attributes = ConvAttributes{{.pads = std::move(pads)}},
           .inputs = {{std::move(x)}, constant({out, in, 3, 3}), constant({out})},
           .tolerance = 1e-5}};
}

Named transposed(std::string name, Shape x, int64_t out, std::vector<int64_t> pads) {
  const int64_t in = x[1];
  return {"ConvTranspose",
          {.name = std::move(name),
           .attributes = ConvTransposeAttributes{{.pads = std::move(pads)}},
           .inputs = {{std::move(x)}, constant({in, out, 3, 3}), constant({out})},
           .tolerance = 1e-5}};
}

std::vector<Named> examples() {
  return {
      conv("1x1_pad1", {3, 5, 1, 1}, 7, {1, 1, 1, 1}),
      conv("1x1_pad2", {1, 17, 1, 1}, 3, {2, 2, 2, 2}),
      conv("1x5_pad_rows_only", {1, 4, 1, 5}, 6, {1, 0, 1, 0}),
      conv("3x3_unpadded", {2, 9, 3, 3}, 16, {0, 0, 0, 0}),
      conv("2x3_smaller_than_tile", {3, 20, 2, 3}, 33, {1, 1, 1, 1}),
      conv("4x4_unpadded", {1, 16, 4, 4}, 16, {0, 0, 0, 0}),
      conv("7x7", {3, 40, 7, 7}, 24, {1, 1, 1, 1}),
      conv("13x9_asymmetric", {1, 33, 13, 9}, 39, {0, 2, 1, 0}),
      conv("6x8_pad2", {3, 16, 6, 8}, 80, {2, 2, 2, 2}),
      conv("11x5_pad4_of_nothing_but_zeros", {1, 8, 11, 5}, 8, {4, 3, 4, 3}),
      conv("40x45_many_tiles", {1, 8, 40, 45}, 8, {1, 1, 1, 1}),
      conv("many_channels", {1, 150, 6, 6}, 130, {1, 1, 1, 1}),
      transposed("unpadded", {3, 11, 4, 5}, 19, {0, 0, 0, 0}),
      transposed("pad1", {1, 35, 7, 9}, 18, {1, 1, 1, 1}),
      transposed("pad_asymmetric", {2, 16, 6, 4}, 21, {0, 2, 1, 1}),
  };
}

class WinogradKernels : public ::testing::TestWithParam<Named> {};

TEST_P(WinogradKernels, AgreeWithReference) {
  const test::LayerCase layer_case(Registry::instance().require(GetParam().layer),
                                   GetParam().example);
  test::check_gradient(layer_case);  // of the reference, by finite differences
  EXPECT_GT(test::check_kernels(winograd_only(), layer_case), 0);
  if (layer_case.layer->epilogue == EpilogueRole::kHost) {
    EXPECT_GT(test::check_epilogues(winograd_only(), layer_case), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(All, WinogradKernels, ::testing::ValuesIn(examples()),
                         [](const auto& one) {
                           return std::string(one.param.layer) + "_" + one.param.example.name;
                         });

TEST(Winograd, TakesAnyNumberOfChannels) {
  const LayerDef& layer = Registry::instance().require("Conv");
  for (int64_t channels = 1; channels <= 40; ++channels) {
    const Named one = conv("channels" + std::to_string(channels), {1, channels, 3, 6},
                           41 - channels, {1, 1, 1, 1});
    EXPECT_GT(test::check_kernels(winograd_only(), test::LayerCase(layer, one.example)), 0);
    if (HasFailure()) return;
  }
}

/// Runs each test under every SIMD target of this machine that has vectors, and both m.
template <class F>
void for_each_way(F&& f) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    for (const int m : {kWinogradSmall, kWinogradLarge}) {
      SCOPED_TRACE(std::string(hwy::TargetName(target)) + " F(" + std::to_string(m) + ")");
      if (tile_set() != nullptr) f(m);
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

WinogradShape same_size(int m, int64_t batch, int64_t channels, int64_t rows, int64_t columns) {
  return {.m = m,
          .batch = batch,
          .in_channels = channels,
          .out_channels = channels,
          .in_rows = rows,
          .in_columns = columns,
          .out_rows = rows,
          .out_columns = columns,
          .top = 1,
          .left = 1,
          .out_stride = channels * 9,
          .in_stride = 9};
}

Shape tensor_shape(const WinogradShape& s) {
  return {s.batch, s.in_channels, s.in_rows, s.in_columns};
}

/// Plain tensors in and out.
Tensor convolve(const WinogradShape& s, const Tensor& x, const Tensor& weight, int threads,
                const FusedEpilogue& epilogue = {}) {
  ThreadPool pool(threads);
  const Shape shape = tensor_shape(s);
  Tensor in(Shape{stored_count(shape, Layout::kBlocked)});
  Tensor out(in.shape());
  Tensor scratch(Shape{static_cast<int64_t>(Winograd::scratch_bytes(s) / sizeof(float))});
  for (float& value : scratch.as<float>()) value = kNaN;
  to_blocked(x.floats(), shape, in.floats(), pool);
  Winograd(s, weight.floats(), nullptr, epilogue)
      .run(in.floats(), out.floats(), {}, static_cast<std::byte*>(scratch.raw()), pool);
  Tensor y(shape);
  to_plain(out.floats(), shape, y.floats(), pool);
  return y;
}

Tensor numbers(Shape shape, double low, double high, const std::string& seed) {
  Tensor tensor(std::move(shape));
  const std::vector<double> values = test::make_data(tensor.desc(), low, high, seed);
  std::copy(values.begin(), values.end(), tensor.floats());
  return tensor;
}

/// In double, element by element.
std::vector<double> exact(const WinogradShape& s, const Tensor& x, const Tensor& weight) {
  const float* pixels = x.floats();
  const float* weights = weight.floats();
  std::vector<double> y;
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t o = 0; o < s.out_channels; ++o) {
      for (int64_t r = 0; r < s.out_rows; ++r) {
        for (int64_t c = 0; c < s.out_columns; ++c) {
          double sum = 0;
          for (int64_t i = 0; i < s.in_channels; ++i) {
            for (int64_t t = 0; t < 9; ++t) {
              const int64_t row = r - s.top + t / 3;
              const int64_t column = c - s.left + t % 3;
              if (row < 0 || row >= s.in_rows || column < 0 || column >= s.in_columns) continue;
              const int64_t at =
                  ((n * s.in_channels + i) * s.in_rows + row) * s.in_columns + column;
              sum += double{pixels[at]} * weights[o * s.out_stride + i * s.in_stride + t];
            }
          }
          y.push_back(sum);
        }
      }
    }
  }
  return y;
}

/// All matrices of F(2) are exact in binary and small integers leave no rounding.
TEST(Winograd, SmallTilesAreExactOnIntegers) {
  for_each_way([](int m) {
    if (m != kWinogradSmall) return;
    const WinogradShape s = same_size(m, 2, 18, 7, 10);
    Tensor x(tensor_shape(s));
    Tensor weight(Shape{18, 18, 3, 3});
    for (int64_t i = 0; i < x.count(); ++i) x.floats()[i] = static_cast<float>(i * 7919 % 15 - 7);
    for (int64_t i = 0; i < weight.count(); ++i) {
      weight.floats()[i] = static_cast<float>(i * 104729 % 9 - 4);
    }
    const std::vector<double> expected = exact(s, x, weight);
    const Tensor y = convolve(s, x, weight, 2);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), y.floats()));
  });
}

/// Twice what was measured; points 0, +-1, +-2 or sums in one level would go beyond.
TEST(Winograd, IsAccurate) {
  for_each_way([](int m) {
    WinogradShape s = same_size(m, 1, 256, 12, 12);
    s.out_channels = 64;
    const Tensor x = numbers(tensor_shape(s), -1, 1, "x");
    const Tensor weight = numbers({64, 256, 3, 3}, -1, 1, "weight");
    const std::vector<double> expected = exact(s, x, weight);
    const Tensor y = convolve(s, x, weight, 2);
    double error = 0;
    double size = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      error += std::pow(y.floats()[i] - expected[i], 2);
      size += std::pow(expected[i], 2);
    }
    EXPECT_LE(std::sqrt(error / size), m == kWinogradSmall ? 5e-7 : 1.2e-6);
    std::printf("[ MEASURED ] F(%d): %.1e\n", m, std::sqrt(error / size));
  });
}

/// Both ways of sharing work: tiles of one's own, and all threads on the same tiles, in rounds.
TEST(Winograd, SameBitsForAnyThreadsAndBatch) {
  for_each_way([](int m) {
    const WinogradShape s = same_size(m, 2, 20, 61, 59);
    const Tensor x = numbers(tensor_shape(s), -1, 1, "x");
    const Tensor weight = numbers({20, 20, 3, 3}, -1, 1, "weight");
    const Tensor y = convolve(s, x, weight, 1);
    for (const int threads : {2, 3, 4, 6, 12}) {
      EXPECT_EQ(std::memcmp(convolve(s, x, weight, threads).raw(), y.raw(), y.bytes()), 0)
          << threads << " threads";
    }
    WinogradShape single = s;
    single.batch = 1;
    for (int64_t n = 0; n < 2; ++n) {
      const Tensor one = convolve(single, x.rows(n, 1), weight, 3);
      EXPECT_EQ(std::memcmp(one.raw(), y.rows(n, 1).raw(), one.bytes()), 0) << "image " << n;
    }
  });
}

/// Every output that reads a NaN is NaN, through a clamp; one that reads an infinity is not finite.
/// An output that does not read it is as without it, or NaN if its tile does.
TEST(Winograd, KeepsWhatIsNotFiniteInItsTiles) {
  for_each_way([](int m) {
    const WinogradShape s = same_size(m, 1, 17, 14, 15);
    const Tensor clean = numbers(tensor_shape(s), -1, 1, "x");
    const Tensor weight = numbers({17, 17, 3, 3}, -1, 1, "weight");
    FusedEpilogue epilogue;
    epilogue.clamps = true;
    epilogue.low = 0;
    epilogue.high = 6;
    for (const float value : {kNaN, kInfinity, -kInfinity}) {
      const FusedEpilogue fused = std::isnan(value) ? epilogue : FusedEpilogue{};
      const Tensor expected = convolve(s, clean, weight, 1, fused);
      for (int64_t pixel = 0; pixel < s.in_rows * s.in_columns; ++pixel) {
        Tensor x = clean.clone();
        const int64_t row = pixel / s.in_columns;
        const int64_t column = pixel % s.in_columns;
        x.floats()[3 * s.in_rows * s.in_columns + pixel] = value;
        const Tensor y = convolve(s, x, weight, 1, fused);
        const auto apart = [m](int64_t a, int64_t b) {  // from b to the tile of a
          return std::max(a / m * m - b, b - (a / m * m + m - 1));
        };
        for (int64_t i = 0; i < y.count(); ++i) {
          const int64_t r = i / s.in_columns % s.in_rows;
          const int64_t c = i % s.in_columns;
          const bool reads = std::abs(r - row) <= 1 && std::abs(c - column) <= 1;
          const bool near = apart(r, row) <= 1 && apart(c, column) <= 1;
          const bool same = y.floats()[i] == expected.floats()[i];
          const bool lost =
              std::isnan(value) ? !std::isnan(y.floats()[i]) : std::isfinite(y.floats()[i]);
          ASSERT_TRUE(reads ? !lost : same || (near && std::isnan(y.floats()[i])))
              << value << " at " << row << ", " << column << ": output " << r << ", " << c << " is "
              << y.floats()[i];
        }
      }
    }
  });
}

/// Where tiles fit and weights are few beside the map; and the same for any batch.
TEST(Winograd, IsChosenWhereItIsFaster) {
  const std::string large = "conv_winograd_blocked F(4x4, 3x3)";
  const std::string small = "conv_winograd_blocked F(2x2, 3x3)";
  for (const int64_t batch : {1, 2, 5, 64}) {
    SCOPED_TRACE(batch);
    EXPECT_EQ(choice({batch, 64, 56, 56}, 64), large);
    EXPECT_EQ(choice({batch, 512, 28, 28}, 512), large);
    EXPECT_EQ(choice({batch, 16, 55, 55}, 64), large);
    EXPECT_EQ(choice({batch, 256, 14, 14}, 256), small);
    EXPECT_EQ(choice({batch, 512, 7, 7}, 512), "conv_direct_blocked ");
    EXPECT_EQ(choice({batch, 64, 1, 1}, 64), "conv_direct_blocked ");
  }
}

}  // namespace
}  // namespace camlucida
