/// What conv_dnn hands to cuDNN and does around it, with a plain loop in cuDNN's place: problems,
/// packed weights, widened pictures, scratch memory, and what is left of epilogues.
#include "layers/conv/conv_dnn.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "engine/cuda/gpu.h"
#include "engine/cuda/portable.h"
#include "engine/registry.h"
#include "tests/gpu_harness.h"
#include "tests/kernel_bench.h"

namespace camlucida {
namespace {

/// How much of an epilogue the loop does.
enum class Part { kAll, kSums, kNothing };

constexpr size_t kScratch = 1000;

/// A convolution on the memory of an emulated GPU, straight from the words of dnn.h.
class LoopConv final : public DnnConv {
 public:
  LoopConv(DnnConvProblem problem, Part part) : problem_(std::move(problem)) {
    if (part == Part::kAll) done_ = problem_.epilogue;
    if (part == Part::kSums) {
      done_.bias = problem_.epilogue.bias;
      done_.addend = problem_.epilogue.addend && problem_.epilogue.addend_first;
    }
  }

  void run(Stream&, const DnnConvArgs& args) const noexcept override {
    EXPECT_EQ(args.bias != nullptr, done_.bias);
    EXPECT_EQ(args.addend != nullptr, done_.addend);
    EXPECT_EQ(args.source != nullptr, done_.mask);
    std::memset(args.scratch, 1, kScratch);
    const auto& p = problem_;
    const int64_t outputs = p.batch * p.out_channels * volume(p.output);
    const int64_t inputs = p.batch * p.in_channels * volume(p.input);
    std::vector<double> sums(static_cast<size_t>(p.backward ? inputs : outputs));
    for_each_product([&](int64_t x, int64_t w, int64_t y) {
      const auto to = static_cast<size_t>(p.backward ? x : y);
      sums[to] += static_cast<double>(load_float(p.type, args.in, p.backward ? y : x)) *
                  static_cast<double>(load_float(p.type, args.weight, w));
    });
    const int64_t channels = p.backward ? p.in_channels : p.out_channels;
    for (int64_t i = 0; i < static_cast<int64_t>(sums.size()); ++i) {
      const double value = finished(sums[static_cast<size_t>(i)], i, i % channels, args);
      store_float(p.type, args.out, i, static_cast<float>(value));
    }
  }
  size_t scratch_bytes() const override { return kScratch; }
  const DnnEpilogue& epilogue() const override { return done_; }
  std::string description() const override { return "a loop"; }

 private:
  static int64_t volume(const DnnConvProblem::Extents& e) { return e[0] * e[1] * e[2]; }

  /// Calls f(x, w, y) with the places of the factors and the sum of every product.
  template <class F>
  void for_each_product(F&& f) const {
    const auto& p = problem_;
    const int64_t group_in = p.in_channels / p.groups;
    const int64_t group_out = p.out_channels / p.groups;
    const int64_t taps = volume(p.kernel);
    for (int64_t n = 0; n < p.batch; ++n) {
      for (int64_t o = 0; o < volume(p.output); ++o) {
        for (int64_t k = 0; k < taps; ++k) {
          const int64_t pixel = input_pixel(o, k);
          if (pixel < 0) continue;
          for (int64_t m = 0; m < p.out_channels; ++m) {
            for (int64_t c = 0; c < group_in; ++c) {
              f((n * volume(p.input) + pixel) * p.in_channels + m / group_out * group_in + c,
                (m * taps + k) * group_in + c, (n * volume(p.output) + o) * p.out_channels + m);
            }
          }
        }
      }
    }
  }

  /// What tap `k` of output `o` reads, -1: padding.
  int64_t input_pixel(int64_t o, int64_t k) const {
    const auto& p = problem_;
    int64_t pixel = 0;
    int64_t scale = 1;
    for (size_t axis = 3; axis-- > 0;) {
      const int64_t at = o % p.output[axis] * p.stride[axis] - p.pad_begin[axis] +
                         k % p.kernel[axis] * p.dilation[axis];
      if (at < 0 || at >= p.input[axis]) return -1;
      pixel += at * scale;
      scale *= p.input[axis];
      o /= p.output[axis];
      k /= p.kernel[axis];
    }
    return pixel;
  }

