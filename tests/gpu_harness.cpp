#include "tests/gpu_harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/kernel_bench.h"

namespace camlucida::test {
namespace {

const std::shared_ptr<Stream>& stream_of(int threads) {
  static const std::shared_ptr<Stream> one = test_gpu(1)->new_stream();
  static const std::shared_ptr<Stream> three = test_gpu(3)->new_stream();
  return threads == 1 ? one : three;
}

/// The case on inputs that the precision can hold where values may be stored in it.
LayerCase rounded(LayerCase c, Precision precision) {
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const TensorDesc& desc = c.input_descs[i];
    if (!c.is_data(i) || desc.shape.rank() < 3) continue;
    Tensor tensor(desc.shape, stored_type(desc, Layout::kChannelsLast, precision, false));
    from_double(tensor.dtype(), c.inputs[i].data(), tensor.raw(), tensor.count());
    c.inputs[i] = tensor.to_doubles();
  }
  return c;
}

/// Half precision ends at 65504.
bool is_finite(const LayerCase& c) {
  return std::all_of(c.inputs.begin(), c.inputs.end(), [](const std::vector<double>& values) {
    return std::all_of(values.begin(), values.end(),
                       [](double value) { return std::isfinite(value); });
  });
}

std::string name_of_run(const KernelDef& kernel, const Situation& situation, const Offer& offer) {
  return kernel.name + " variant " + std::to_string(offer.variant) + " (" + offer.reason + ")" +
         (situation.backward ? " backward, rule " + situation.rule : "") +
         (situation.hint == Layout::kChannelsLast ? ", channels last" : "") + ", " +
         std::string(name_of(situation.precision));
}

void expect_same_bits(const Doubles& first, const Doubles& again, const std::string& what) {
  for (size_t k = 0; k < first.size(); ++k) {
    EXPECT_TRUE(same_bits(first[k], again[k])) << "bits differ " << what;
  }
}

/// `expected` is asked only if there is something to compare.
int check_offers(const KernelDef& kernel, const LayerCase& c, const Situation& situation,
                 Expectations& expectations) {
  int runs = 0;
  const std::shared_ptr<Stream>& stream = stream_of(1);
  const bool emulated = stream->is_emulated();
  const KernelBench bench(c, situation, {}, stream);
  const KernelBench wide(c, situation, {}, stream_of(3));
  for (const Offer& offer : kernel.offer(bench.kernel_case())) {
    if (!offer.possible) continue;
    SCOPED_TRACE(name_of_run(kernel, situation, offer));
    const Expected& expected = expectations.of(situation);
    const auto prepared = kernel.prepare(bench.kernel_case(), offer);
    const auto run = [&](const KernelBench& on, bool in_place) {
      return on.run(*prepared, offer, 1, in_place, expected.outputs, expected.cotangents);
    };
    const Doubles first = run(bench, false);
    expect_close(first, expected.results,
                 gpu_tolerance(situation.precision, expected.tolerance, stream->gpu()));
    ++runs;
    expect_same_bits(first, run(bench, false), "from run to run");
    if (emulated) expect_same_bits(first, run(wide, false), "with 3 threads");
    if (offer.in_place && !situation.backward)
      expect_same_bits(first, run(bench, true), "in place");
    if (emulated) check_rows(kernel, c, situation, offer, expected, first, stream);
    if (::testing::Test::HasFailure()) break;
  }
  return runs;
}

}  // namespace

std::shared_ptr<Gpu> test_gpu(int threads) {
  const char* text = std::getenv("CAMLUCIDA_TEST_GPU");
  const std::string name = text == nullptr ? "emulated" : text;
  if (name == "emulated") return Gpu::emulated(threads);
  if (name.rfind("cuda:", 0) == 0) return Gpu::open(std::atoi(name.c_str() + 5));
  throw Error(ErrorKind::kUsage, "CAMLUCIDA_TEST_GPU is '" + name + "'", "give emulated or cuda:N");
}

double gpu_tolerance(Precision precision, double fp32, const Gpu& gpu) {
  switch (precision) {
    case Precision::kFp32:
      return fp32;
    case Precision::kTf32:
      return gpu.is_emulated() ? fp32 : std::max(fp32, 8 * 0x1p-11);
    case Precision::kFp16:
      return std::max(fp32, 8 * 0x1p-11);
    case Precision::kBf16:
      return std::max(fp32, 8 * 0x1p-8);
  }
  return fp32;
}

