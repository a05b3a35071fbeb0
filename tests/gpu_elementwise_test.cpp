/// What the element-wise and folding GPU kernels share, apart from any layer: walks, folds, and the
/// epilogue that other kernels apply.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/registry.h"
#include "layers/gpu_epilogue.h"
#include "layers/gpu_fold.h"
#include "tests/gpu_harness.h"

namespace camlucida {
namespace {

// ---- Walks -------------------------------------------------------------------------------------

using Axes = std::vector<SpaceAxis<2>>;

TEST(GpuWalk, MergesAxesThatAllTensorsWalkAsOne) {
  const Axes dense = {{2, {60, 60}}, {3, {20, 20}}, {4, {5, 5}}, {5, {1, 1}}};
  const Axes one = merged_axes(dense, 0);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].extent, 120);
  // [N, C, H, W] channels-last beside [N, C, 1, 1]: pictures, pixels, channels.
  const Axes scaled = {{2, {60, 3}}, {3, {1, 1}}, {4, {15, 0}}, {5, {3, 0}}};
  const Axes merged = merged_axes(scaled, 0);
  ASSERT_EQ(merged.size(), 3u);
  EXPECT_EQ(merged[1].extent, 20);
  EXPECT_EQ(merged[2].extent, 3);
  EXPECT_TRUE(merged_axes(Axes{{1, {7, 7}}}, 0).empty());
}

TEST(GpuWalk, FindsEveryElementInEveryTensor) {
  const Axes axes = {{2, {60, 3}}, {3, {1, 1}}, {4, {15, 0}}, {5, {3, 0}}};
  for (const int leading : {0, -1}) {
    const Axes merged = merged_axes(axes, leading);
    const Walk<2> walk = make_walk(merged);
    ASSERT_EQ(walk.count, 120);
    std::vector<int> seen(120, 0);
    for (int64_t i = 0; i < walk.count; ++i) {
      const Offsets<2> at = walk.offsets(i);
      ++seen[static_cast<size_t>(at.at[0])];
      EXPECT_EQ(at.at[1], at.at[0] / 60 * 3 + at.at[0] % 3);
    }
    EXPECT_EQ(seen, std::vector<int>(120, 1));
  }
}

// ---- Folds -------------------------------------------------------------------------------------

/// [reduced, kept] or [kept, reduced] floats.
struct TestMap {
  static constexpr bool kWide = true;
  const float* x;
  float* y;
  int64_t kept_stride;
  int64_t reduced_stride;

  int64_t begin(int64_t k) const { return k * kept_stride; }
  template <int kWidth>
  void read(int64_t begin, int64_t r, float (&value)[kWidth]) const {
    for (int w = 0; w < kWidth; ++w) {
      value[w] = x[begin + r * reduced_stride + w * kept_stride];
    }
  }
  void store(int64_t k, float value) const { y[k] = value; }
};

/// Sums of integers, which are exact in any order.
void check_fold(int64_t kept, int64_t reduced, bool adjacent, int width) {
  SCOPED_TRACE(std::to_string(kept) + " results of " + std::to_string(reduced) + " elements");
  const SpaceAxis<1> kept_axis{kept, {adjacent ? 1 : reduced}};
  const SpaceAxis<1> reduced_axis{reduced, {adjacent ? kept : 1}};
  FoldShape shape = fold_shape<1>({kept_axis}, {reduced_axis}, 0, true);
  if (width > 1) {
    shape.width = width;
    shape.across = Divider(kept / width);
  }
  std::vector<float> x(static_cast<size_t>(kept * reduced));
  std::vector<float> expected(static_cast<size_t>(kept), 0.0f);
  for (int64_t k = 0; k < kept; ++k) {
    for (int64_t r = 0; r < reduced; ++r) {
      const float value = static_cast<float>((k * 31 + r * 17) % 23 - 11);
      x[static_cast<size_t>(k * kept_axis.stride[0] + r * reduced_axis.stride[0])] = value;
      expected[static_cast<size_t>(k)] += value * 0.5f;
    }
  }
  const std::shared_ptr<Stream> stream = Gpu::emulated(2)->new_stream();
  std::vector<std::byte> scratch(shape.scratch_bytes(sizeof(float)));
  std::vector<float> y(static_cast<size_t>(kept), NAN);
  const TestMap map{x.data(), y.data(), kept_axis.stride[0], reduced_axis.stride[0]};
  run_fold(*stream, map, SumFold{0.5f}, shape, scratch.data());
  EXPECT_EQ(y, expected);
}

TEST(GpuFold, AddsEveryElementOnce) {
  for (const int64_t reduced : {1, 7, 64, 65, 200, 5000, 40000}) {
    check_fold(24, reduced, true, 1);
    check_fold(24, reduced, true, 4);
    check_fold(3, reduced, false, 1);
  }
}

