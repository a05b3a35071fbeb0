#include <gtest/gtest.h>
#include <hwy/highway.h>

#include "tests/kernel_bench.h"
#include "tests/layer_harness.h"

namespace camlucida::test {
namespace {

/// Restricts run-time dispatch to one SIMD target while alive.
class UseTarget {
 public:
  explicit UseTarget(int64_t target) { set(target); }
  ~UseTarget() { set(0); }
  UseTarget(const UseTarget&) = delete;
  UseTarget& operator=(const UseTarget&) = delete;

 private:
  static void set(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

int check_offers(const KernelDef& kernel, const LayerCase& c, const Situation& situation,
                 Expectations& expectations) {
  int runs = 0;
  const KernelBench bench(c, situation);
  for (const Offer& offer : kernel.offer(bench.kernel_case())) {
    if (!offer.possible) continue;
    SCOPED_TRACE(kernel.name + " variant " + std::to_string(offer.variant) + " (" + offer.reason +
                 ")" + (situation.backward ? " backward, rule " + situation.rule : "") +
                 (layout_at(offer.inputs, 0) == Layout::kBlocked ? ", blocked" : ""));
    const Expected& expected = expectations.of(situation);
    const auto prepared = kernel.prepare(bench.kernel_case(), offer);
    const Doubles first =
        bench.run(*prepared, offer, 1, false, expected.outputs, expected.cotangents);
    expect_close(first, expected.results, expected.tolerance);
    ++runs;
    for (const int threads : {2, 3}) {
      const Doubles again =
          bench.run(*prepared, offer, threads, false, expected.outputs, expected.cotangents);
      for (size_t k = 0; k < first.size(); ++k) {
        EXPECT_TRUE(same_bits(first[k], again[k])) << "bits differ with " << threads << " threads";
      }
    }
    if (offer.in_place && !situation.backward) {
      const Doubles again = bench.run(*prepared, offer, 2, true, {}, {});
      for (size_t k = 0; k < first.size(); ++k) {
        EXPECT_TRUE(same_bits(first[k], again[k])) << "bits differ in place";
      }
    }
    check_rows(kernel, c, situation, offer, expected, first);
    if (::testing::Test::HasFailure()) break;
  }
  return runs;
}

}  // namespace

int check_kernels(const Registry& registry, const LayerCase& c) {
  int runs = 0;
  Expectations expectations(c);
  for (const Situation& situation : situations_of(c, Layout::kBlocked)) {
    for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
      const UseTarget use(target);
      SCOPED_TRACE(hwy::TargetName(target));
      for (const auto& kernel : registry.kernels()) {
        if (!serves(*kernel, *c.layer, situation, Device::kCpu)) continue;
        runs += check_offers(*kernel, c, situation, expectations);
        if (::testing::Test::HasFailure()) return runs;
      }
    }
  }
  return runs;
}

int check_epilogues(const Registry& registry, const LayerCase& c) {
  int runs = 0;
  for (const FusedCase& fused : fused_cases(registry, c)) {
    for (const Layout hint : {Layout::kPlain, Layout::kBlocked}) {
      for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
        const UseTarget use(target);
        SCOPED_TRACE(fused.name + " on " + hwy::TargetName(target));
        const KernelBench bench(fused.layer_case, Situation{.hint = hint}, fused.chain);
        for (const auto& kernel : registry.kernels()) {
          if (!serves(*kernel, *c.layer, Situation{}, Device::kCpu)) continue;
          for (const Offer& offer : kernel->offer(bench.kernel_case())) {
            if (!offer.possible) continue;
            SCOPED_TRACE(kernel->name + " variant " + std::to_string(offer.variant) + " (" +
                         offer.reason + ")");
            const auto prepared = kernel->prepare(bench.kernel_case(), offer);
            const Doubles first = bench.run(*prepared, offer, 1, false, {}, {});
            expect_close(first, fused.expected, c.example.tolerance);
            const Doubles again = bench.run(*prepared, offer, 3, false, {}, {});
            EXPECT_TRUE(same_bits(first[0], again[0])) << "bits differ with 3 threads";
            ++runs;
            if (::testing::Test::HasFailure()) return runs;
          }
        }
      }
    }
  }
  return runs;
}

int check_tails(const Registry& registry, const LayerCase& c) {
  int runs = 0;
  Expectations expectations(c);
  for (Situation situation : situations_of(c, Layout::kBlocked)) {
    if (!situation.backward || situation.rule != "plain" || !situation.wanted[0]) continue;
    for (const TailCase& tail : tail_cases(registry, c)) {
      situation.tail = tail.tail();
      for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
        const UseTarget use(target);
        SCOPED_TRACE(tail.name + " on " + hwy::TargetName(target));
        const KernelBench bench(c, situation);
        for (const auto& kernel : registry.kernels()) {
          if (!serves(*kernel, *c.layer, situation, Device::kCpu)) continue;
          for (const Offer& offer : kernel->offer(bench.kernel_case())) {
            if (!offer.possible || !offer.does_tail) continue;
            SCOPED_TRACE(kernel->name + " variant " + std::to_string(offer.variant) + " (" +
                         offer.reason + ")");
            const Expected expected = tail.behind(c, expectations.of(situation));
            const auto prepared = kernel->prepare(bench.kernel_case(), offer);
            const auto run = [&](int threads) {
              return bench.run(*prepared, offer, threads, false, expected.outputs,
                               expected.cotangents);
            };
            const Doubles first = run(1);
            expect_close(first, expected.results, expected.tolerance);
            EXPECT_TRUE(same_bits(first[0], run(3)[0])) << "bits differ with 3 threads";
            ++runs;
            if (::testing::Test::HasFailure()) return runs;
          }
        }
      }
    }
  }
  return runs;
}

}  // namespace camlucida::test