int check_gpu_kernels(const Registry& registry, const LayerCase& layer_case, Precision precision) {
  int runs = 0;
  const LayerCase c = rounded(layer_case, precision);
  if (!is_finite(c)) return 0;
  const bool rounds = precision == Precision::kFp16 || precision == Precision::kBf16;
  Expectations expectations(c);
  for (const Situation& situation : situations_of(c, Layout::kChannelsLast, precision)) {
    // Rules that divide by sums of both signs amplify rounding beyond any useful bound.
    if (rounds && situation.rule != "plain") continue;
    for (const auto& kernel : registry.kernels()) {
      if (!serves(*kernel, *c.layer, situation, Device::kCuda)) continue;
      runs += check_offers(*kernel, c, situation, expectations);
      if (::testing::Test::HasFailure()) return runs;
    }
  }
  return runs;
}

int check_gpu_epilogues(const Registry& registry, const LayerCase& layer_case,
                        Precision precision) {
  int runs = 0;
  const std::shared_ptr<Stream>& stream = stream_of(1);
  const double tolerance = gpu_tolerance(precision, layer_case.example.tolerance, stream->gpu());
  const LayerCase c = rounded(layer_case, precision);
  if (!is_finite(c)) return 0;
  for (const FusedCase& fused : fused_cases(registry, c)) {
    SCOPED_TRACE(fused.name);
    for (const Layout hint : {Layout::kPlain, Layout::kChannelsLast}) {
      const Situation situation{.hint = hint, .precision = precision};
      const KernelBench bench(fused.layer_case, situation, fused.chain, stream);
      for (const auto& kernel : registry.kernels()) {
        if (!serves(*kernel, *layer_case.layer, situation, Device::kCuda)) continue;
        for (const Offer& offer : kernel->offer(bench.kernel_case())) {
          if (!offer.possible) continue;
          SCOPED_TRACE(name_of_run(*kernel, situation, offer));
          const auto prepared = kernel->prepare(bench.kernel_case(), offer);
          const Doubles first = bench.run(*prepared, offer, 1, false, {}, {});
          expect_close(first, fused.expected, tolerance);
          expect_same_bits(first, bench.run(*prepared, offer, 1, false, {}, {}), "from run to run");
          ++runs;
          if (::testing::Test::HasFailure()) return runs;
        }
      }
    }
  }
  return runs;
}

int check_gpu_tails(const Registry& registry, const LayerCase& layer_case, Precision precision) {
  int runs = 0;
  const LayerCase c = rounded(layer_case, precision);
  if (!is_finite(c)) return 0;
  Expectations expectations(c);
  const std::shared_ptr<Stream>& stream = stream_of(1);
  for (Situation situation : situations_of(c, Layout::kChannelsLast, precision)) {
    if (!situation.backward || situation.rule != "plain" || !situation.wanted[0]) continue;
    for (const TailCase& tail : tail_cases(registry, c)) {
      SCOPED_TRACE(tail.name);
      situation.tail = tail.tail();
      const KernelBench bench(c, situation, {}, stream);
      for (const auto& kernel : registry.kernels()) {
        if (!serves(*kernel, *c.layer, situation, Device::kCuda)) continue;
        for (const Offer& offer : kernel->offer(bench.kernel_case())) {
          if (!offer.possible || !offer.does_tail) continue;
          SCOPED_TRACE(name_of_run(*kernel, situation, offer));
          const Expected expected = tail.behind(c, expectations.of(situation));
          const auto prepared = kernel->prepare(bench.kernel_case(), offer);
          const auto run = [&] {
            return bench.run(*prepared, offer, 1, false, expected.outputs, expected.cotangents);
          };
          const Doubles first = run();
          expect_close(first, expected.results,
                       gpu_tolerance(precision, expected.tolerance, stream->gpu()));
          expect_same_bits(first, run(), "from run to run");
          ++runs;
          if (::testing::Test::HasFailure()) return runs;
        }
      }
    }
  }
  return runs;
}

}  // namespace camlucida::test
