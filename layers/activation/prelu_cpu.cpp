/// PRelu of float32 tensors with one constant slope, or one for each channel, in either layout.
#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/layout.h"
#include "engine/registry.h"
#include "layers/activation/prelu.h"

namespace camlucida {
namespace {

enum class Rule { kPlain, kGuided, kDeconvolution };

/// One slope per channel of axis 1, or a single one for all; nullopt for any other form.
std::optional<std::vector<float>> slopes_of(const KernelCase& kernel_case) {
  const Tensor* slope = kernel_case.constant(1);
  if (slope == nullptr) return {};
  const Shape& x = kernel_case.in(0);
  const Shape shape = prelu_slope_shape(kernel_case.node.attributes, slope->shape(), x);
  const int missing = x.rank() - shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] != 1 && axis + missing != 1) return {};
  }
  const std::vector<double> values = slope->to_doubles();
  return std::vector<float>(values.begin(), values.end());
}

/// Rows of floats that share a slope (plain) or a block of slopes (blocked).
struct Rows {
  int64_t count = 1;
  int64_t length = 1;
  int64_t slopes = 1;  ///< rows before the slopes repeat
  int64_t block = 1;   ///< slopes of a row
  std::vector<float> slope;
};

Rows rows_of(const KernelCase& kernel_case, Layout layout) {
  Rows rows;
  rows.slope = *slopes_of(kernel_case);
  const Shape& x = kernel_case.in(0);
  if (layout == Layout::kPlain && rows.slope.size() == 1) {
    constexpr int64_t kPiece = 4096;
    rows.length = std::min<int64_t>(x.count(), kPiece);
    rows.count = (x.count() + kPiece - 1) / kPiece;
    return rows;
  }
  const int64_t channels = x[1];
  rows.slope.resize(static_cast<size_t>(channels), rows.slope[0]);
  rows.block = layout == Layout::kBlocked ? simd_block() : 1;
  rows.slopes = channel_blocks(channels, rows.block);
  rows.count = x[0] * rows.slopes;
  rows.length = x.count(2, x.rank()) * rows.block;
  rows.slope.resize(static_cast<size_t>(rows.slopes * rows.block), 1.0f);
  return rows;
}

class PReluKernel final : public PreparedKernel {
 public:
  PReluKernel(const KernelCase& kernel_case, Layout layout)
      : rows_(rows_of(kernel_case, layout)),
        count_(stored_count(kernel_case.in(0), layout)),
        backward_(kernel_case.backward) {
    if (kernel_case.rule == "guided") rule_ = Rule::kGuided;
    if (kernel_case.rule == "deconvolution") rule_ = Rule::kDeconvolution;
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    pool.run(rows_.count, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t at = row * rows_.length;
        const int64_t length = std::min(rows_.length, count_ - at);
        const float* slopes = rows_.slope.data() + row % rows_.slopes * rows_.block;
        for (int64_t i = 0; i < length; i += rows_.block) {
          const int64_t width = rows_.block == 1 ? length : rows_.block;
          const int64_t step = rows_.block == 1 ? 0 : 1;
          if (backward_) {
            backward(args, at + i, width, slopes, step);
          } else {
            forward(args.input(0) + at + i, args.output() + at + i, width, slopes, step);
          }
          if (rows_.block == 1) break;
        }
      }
    });
  }

 private:
  static void forward(const float* x, float* y, int64_t count, const float* slopes, int64_t step) {
    for (int64_t i = 0; i < count; ++i) y[i] = x[i] < 0 ? x[i] * slopes[i * step] : x[i];
  }

  void backward(const KernelArgs& args, int64_t at, int64_t count, const float* slopes,
                int64_t step) const {
    const float* x = args.input(0) + at;
    const float* dy = args.grad_output() + at;
    float* dx = args.grad_input() + at;
    for (int64_t i = 0; i < count; ++i) {
      const float slope = x[i] > 0 || rule_ == Rule::kDeconvolution ? 1.0f : slopes[i * step];
      const float incoming = rule_ == Rule::kPlain ? dy[i] : std::max(dy[i], 0.0f);
      dx[i] = incoming * slope;
    }
  }

  Rows rows_;
  int64_t count_;
  bool backward_;
  Rule rule_ = Rule::kPlain;
};

std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (!kernel_case.all_float32()) return {Offer::no("only float32")};
  if (!slopes_of(kernel_case)) return {Offer::no("slopes are no constants of the channels")};
  std::vector<Offer> result;
  for (const Layout layout : {Layout::kPlain, Layout::kBlocked}) {
    if (layout == Layout::kBlocked && kernel_case.in(0).rank() < 3) continue;
    Offer offer{.possible = true, .reason = layout == Layout::kBlocked ? "blocked" : "plain"};
    offer.cost_ns = cost::kStepNs + cost::bytes((kernel_case.backward ? 12 : 8) *
                                                stored_count(kernel_case.in(0), layout));
    offer.inputs = {layout, Layout::kPlain};
    offer.outputs = {layout};
    if (kernel_case.backward) {
      offer.grad_inputs = {layout, Layout::kPlain};
      offer.grad_outputs = {layout};
    }
    offer.in_place = !kernel_case.backward;
    result.push_back(std::move(offer));
  }
  return result;
}

}  // namespace

void register_prelu_cpu(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{
        .name = backward ? "prelu_gradient" : "prelu",
        .layers = {"PRelu"},
        .backward = backward,
        .offer = offers,
        .prepare =
            [](const KernelCase& kernel_case, const Offer& offer) {
              return std::make_unique<PReluKernel>(kernel_case, offer.inputs[0]);
            },
    });
  }
}

}  // namespace camlucida
