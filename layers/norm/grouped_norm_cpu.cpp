/// Instance, layer and group normalisation in plain layout: two passes for the statistics, one to
/// write. Sums run in double over a fixed number of lanes, so that they are exact enough for any
/// size, fast, and the same for any thread count.
#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/norm/norm.h"

namespace camlucida {
namespace {

constexpr int64_t kLanes = 8;

/// Sum of f(0) .. f(count - 1).
template <class F>
double lane_sum(int64_t count, const F& f) {
  double lanes[kLanes] = {};
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += f(i + lane);
  }
  for (int64_t i = whole; i < count; ++i) lanes[i - whole] += f(i);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

GroupStatistics fast_statistics(const float* x, int64_t size, double epsilon) {
  const auto count = static_cast<double>(size);
  const double mean = lane_sum(size, [x](int64_t i) { return double{x[i]}; }) / count;
  const double squares = lane_sum(size, [x, mean](int64_t i) {
    const double d = double{x[i]} - mean;
    return d * d;
  });
  return {mean, 1.0 / std::sqrt(squares / count + epsilon)};
}

/// Calls f(first, count, p, step) for consecutive parts of group `g`: element first + j has
/// parameter p + j * step, step being 0 or 1.
template <class F>
void for_each_part(const GroupedNorm& norm, int64_t g, const F& f) {
  const int64_t end = (g + 1) * norm.size;
  for (int64_t first = g * norm.size; first < end;) {
    const int64_t p = norm.parameter(first);
    const int64_t count = norm.run > 1 ? norm.run : std::min(norm.parameters - p, end - first);
    f(first, count, p, norm.run > 1 ? 0 : 1);
    first += count;
  }
}

class GroupedNormForward final : public PreparedKernel {
 public:
  GroupedNormForward(const GroupedNorm& norm, std::vector<float> scale, std::vector<float> bias)
      : norm_(norm), scale_(std::move(scale)), bias_(std::move(bias)) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const float* x = args.input(0);
    float* y = args.output();
    pool.run(norm_.groups, [&](int64_t begin, int64_t end, int) {
      for (int64_t g = begin; g < end; ++g) {
        const auto s = fast_statistics(x + g * norm_.size, norm_.size, norm_.epsilon);
        const auto mean = static_cast<float>(s.mean);
        const auto inverse = static_cast<float>(s.inverse_deviation);
        for_each_part(norm_, g, [&](int64_t first, int64_t count, int64_t p, int64_t step) {
          const float* from = x + first;
          float* to = y + first;
          const float* scale = scale_.data() + p;
          const float* bias = bias_.data() + p;
          if (step == 1) {
            for (int64_t i = 0; i < count; ++i) {
              to[i] = (from[i] - mean) * inverse * scale[i] + bias[i];
            }
          } else {
            const float factor = inverse * scale[0];
            const float shift = bias[0];
            for (int64_t i = 0; i < count; ++i) to[i] = (from[i] - mean) * factor + shift;
          }
        });
      }
    });
  }
  size_t packed_bytes() const override { return 2 * sizeof(float) * scale_.size(); }

 private:
  GroupedNorm norm_;
  std::vector<float> scale_;
  std::vector<float> bias_;
};

/// dx = (g - mean(g) - z mean(g z)) / deviation with z = (x - mean) / deviation, g = dy * scale.
class GroupedNormBackward final : public PreparedKernel {
 public:
  GroupedNormBackward(const GroupedNorm& norm, std::vector<float> scale)
      : norm_(norm), scale_(std::move(scale)) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const float* x = args.input(0);
    const float* dy = args.grad_output();
    float* dx = args.grad_input();
    const auto size = static_cast<double>(norm_.size);
    pool.run(norm_.groups, [&](int64_t begin, int64_t end, int) {
      for (int64_t g = begin; g < end; ++g) {
        const auto s = fast_statistics(x + g * norm_.size, norm_.size, norm_.epsilon);
        double sum = 0;
        double sum_z = 0;
        for_each_part(norm_, g, [&](int64_t first, int64_t count, int64_t p, int64_t step) {
          const float* scale = scale_.data() + p;
          sum += lane_sum(
              count, [&](int64_t i) { return double{dy[first + i]} * double{scale[i * step]}; });
          sum_z += lane_sum(count, [&](int64_t i) {
            return double{dy[first + i]} * double{scale[i * step]} *
                   (double{x[first + i]} - s.mean);
          });
        });
        const auto mean = static_cast<float>(s.mean);
        const auto inverse = static_cast<float>(s.inverse_deviation);
        const auto mean_g = static_cast<float>(sum / size);
        const auto slope =
            static_cast<float>(sum_z * s.inverse_deviation * s.inverse_deviation / size);
        for_each_part(norm_, g, [&](int64_t first, int64_t count, int64_t p, int64_t step) {
          const float* scale = scale_.data() + p;
          for (int64_t i = 0; i < count; ++i) {
            const float d = x[first + i] - mean;
            dx[first + i] = inverse * (dy[first + i] * scale[i * step] - mean_g - d * slope);
          }
        });
      }
    });
  }
  size_t packed_bytes() const override { return sizeof(float) * scale_.size(); }

 private:
  GroupedNorm norm_;
  std::vector<float> scale_;
};

GroupedNorm norm_of(const KernelCase& c) {
  return grouped_norm_of(*c.node.layer, c.node.attributes, c.in(0), c.in(1));
}

std::vector<Offer> offers(const KernelCase& c) {
  if (!c.all_float32()) return {Offer::no("not float32")};
  if (!c.node.epilogues.empty()) return {Offer::no("applies no epilogues")};
  if (c.constant(1) == nullptr || (c.has(2) && c.constant(2) == nullptr)) {
    return {Offer::no("parameters are not constant")};
  }
  Offer offer{.possible = true};
  offer.cost_ns = cost::kStepNs + cost::bytes((c.backward ? 7 : 4) * c.inputs[0].desc.bytes());
  offer.in_place = !c.backward;
  return {offer};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& c, const Offer&) {
  const GroupedNorm norm = norm_of(c);
  const auto floats = [&c](size_t i) {
    const Tensor tensor = c.constant(i)->cast(DType::kFloat32);
    return std::vector<float>(tensor.floats(), tensor.floats() + tensor.count());
  };
  std::vector<float> scale = floats(1);
  if (c.backward) return std::make_unique<GroupedNormBackward>(norm, std::move(scale));
  std::vector<float> bias = c.has(2) ? floats(2) : std::vector<float>(scale.size(), 0.0f);
  return std::make_unique<GroupedNormForward>(norm, std::move(scale), std::move(bias));
}

}  // namespace

void register_grouped_norm_cpu(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{
        .name = backward ? "grouped_norm_gradient" : "grouped_norm",
        .layers = {"InstanceNormalization", "LayerNormalization", "GroupNormalization"},
        .backward = backward,
        .offer = offers,
        .prepare = prepare,
    });
  }
}

}  // namespace camlucida