TEST(GpuFold, SharesAmongThreadsBesideEachOther) {
  const auto shape = [](Axes kept, Axes reduced) { return fold_shape(kept, reduced, 0, true); };
  // The mean over 7 x 7 pixels that lie channels-last.
  const FoldShape mean = shape({{256, {100352, 2048}}, {2048, {1, 1}}}, {{49, {2048, 0}}});
  EXPECT_TRUE(mean.by_thread);
  EXPECT_EQ(mean.width, 4);
  EXPECT_EQ(mean.segments, 1);
  EXPECT_EQ(shape({{2048, {1, 1}}}, {{49, {2048, 0}}}).width, 1) << "too few results";
  // The same in plain layout, and larger.
  EXPECT_TRUE(shape({{2048, {49, 1}}}, {{49, {1, 0}}}).by_thread);
  EXPECT_FALSE(shape({{64, {12544, 1}}}, {{12544, {1, 0}}}).by_thread);
  // Bits of a picture do not depend on the batch.
  const auto segments = [&](int64_t batch) {
    return shape({{batch, {401408, 32}}, {32, {1, 1}}}, {{12544, {32, 0}}}).segments;
  };
  EXPECT_GT(segments(1), 50);
  EXPECT_EQ(segments(1), segments(64));
}

// ---- Epilogues ---------------------------------------------------------------------------------

const LayerDef& layer(const char* name) { return Registry::instance().require(name); }

/// The epilogue that function `name` with attributes as in its prototype becomes.
Epilogue function(const char* name) {
  const LayerDef& def = layer(name);
  const TensorDesc x{DType::kFloat32, {2, 4}};
  const Tensor exponent = Tensor::scalar(3);
  const bool power = def.name == "Pow";
  const TensorDesc scalar = exponent.desc();
  std::vector<const TensorDesc*> descs = {&x};
  std::vector<const Tensor*> constants = {nullptr};
  if (power) {
    descs.push_back(&scalar);
    constants.push_back(&exponent);
  }
  const InferContext context{def.prototype, descs, constants, 1};
  return Epilogue{&def, def.prototype, kNone, *def.unary(context), {}};
}

Epilogue addition(int operand) {
  return Epilogue{&layer("Add"), layer("Add").prototype, operand, {}, {}};
}

/// A case of a node with these epilogues, the second input as an addend of shape `addend`.
struct EpilogueCase {
  Node node;
  KernelCase kernel_case{node, false, "plain", {}, {}, {}, {}};
  std::string reason;

  explicit EpilogueCase(std::vector<Epilogue> epilogues, Shape addend = {2, 4}) {
    node.epilogues = std::move(epilogues);
    const TensorDesc y{DType::kFloat32, {2, 4}};
    kernel_case.inputs = {{y, nullptr, true}, {{DType::kFloat32, addend}, nullptr, true}};
    kernel_case.outputs = {{y, nullptr, true}};
  }
  std::optional<GpuEpilogue> make() { return make_gpu_epilogue(kernel_case, reason); }
};

TEST(GpuEpilogue, KnowsEveryFunctionThatIsFused) {
  int functions = 0;
  for (const auto& def : Registry::instance().layers()) {
    if (def->epilogue != EpilogueRole::kUnary) continue;
    ++functions;
    SCOPED_TRACE(def->name);
    const Epilogue expected = function(def->name.c_str());
    EpilogueCase c({expected});
    const std::optional<GpuEpilogue> made = c.make();
    ASSERT_TRUE(made) << c.reason;
    for (float x = -6; x <= 6; x += 0.173f) {
      float y = 0;
      expected.unary.apply(&x, &y, 1, expected.unary.parameters);
      EXPECT_NEAR(made->apply(x, 0, 0), y, 4e-6 * std::max(1.0f, std::abs(y))) << "x = " << x;
    }
    EXPECT_TRUE(std::isnan(made->apply(NAN, 0, 0)));
  }
  EXPECT_GT(functions, 20);
}

TEST(GpuEpilogue, AddsBeforeOrBehindTheFunction) {
  const std::vector<float> bias = {10, -10};
  const std::vector<float> addend = {0, 0, 0, -3, 5};
  for (const bool first : {true, false}) {
    EpilogueCase c(first ? std::vector<Epilogue>{addition(1), function("Relu")}
                         : std::vector<Epilogue>{function("Relu"), addition(1)});
    std::optional<GpuEpilogue> made = c.make();
    ASSERT_TRUE(made) << c.reason;
    EXPECT_EQ(made->addend_input, 1);
    made->bias = bias.data();
    made->addend.data = const_cast<float*>(addend.data());
    EXPECT_EQ(made->apply(1, 0, 3), 8) << "1 + 10 - 3";
    EXPECT_EQ(made->apply(1, 1, 3), first ? 0 : -3) << "1 - 10 - 3";
  }
  EpilogueCase nothing({});
  EXPECT_EQ(nothing.make()->apply(-2.5f, 0, 0), -2.5f);
}

TEST(GpuEpilogue, SaysWhatItCannotDo) {
  EpilogueCase twice({function("Relu"), function("Sigmoid")});
  EXPECT_FALSE(twice.make());
  EXPECT_EQ(twice.reason, "two functions behind each other");
  EpilogueCase broadcast({addition(1)}, {1, 4});
  EXPECT_FALSE(broadcast.make());
  EXPECT_EQ(broadcast.reason, "adds something else than a tensor like its output");
  EpilogueCase power({function("Pow")});
  EXPECT_FALSE(power.make());
  EXPECT_EQ(power.reason, "no GPU form of Pow");
}

}  // namespace
}  // namespace camlucida