  double finished(double sum, int64_t i, int64_t channel, const DnnConvArgs& args) const {
    const double addend = done_.addend ? load_float(problem_.type, args.addend, i) : 0.0;
    if (done_.bias) sum += load_float(done_.bias_type(problem_.type), args.bias, channel);
    if (done_.addend_first) sum += addend;
    if (done_.mask && !(load_float(done_.mask_type, args.source, i) > 0)) sum = 0;
    switch (done_.activation) {
      case DnnActivation::kIdentity:
        break;
      case DnnActivation::kRelu:
        sum = std::max(sum, 0.0);
        if (done_.has_limit()) sum = std::min(sum, static_cast<double>(done_.parameter));
        break;
      case DnnActivation::kSigmoid:
        sum = 1 / (1 + std::exp(-sum));
        break;
      case DnnActivation::kTanh:
        sum = std::tanh(sum);
        break;
      case DnnActivation::kSwish:
        sum /= 1 + std::exp(-static_cast<double>(done_.parameter) * sum);
        break;
      case DnnActivation::kGelu:
        sum *= std::erfc(-sum * M_SQRT1_2) / 2;
        break;
    }
    return done_.addend_first ? sum : sum + addend;
  }

  DnnConvProblem problem_;
  DnnEpilogue done_;
};

/// The layers of this build with kernels on a loop as the only ones for GPUs.
class LoopKernels {
 public:
  explicit LoopKernels(Part part) {
    register_all(registry_);
    for (KernelDef& kernel :
         conv_dnn_kernels([this, part](Gpu&, const DnnConvProblem&problem, std::string&) {
           seen_.push_back(problem);
           return std::make_shared<LoopConv>(problem, part);
         })) {
      registry_.add(std::move(kernel));
    }
  }
  LoopKernels(const LoopKernels&) = delete;
  LoopKernels& operator=(const LoopKernels&) = delete;

  const Registry& registry() const { return registry_; }
  const KernelDef* forward() const {
    for (const auto& kernel : registry_.kernels()) {
      if (kernel->name == "conv_dnn") return kernel.get();
    }
    return nullptr;
  }
  const std::vector<DnnConvProblem>& seen() const { return seen_; }

 private:
  Registry registry_;
  std::vector<DnnConvProblem> seen_;
};

class ConvDnn : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    if (!test::test_gpu()->is_emulated()) {
      GTEST_SKIP() << "the loop runs on an emulated GPU only";
    }
  }

  /// Runs all examples of both layers; returns how many runs were compared.
  int check(const LoopKernels& kernels) const {
    int runs = 0;
    for (const char* name : {"Conv", "ConvTranspose"}) {
      for (const Example& example : kernels.registry().require(name).examples) {
        SCOPED_TRACE(std::string(name) + " " + example.name);
        const test::LayerCase c(kernels.registry().require(name), example);
        runs += test::check_gpu_kernels(kernels.registry(), c, GetParam());
        if (!HasFailure()) {
          runs += test::check_gpu_epilogues(kernels.registry(), c, GetParam());
        }
        if (!HasFailure()) runs += test::check_gpu_tails(kernels.registry(), c, GetParam());
        if (HasFailure()) return runs;
      }
    }
    return runs;
  }
};

TEST_P(ConvDnn, MatchesTheReference) {
  const LoopKernels kernels(Part::kAll);
  EXPECT_GT(check(kernels), 100);
  std::set<DnnActivation> activations;
  bool has_addend_behind = false, is_transposed = false, is_grouped = false;
  bool has_mask = false, has_addend_back = false;
  for (const DnnConvProblem& p : kernels.seen()) {
    activations.insert(p.epilogue.activation);
    has_addend_behind |= p.epilogue.addend && !p.epilogue.addend_first;
    is_transposed |= p.backward && p.type != DType::kFloat32;
    is_grouped |= p.groups > 1;
    has_mask |= p.epilogue.mask;
    has_addend_back |= p.backward && p.epilogue.addend;
    EXPECT_TRUE(!p.epilogue.mask || p.backward) << p.key();
    EXPECT_EQ(p.tf32, p.type == DType::kFloat32 && GetParam() != Precision::kFp32);
    EXPECT_EQ(p.epilogue.bias, !p.backward && !p.epilogue.empty()) << p.key();
  }
  const bool halves = GetParam() == Precision::kFp16 || GetParam() == Precision::kBf16;
  EXPECT_EQ(is_transposed, halves);
  EXPECT_TRUE(is_grouped);
  EXPECT_TRUE(has_addend_behind);
  EXPECT_TRUE(has_mask);
  EXPECT_TRUE(has_addend_back);
  EXPECT_GE(activations.size(), 2u);
}

TEST_P(ConvDnn, FinishesWhatIsLeftOfAnEpilogue) {
  for (const Part part : {Part::kSums, Part::kNothing}) {
    const LoopKernels kernels(part);
    EXPECT_GT(check(kernels), 100);
  }
}

