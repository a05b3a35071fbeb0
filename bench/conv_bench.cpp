/// Speed of every convolution of ResNet-50 (224 x 224), and of the 3x3 ones of VGG-16 and
/// SqueezeNet 1.1, by each kernel that takes it, in GFLOP/s of the direct algorithm: Winograd's can
/// exceed `PeakFma`, which is what the core can do at most. Machines differ, so compare with it.
///
///     conv_bench --benchmark_filter='3x3'        CAMLUCIDA_BENCH_THREADS=2 conv_bench
///     CAMLUCIDA_BENCH_BATCH=8 conv_bench
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <span>

#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/conv/conv.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/conv_bench.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {

/// `steps` rounds of 12 independent multiply-adds; returns floating-point operations.
double MultiplyAdds(int64_t steps, float* sink) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const V scale = hn::Set(d, 0.999f);
  const V shift = hn::Set(d, sink[0]);
  // Different starts, so that no two chains are one to the compiler.
  const auto start = [&](float value) HWY_ATTR { return hn::Set(d, value); };
  V a0 = start(0), a1 = start(1), a2 = start(2), a3 = start(3), a4 = start(4), a5 = start(5);
  V b0 = start(6), b1 = start(7), b2 = start(8), b3 = start(9), b4 = start(10), b5 = start(11);
  for (int64_t i = 0; i < steps; ++i) {
    a0 = hn::MulAdd(a0, scale, shift), a1 = hn::MulAdd(a1, scale, shift);
    a2 = hn::MulAdd(a2, scale, shift), a3 = hn::MulAdd(a3, scale, shift);
    a4 = hn::MulAdd(a4, scale, shift), a5 = hn::MulAdd(a5, scale, shift);
    b0 = hn::MulAdd(b0, scale, shift), b1 = hn::MulAdd(b1, scale, shift);
    b2 = hn::MulAdd(b2, scale, shift), b3 = hn::MulAdd(b3, scale, shift);
    b4 = hn::MulAdd(b4, scale, shift), b5 = hn::MulAdd(b5, scale, shift);
  }
  const V a = hn::Add(hn::Add(hn::Add(a0, a1), hn::Add(a2, a3)), hn::Add(a4, a5));
  const V b = hn::Add(hn::Add(hn::Add(b0, b1), hn::Add(b2, b3)), hn::Add(b4, b5));
  sink[1] = hn::GetLane(hn::Add(a, b));
  return static_cast<double>(steps) * 12 * 2 * static_cast<double>(hn::Lanes(d));
}

}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {
namespace {

HWY_EXPORT(MultiplyAdds);

using Rate = benchmark::Counter;

void peak(benchmark::State& state) {
  float sink[2] = {0.001f, 0};
  double operations = 0;
  for (auto _ : state) {
    operations += HWY_DYNAMIC_DISPATCH(MultiplyAdds)(100000, sink);
    benchmark::DoNotOptimize(sink);
  }
  state.counters["GFLOP/s"] = Rate(operations * 1e-9, Rate::kIsRate);
}
BENCHMARK(peak)->Name("PeakFma");

struct Layer {
  int64_t in, out, extent, kernel, stride;
  int count;  // how often it occurs in the network
};

constexpr Layer kResNet50[] = {
    {3, 64, 224, 7, 2, 1},    {64, 64, 56, 1, 1, 1},     {64, 64, 56, 3, 1, 3},
    {64, 256, 56, 1, 1, 4},   {256, 64, 56, 1, 1, 2},    {256, 128, 56, 1, 1, 1},
    {128, 128, 56, 3, 2, 1},  {256, 512, 56, 1, 2, 1},   {128, 512, 28, 1, 1, 4},
    {512, 128, 28, 1, 1, 3},  {128, 128, 28, 3, 1, 3},   {512, 256, 28, 1, 1, 1},
    {256, 256, 28, 3, 2, 1},  {512, 1024, 28, 1, 2, 1},  {256, 1024, 14, 1, 1, 6},
    {1024, 256, 14, 1, 1, 5}, {256, 256, 14, 3, 1, 5},   {1024, 512, 14, 1, 1, 1},
    {512, 512, 14, 3, 2, 1},  {1024, 2048, 14, 1, 2, 1}, {512, 2048, 7, 1, 1, 3},
    {2048, 512, 7, 1, 1, 2},  {512, 512, 7, 3, 1, 2},
};
constexpr Layer kVgg16[] = {
    {64, 64, 224, 3, 1, 1},  {64, 128, 112, 3, 1, 1}, {128, 128, 112, 3, 1, 1},
    {128, 256, 56, 3, 1, 1}, {256, 256, 56, 3, 1, 2}, {256, 512, 28, 3, 1, 1},
    {512, 512, 28, 3, 1, 2}, {512, 512, 14, 3, 1, 3},
};
constexpr Layer kSqueezeNet[] = {
    {16, 64, 55, 3, 1, 2},
    {32, 128, 27, 3, 1, 2},
    {48, 192, 13, 3, 1, 2},
    {64, 256, 13, 3, 1, 2},
};

/// The value of a setting, 1 if it is not set.
int setting(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 1 : std::atoi(text);
}

/// With one thread rates are per second of processor time, which other work on the machine does not
/// disturb as much.
int threads() { return setting("CAMLUCIDA_BENCH_THREADS"); }
int64_t batch() { return setting("CAMLUCIDA_BENCH_BATCH"); }

/// One convolution and the buffers of its runs; a port takes its larger, blocked size.
class Run {
 public:
  Run(const Layer& layer, bool backward)
      : layer_(layer),
        weight_({layer.out, layer.in, layer.kernel, layer.kernel}),
        bias_({layer.out}) {
    const int64_t pad = layer.kernel / 2;
    node_.layer = &Registry::instance().require("Conv");
    node_.attributes =
        ConvAttributes{{.strides = {layer.stride, layer.stride}, .pads = {pad, pad, pad, pad}}};
    node_.inputs = {0, 1, 2};
    node_.outputs = {3};
    const int64_t out = (layer.extent - 1) / layer.stride + 1;
    case_.backward = backward;
    case_.inputs = {
        {{DType::kFloat32, {batch(), layer.in, layer.extent, layer.extent}}, nullptr, true},
        {weight_.desc(), &weight_, true},
        {bias_.desc(), &bias_, true}};
    case_.outputs = {{{DType::kFloat32, {batch(), layer.out, out, out}}, nullptr, true}};
    if (backward) case_.wanted = {true, false, false};
  }

  std::vector<Offer> offers(const KernelDef& kernel) const { return kernel.offer(case_); }
  void prepare(const KernelDef& kernel, const Offer& offer) {
    const auto stored = [](const Shape& shape) {
      return Tensor(Shape{stored_count(shape, Layout::kBlocked)});
    };
    in_ = stored(case_.backward ? case_.out() : case_.in(0));
    out_ = stored(case_.backward ? case_.in(0) : case_.out());
    for (Tensor* tensor : {&weight_, &bias_, &in_}) fill(*tensor);
    prepared_ = kernel.prepare(case_, offer);
    scratch_ = Tensor(Shape{static_cast<int64_t>(offer.scratch_bytes / sizeof(float)) + 1});
  }

  double operations() const {
    const int64_t out = (layer_.extent - 1) / layer_.stride + 1;
    return 2.0 * static_cast<double>(batch() * out * out * layer_.in * layer_.out * layer_.kernel *
                                     layer_.kernel);
  }
  void operator()(ThreadPool& pool) const {
    const void* read[3] = {in_.raw(), nullptr, nullptr};
    void* write[3] = {const_cast<void*>(out_.raw()), nullptr, nullptr};
    KernelArgs args;
    (case_.backward ? args.grad_outputs : args.inputs) = read;
    (case_.backward ? args.grad_inputs : args.outputs) = write;
    args.scratch = static_cast<std::byte*>(const_cast<void*>(scratch_.raw()));
    prepared_->run(args, pool);
  }

 private:
  static void fill(Tensor& tensor) {
    float value = 0.37f;
    for (float& x : tensor.as<float>()) x = value = 3.9f * value * (1 - value);
  }

  Layer layer_;
  Node node_;
  KernelCase case_{node_};
  Tensor weight_, bias_, in_, out_, scratch_;
  std::unique_ptr<PreparedKernel> prepared_;
};

void convolution(benchmark::State& state, Layer layer, bool backward, const KernelDef* kernel,
                 const Offer& offer) {
  ThreadPool pool(threads());
  Run run(layer, backward);
  run.prepare(*kernel, offer);
  for (auto _ : state) run(pool);
  state.counters["GFLOP/s"] =
      Rate(run.operations() * 1e-9 * static_cast<double>(state.iterations()), Rate::kIsRate);
  state.counters["times"] = layer.count;
  state.counters["cost_us"] = offer.cost_ns * 1e-3;
}

void add(const Layer& layer, bool backward, const KernelDef& kernel) {
  const auto& layers = kernel.layers;
  if (kernel.device != Device::kCpu || kernel.backward != backward ||
      std::find(layers.begin(), layers.end(), "Conv") == layers.end()) {
    return;
  }
  for (const Offer& offer : Run(layer, backward).offers(kernel)) {
    if (!offer.possible) continue;
    const std::string variant = offer.reason.empty() ? "" : fmt::format("[{}]", offer.reason);
    const std::string name =
        fmt::format("{}{}/{}x{}s{}_{}_{}to{}", kernel.name, variant, layer.kernel, layer.kernel,
                    layer.stride, layer.extent, layer.in, layer.out);
    auto* entry =
        benchmark::RegisterBenchmark(name.c_str(), convolution, layer, backward, &kernel, offer);
    entry->Unit(benchmark::kMillisecond);
    if (threads() > 1) entry->UseRealTime();
  }
}

const bool kRegistered = [] {
  for (const bool backward : {false, true}) {
    for (const auto network :
         std::initializer_list<std::span<const Layer>>{kResNet50, kVgg16, kSqueezeNet}) {
      for (const Layer& layer : network) {
        for (const auto& kernel : Registry::instance().kernels()) add(layer, backward, *kernel);
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace camlucida
#endif  // HWY_ONCE
