/// The alpha = 1, beta = 0 relevance rule of convolutions and linear layers in float32, made of the
/// kernels these layers have anyway: with inputs and weights split by sign,
///
///     z = W+ x+ + W- x- (+ offset),   S = R / z,   R_x = x+ (W+^T S) + x- (W-^T S)
///
/// that is two forward and two backward runs, of which those with x- fall away behind a ReLU.
#include <algorithm>
#include <array>
#include <cmath>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/linear/linear.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

constexpr const char* kName = "relevance_by_sign";
/// Floats per share of a thread in the loops between the kernels.
constexpr int64_t kChunk = 8192;
/// A total this small carries no relevance: R / z would leave the range of float32.
constexpr float kNothing = 1e-30f;

/// One sign of the weights as a layer of its own, forward or backward. Its kernels are told the
/// rule: not all are accurate enough to divide by.
struct Part {
  Node node;
  std::vector<Tensor> constants;  // by input
  KernelCase kernel_case;
  const KernelDef* kernel = nullptr;
  Offer offer;

  Part(const KernelCase& whole, bool backward, Layout layout, Tensor weight, Tensor offset)
      : node(whole.node),
        constants{Tensor(), std::move(weight), std::move(offset)},
        kernel_case{node, backward, whole.rule, {}, whole.outputs, {}, {}} {
    node.inputs.resize(constants.size(), kNone);
    const bool with_offset = constants[2].defined();
    if (!with_offset) node.inputs[2] = kNone;
    for (size_t i = 0; i < constants.size(); ++i) {
      KernelCase::Port port;
      if (i == 0) port = whole.inputs[0];
      if (i == 1 || (i == 2 && with_offset)) {
        port = {constants[i].desc(), &constants[i], true, Layout::kPlain};
      }
      kernel_case.inputs.push_back(port);
      kernel_case.wanted.push_back(backward && i == 0);
    }
    kernel_case.inputs[0].layout = kernel_case.outputs[0].layout = layout;
    kernel_case.grad_layouts = {layout};
    choose(layout);
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  /// The cheapest kernel that reads and writes its data in `layout`, if any.
  void choose(Layout layout) {
    const auto at = [](const std::vector<Layout>& layouts) {
      return layouts.empty() ? Layout::kPlain : layouts[0];
    };
    for (const auto& candidate : Registry::instance().kernels()) {
      const auto& layers = candidate->layers;
      if (candidate->backward != kernel_case.backward || candidate->device != Device::kCpu ||
          candidate->name == kName ||
          std::find(layers.begin(), layers.end(), node.layer->name) == layers.end()) {
        continue;
      }
      for (Offer& one : candidate->offer(kernel_case)) {
        const bool fits = kernel_case.backward
                              ? at(one.grad_outputs) == layout && at(one.grad_inputs) == layout
                              : at(one.inputs) == layout && at(one.outputs) == layout;
        if (!one.possible || !fits || (kernel != nullptr && one.cost_ns >= offer.cost_ns)) continue;
        kernel = candidate.get();
        offer = std::move(one);
      }
    }
  }
  std::unique_ptr<PreparedKernel> prepare() const { return kernel->prepare(kernel_case, offer); }
};

/// The constants of the parts.
struct Weights {
  Tensor positive;  ///< those whose products with positive inputs are positive; others are 0
  Tensor negative;  ///< likewise with negative inputs
  Tensor offset;    ///< of the total; undefined = none
};

/// The bias of a convolution enters once with each sign, unless the sum is to be conserved.
bool has_offset(const KernelCase& c) {
  return c.rule == kRelevance && c.node.layer->name == "Conv" && c.has(2);
}

Weights split(const KernelCase& c) {
  const bool is_gemm = c.node.layer->name == "Gemm";
  const double scale = is_gemm ? c.node.attributes.as<GemmAttributes>().alpha : 1.0;
  Weights weights{c.constant(1)->clone(), c.constant(1)->clone(), Tensor()};
  for (float& w : weights.positive.as<float>()) w = scale * w > 0 ? w : 0.0f;
  for (float& w : weights.negative.as<float>()) w = scale * w < 0 ? w : 0.0f;
  if (has_offset(c)) {
    weights.offset = c.constant(2)->clone();
    for (float& value : weights.offset.as<float>()) value *= 2;
  }
  return weights;
}

/// The four parts of a case in one layout.
struct Parts {
  Part forward_positive, forward_negative, backward_positive, backward_negative;

