/// Local response normalisation in plain layout, a tile of pixels of one channel at a time.
#include <algorithm>
#include <cmath>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/norm/norm.h"

namespace camlucida {
namespace {

constexpr int64_t kTile = 256;  ///< pixels; the tile's sums live on the stack

/// Shape and constants of one case: `planes` = batch * channels maps of `pixels`.
struct LrnCase {
  int64_t planes, channels, pixels, size;
  float alpha;  ///< alpha / size
  float beta, bias;

  int64_t before() const { return (size - 1) / 2; }
  int64_t after() const { return size / 2; }
};

/// sum[i] = sum of f(c, i) over the channels c from plane - before to plane + after that exist.
template <class F>
void window_sum(const LrnCase& k, int64_t plane, int64_t before, int64_t after, int64_t count,
                float* sum, const F& f) {
  const int64_t channel = plane % k.channels;
  const int64_t first = plane - std::min(before, channel);
  const int64_t last = plane + std::min(after, k.channels - 1 - channel);
  std::fill_n(sum, count, 0.0f);
  for (int64_t p = first; p <= last; ++p) {
    for (int64_t i = 0; i < count; ++i) sum[i] += f(p, i);
  }
}

/// d[i] = d[i]^-beta
void raise(float* d, int64_t count, float beta) {
  if (beta == 0.75f) {
    for (int64_t i = 0; i < count; ++i) {
      const float root = std::sqrt(d[i]);
      d[i] = 1.0f / (root * std::sqrt(root));
    }
  } else if (beta == 0.5f) {
    for (int64_t i = 0; i < count; ++i) d[i] = 1.0f / std::sqrt(d[i]);
  } else if (beta == 1.0f) {
    for (int64_t i = 0; i < count; ++i) d[i] = 1.0f / d[i];
  } else {
    for (int64_t i = 0; i < count; ++i) d[i] = std::pow(d[i], -beta);
  }
}

/// denominator[i] = bias + alpha / size * sum x^2 of `count` pixels from `start` on in one plane.
void denominators(const LrnCase& k, const float* x, int64_t plane, int64_t start, int64_t count,
                  float* denominator) {
  window_sum(k, plane, k.before(), k.after(), count, denominator, [&](int64_t p, int64_t i) {
    const float value = x[p * k.pixels + start + i];
    return value * value;
  });
  for (int64_t i = 0; i < count; ++i) denominator[i] = k.bias + k.alpha * denominator[i];
}

/// Calls f(plane, first pixel, pixels) for every tile of the planes [begin, end).
template <class F>
void for_each_tile(const LrnCase& k, int64_t begin, int64_t end, const F& f) {
  for (int64_t plane = begin; plane < end; ++plane) {
    for (int64_t start = 0; start < k.pixels; start += kTile) {
      f(plane, start, std::min(kTile, k.pixels - start));
    }
  }
}

class LrnForward final : public PreparedKernel {
 public:
  explicit LrnForward(const LrnCase& lrn) : k_(lrn) {}
  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const float* x = args.input(0);
    float* y = args.output();
    pool.run(k_.planes, [&](int64_t begin, int64_t end, int) {
      for_each_tile(k_, begin, end, [&](int64_t plane, int64_t start, int64_t count) {
        float power[kTile];
        denominators(k_, x, plane, start, count, power);
        raise(power, count, k_.beta);
        const int64_t at = plane * k_.pixels + start;
        for (int64_t i = 0; i < count; ++i) y[at + i] = x[at + i] * power[i];
      });
    });
  }

 private:
  LrnCase k_;
};

/// dx_i = dy_i d_i^-beta - 2 alpha beta / size * x_i * sum of t_c over the channels c whose window
/// holds i, with t_c = dy_c x_c d_c^(-beta - 1) kept in scratch.
class LrnBackward final : public PreparedKernel {
 public:
  explicit LrnBackward(const LrnCase& lrn) : k_(lrn) {}
  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const float* x = args.input(0);
    const float* dy = args.grad_output();
    float* dx = args.grad_input();
    auto* t = reinterpret_cast<float*>(args.scratch);
    pool.run(k_.planes, [&](int64_t begin, int64_t end, int) {
      for_each_tile(k_, begin, end, [&](int64_t plane, int64_t start, int64_t count) {
        float denominator[kTile];
        float power[kTile];
        denominators(k_, x, plane, start, count, denominator);
        std::copy_n(denominator, count, power);
        raise(power, count, k_.beta);
        const int64_t at = plane * k_.pixels + start;
        for (int64_t i = 0; i < count; ++i) {
          dx[at + i] = dy[at + i] * power[i];
          t[at + i] = dx[at + i] * x[at + i] / denominator[i];
        }
      });
    });
    const float factor = 2.0f * k_.alpha * k_.beta;
    pool.run(k_.planes, [&](int64_t begin, int64_t end, int) {
      for_each_tile(k_, begin, end, [&](int64_t plane, int64_t start, int64_t count) {
        float sum[kTile];
        window_sum(k_, plane, k_.after(), k_.before(), count, sum,
                   [&](int64_t p, int64_t i) { return t[p * k_.pixels + start + i]; });
        const int64_t at = plane * k_.pixels + start;
        for (int64_t i = 0; i < count; ++i) dx[at + i] -= factor * x[at + i] * sum[i];
      });
    });
  }

 private:
  LrnCase k_;
};

std::vector<Offer> offers(const KernelCase& c) {
  if (!c.all_float32()) return {Offer::no("not float32")};
  if (!c.node.epilogues.empty()) return {Offer::no("applies no epilogues")};
  const int64_t size = c.node.attributes.as<LrnAttributes>().size;
  Offer offer{.possible = true};
  offer.cost_ns =
      cost::kStepNs + cost::bytes((size + 4) * (c.backward ? 2 : 1) * c.inputs[0].desc.bytes());
  if (c.backward) offer.scratch_bytes = static_cast<size_t>(c.inputs[0].desc.bytes());
  return {offer};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& c, const Offer&) {
  const auto& a = c.node.attributes.as<LrnAttributes>();
  const Shape& x = c.in(0);
  const LrnCase lrn{.planes = x[0] * x[1],
                    .channels = x[1],
                    .pixels = x.count(2, x.rank()),
                    .size = a.size,
                    .alpha = static_cast<float>(a.alpha / static_cast<double>(a.size)),
                    .beta = static_cast<float>(a.beta),
                    .bias = static_cast<float>(a.bias)};
  if (c.backward) return std::make_unique<LrnBackward>(lrn);
  return std::make_unique<LrnForward>(lrn);
}

}  // namespace

void register_lrn_cpu(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{
        .name = backward ? "lrn_gradient" : "lrn",
        .layers = {"LRN"},
        .backward = backward,
        .offer = offers,
        .prepare = prepare,
    });
  }
}

}  // namespace camlucida