/// A function of the activation table as an epilogue, with the parameters of an example.
class Function {
 public:
  Function(const LayerDef& layer, const Example& example) : source_(layer, example) {
    std::vector<const TensorDesc*> inputs = {nullptr};
    std::vector<const Tensor*> constants = {nullptr};
    for (size_t i = 1; i < source_.inputs.size(); ++i) {
      const bool given = source_.constants[i].defined();
      inputs.push_back(given ? &source_.input_descs[i] : nullptr);
      constants.push_back(given ? &source_.constants[i] : nullptr);
    }
    const auto function = layer.unary(InferContext{example.attributes, inputs, constants, 1});
    if (function) epilogue_ = Epilogue{&layer, example.attributes, kNone, *function, {}};
  }

  const std::optional<Epilogue>& epilogue() const { return epilogue_; }
  test::Doubles applied(test::Doubles values, const TensorDesc& desc) {
    test::Doubles result = values;
    RefContext context{source_.example.attributes, {}, {}, {}, {}};
    context.inputs.push_back(RefTensor{desc.dtype, desc.shape, values[0].data()});
    for (size_t i = 1; i < source_.inputs.size(); ++i) {
      const TensorDesc& of = source_.input_descs[i];
      double* data = source_.inputs[i].empty() ? nullptr : source_.inputs[i].data();
      context.inputs.push_back(RefTensor{of.dtype, of.shape, data, true});
    }
    context.outputs.push_back(RefTensor{desc.dtype, desc.shape, result[0].data()});
    source_.layer->forward(context);
    return result;
  }

 private:
  test::LayerCase source_;
  std::optional<Epilogue> epilogue_;
};

TEST_P(ConvDnn, AppliesEveryFunction) {
  const auto stream = Gpu::emulated()->new_stream();
  const test::Situation situation{.hint = Layout::kChannelsLast, .precision = GetParam()};
  const bool rounds = GetParam() == Precision::kFp16 || GetParam() == Precision::kBf16;
  std::set<DnnActivation> handed_over;
  bool has_limit = false;
  int functions = 0;
  for (const Part part : {Part::kAll, Part::kSums, Part::kNothing}) {
    const LoopKernels kernels(part);
    const KernelDef* forward = kernels.forward();
    ASSERT_NE(forward, nullptr);
    const LayerDef& conv = kernels.registry().require("Conv");
    const auto wanted = [](const Example& e) { return e.name == "1x1"; };  // odd channels
    const Example& example = *std::find_if(conv.examples.begin(), conv.examples.end(), wanted);
    test::LayerCase c(conv, example);
    for (double& x : c.inputs[0]) x = std::round(x * 16) / 16;  // exact in every precision
    const test::Doubles plain = test::reference_forward(c, c.inputs);
    for (const auto& layer : kernels.registry().layers()) {
      if (layer->epilogue != EpilogueRole::kUnary || !layer->unary) continue;
      for (size_t k = 0; k < std::min<size_t>(layer->examples.size(), 2); ++k) {
        Function function(*layer, layer->examples[k]);
        if (!function.epilogue()) continue;
        SCOPED_TRACE(layer->name + " " + layer->examples[k].name);
        const test::KernelBench bench(c, situation, {*function.epilogue()}, stream);
        const Offer offer = forward->offer(bench.kernel_case())[0];
        if (!offer.possible) {
          EXPECT_THAT(offer.reason, ::testing::HasSubstr("cuBLAS"));
          continue;
        }
        const DnnEpilogue& given = kernels.seen().back().epilogue;
        handed_over.insert(given.activation);
        has_limit |= given.has_limit();
        // Behind rounded numbers a function with steps is somewhere else altogether.
        if (rounds && given.activation == DnnActivation::kIdentity) continue;
        ++functions;
        const auto prepared = forward->prepare(bench.kernel_case(), offer);
        const double tolerance = test::gpu_tolerance(GetParam(), example.tolerance, stream->gpu());
        test::expect_close(bench.run(*prepared, offer, 1, false, {}, {}),
                           function.applied(plain, c.output_descs[0]), tolerance);
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_GT(functions, 3 * (rounds ? 6 : 15));
  EXPECT_EQ(handed_over.size(), 6u) << "some functions were not handed to cuDNN";
  EXPECT_TRUE(has_limit);
}

INSTANTIATE_TEST_SUITE_P(All, ConvDnn,
                         ::testing::Values(Precision::kFp32, Precision::kTf32, Precision::kFp16,
                                           Precision::kBf16),
                         [](const auto& precision) {
                           return std::string(name_of(precision.param));
                         });

}  // namespace
}  // namespace camlucida