  Parts(const KernelCase& c, Layout layout, const Weights& weights)
      : forward_positive(c, false, layout, weights.positive, weights.offset),
        forward_negative(c, false, layout, weights.negative, Tensor()),
        backward_positive(c, true, layout, weights.positive, Tensor()),
        backward_negative(c, true, layout, weights.negative, Tensor()) {}

  bool possible() const {
    for (const Part* part : all()) {
      if (part->kernel == nullptr) return false;
    }
    return true;
  }
  std::array<const Part*, 4> all() const {
    return {&forward_positive, &forward_negative, &backward_positive, &backward_negative};
  }
};

/// Where things lie in the scratch memory, in bytes.
struct Room {
  int64_t x_count, y_count;  // stored floats
  size_t part, total, more, kernels, end;

  Room(const KernelCase& c, const Parts& parts, Layout layout)
      : x_count(stored_count(c.in(0), layout)), y_count(stored_count(c.out(), layout)) {
    const auto floats = [](int64_t count) {
      return (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
    };
    part = 0;                        // x+ or x-, then what comes back for x-
    total = part + floats(x_count);  // z, then S
    more = total + floats(y_count);  // z of x-
    kernels = more + floats(y_count);
    size_t own = 0;
    for (const Part* one : parts.all()) own = std::max(own, one->offer.scratch_bytes);
    end = kernels + own;
  }
};

std::vector<Offer> offers(const KernelCase& c) {
  const BackwardRule* rule = c.node.layer->rule(c.rule);
  if (rule == nullptr || std::count(rule->kernels.begin(), rule->kernels.end(), kName) == 0) {
    return {Offer::no("computes relevance only")};
  }
  if (!c.all_float32() || c.constant(1) == nullptr || (c.has(2) && c.constant(2) == nullptr)) {
    return {Offer::no("not float32 with constant weights")};
  }
  if (!c.wanted[0] || std::count(c.wanted.begin(), c.wanted.end(), true) != 1 ||
      !c.outputs[0].present || !c.node.epilogues.empty()) {
    return {Offer::no("not the relevance of the data alone")};
  }
  std::vector<Offer> result;
  // Which kernels are possible does not depend on the values of the weights.
  const Weights unsplit{*c.constant(1), *c.constant(1), has_offset(c) ? *c.constant(2) : Tensor()};
  for (const Layout layout : {Layout::kPlain, Layout::kBlocked}) {
    const Parts parts(c, layout, unsplit);
    if (!parts.possible()) continue;
    const Room room(c, parts, layout);
    Offer offer{.possible = true, .reason = layout == Layout::kBlocked ? "blocked" : "plain"};
    for (const Part* part : parts.all()) {
      offer.cost_ns += part->offer.cost_ns;
      offer.reason += (part == &parts.forward_positive ? ": " : ", ") + part->kernel->name;
    }
    offer.cost_ns += cost::kStepNs + cost::bytes(static_cast<int64_t>(sizeof(float)) *
                                                 (6 * room.x_count + 5 * room.y_count));
    offer.inputs.assign(c.inputs.size(), Layout::kPlain);
    offer.grad_inputs = offer.inputs;
    offer.inputs[0] = offer.grad_inputs[0] = layout;
    for (const KernelCase::Port& port : c.outputs) offer.outputs.push_back(port.layout);
    offer.grad_outputs.assign(c.outputs.size(), layout);
    offer.scratch_bytes = room.end;
    offer.variant = static_cast<int>(layout);
    result.push_back(std::move(offer));
  }
  if (result.empty()) result.push_back(Offer::no("no kernels of the layer in one layout"));
  return result;
}

class RelevanceBySign final : public PreparedKernel {
 public:
  RelevanceBySign(const KernelCase& c, Layout layout) : RelevanceBySign(c, layout, split(c)) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    auto* part = reinterpret_cast<float*>(args.scratch + room_.part);
    auto* total = reinterpret_cast<float*>(args.scratch + room_.total);
    auto* more = reinterpret_cast<float*>(args.scratch + room_.more);
    std::byte* scratch = args.scratch + room_.kernels;
    const float* x = args.input(0);
    const float* relevance = args.grad_output();
    float* result = args.grad_input();
    const bool signed_input = std::any_of(x, x + room_.x_count, [](float v) { return v < 0; });

    for_chunks(room_.x_count, pool, [=](int64_t i) { part[i] = std::max(x[i], 0.0f); });
    forward(*forward_positive_, part, total, scratch, pool);
    if (signed_input) {
      for_chunks(room_.x_count, pool, [=](int64_t i) { part[i] = std::min(x[i], 0.0f); });
      forward(*forward_negative_, part, more, scratch, pool);
      for_chunks(room_.y_count, pool, [=](int64_t i) { total[i] += more[i]; });
    }
    for_chunks(room_.y_count, pool, [=](int64_t i) {
      total[i] = std::abs(total[i]) > kNothing ? relevance[i] / total[i] : 0.0f;
    });
    clear_unused_lanes(total);
    backward(*backward_positive_, total, result, scratch, pool);
    if (signed_input) backward(*backward_negative_, total, part, scratch, pool);
    for_chunks(room_.x_count, pool, [=](int64_t i) {
      result[i] = x[i] > 0 ? x[i] * result[i] : signed_input && x[i] < 0 ? x[i] * part[i] : 0.0f;
    });
  }

  size_t packed_bytes() const override {
    return forward_positive_->packed_bytes() + forward_negative_->packed_bytes() +
           backward_positive_->packed_bytes() + backward_negative_->packed_bytes();
  }

 private:
  RelevanceBySign(const KernelCase& c, Layout layout, Weights weights)
      : RelevanceBySign(c, layout, Parts(c, layout, weights)) {
    weights_ = std::move(weights);
  }
  RelevanceBySign(const KernelCase& c, Layout layout, const Parts& parts)
      : room_(c, parts, layout),
        forward_positive_(parts.forward_positive.prepare()),
        forward_negative_(parts.forward_negative.prepare()),
        backward_positive_(parts.backward_positive.prepare()),
        backward_negative_(parts.backward_negative.prepare()) {
    const Shape& y = c.out();
    if (layout == Layout::kPlain) return;
    block_ = simd_block();
    unused_ = (block_ - y[1] % block_) % block_;
    pixels_ = y.count(2, y.rank());
    blocks_ = (y[1] + block_ - 1) / block_;
  }

  template <class F>
  static void for_chunks(int64_t count, ThreadPool& pool, const F& f) {
    pool.run((count + kChunk - 1) / kChunk, [&](int64_t begin, int64_t end, int) {
      const int64_t last = std::min(end * kChunk, count);
      for (int64_t i = begin * kChunk; i < last; ++i) f(i);
    });
  }

  /// Lanes beyond the channels may hold any finite totals, and relevance over one of them need not
  /// be finite; the weights behind them are 0, which does not help against infinity.
  void clear_unused_lanes(float* values) const {
    if (unused_ == 0) return;
    const int64_t images = room_.y_count / (blocks_ * pixels_ * block_);
    for (int64_t n = 0; n < images; ++n) {
      float* last = values + ((n + 1) * blocks_ - 1) * pixels_ * block_;
      for (int64_t p = 0; p < pixels_; ++p) {
        std::fill_n(last + p * block_ + block_ - unused_, unused_, 0.0f);
      }
    }
  }

  static void forward(const PreparedKernel& kernel, const float* x, float* y, std::byte* scratch,
                      ThreadPool& pool) {
    const void* inputs[] = {x, nullptr, nullptr};
    void* outputs[] = {y};
    kernel.run(KernelArgs{inputs, outputs, nullptr, nullptr, scratch}, pool);
  }
  static void backward(const PreparedKernel& kernel, const float* y, float* x, std::byte* scratch,
                       ThreadPool& pool) {
    const void* inputs[] = {nullptr, nullptr, nullptr};
    void* outputs[] = {nullptr};
    const void* grad_outputs[] = {y};
    void* grad_inputs[] = {x, nullptr, nullptr};
    kernel.run(KernelArgs{inputs, outputs, grad_outputs, grad_inputs, scratch}, pool);
  }

  Room room_;
  Weights weights_;  // for kernels that read them in place
  std::unique_ptr<PreparedKernel> forward_positive_, forward_negative_;
  std::unique_ptr<PreparedKernel> backward_positive_, backward_negative_;
  int64_t block_ = 1;
  int64_t blocks_ = 1;
  int64_t pixels_ = 1;
  int64_t unused_ = 0;  // lanes of the last block of channels
};

}  // namespace

void register_relevance_cpu(Registry& registry) {
  registry.add({kName,
                {"Conv", "ConvTranspose", "Gemm", "MatMul"},
                Device::kCpu,
                true,
                offers,
                [](const KernelCase& c, const Offer& offer) -> std::unique_ptr<PreparedKernel> {
                  return std::make_unique<RelevanceBySign>(c, static_cast<Layout>(offer.variant));
                }});
}

}  // namespace camlucida
