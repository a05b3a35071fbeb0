/// Batch normalisation as one multiply-add per element, in plain and in blocked layout, with the
/// element-wise operations fused behind it.
#include <algorithm>
#include <cmath>

#include "engine/cost.h"
#include "engine/cpu/epilogue.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/gradient_tail.h"
#include "layers/norm/norm.h"

namespace camlucida {
namespace {

/// y = multiplier[r] * x + offset[r] on rows of `length` equal-parameter elements (plain), or with
/// one parameter per lane (blocked: `lanes` = channels per block).
struct Rows {
  int64_t count = 0;       ///< rows in all
  int64_t length = 0;      ///< elements per row
  int64_t parameters = 0;  ///< parameter sets, that is rows (plain) or blocks (blocked) per sample
  int64_t lanes = 1;
  std::vector<float> multiplier;  ///< [parameters * lanes]
  std::vector<float> offset;
};

template <int kLanes>
void run_row(const float* x, float* y, int64_t length, const float* multiplier,
             const float* offset) {
  for (int64_t i = 0; i < length; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      y[i + lane] = multiplier[lane] * x[i + lane] + offset[lane];
    }
  }
}

/// Floats between the map and what is fused behind it: a multiple of every block size that stays in
/// the L1 cache.
constexpr int64_t kChunk = 2048;

/// The epilogue on values that were just written.
void finish(const FusedEpilogue& epilogue, float* y, const EpilogueOperands& operands,
            int64_t count) {
  const float* addend = epilogue.register_addend(operands);
  const auto add = [=] {
    for (int64_t i = 0; i < count; ++i) y[i] += addend[i];
  };
  if (addend != nullptr && epilogue.add_first) add();
  if (epilogue.clamps) {
    const float low = epilogue.low;
    const float high = epilogue.high;
    for (int64_t i = 0; i < count; ++i) {
      const float raised = y[i] < low ? low : y[i];
      y[i] = raised > high ? high : raised;
    }
  }
  if (addend != nullptr && !epilogue.add_first) add();
  epilogue.finish(y, operands, count);
}

void run_rows(const Rows& rows, const FusedEpilogue& epilogue, const float* x,
              const EpilogueOperands& operands, float* y, ThreadPool& pool) {
  const auto run = rows.lanes == 16  ? run_row<16>
                   : rows.lanes == 8 ? run_row<8>
                   : rows.lanes == 4 ? run_row<4>
                                     : run_row<1>;
  pool.run(rows.count, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t p = r % rows.parameters * rows.lanes;
      for (int64_t start = 0; start < rows.length; start += kChunk) {
        const int64_t at = r * rows.length + start;
        const int64_t count = std::min(kChunk, rows.length - start);
        run(x + at, y + at, count, rows.multiplier.data() + p, rows.offset.data() + p);
        finish(epilogue, y + at, operands.from(at), count);
      }
    }
  });
}

Rows make_rows(const KernelCase& c, Layout layout) {
  const auto& attributes = c.node.attributes.as<BatchNormAttributes>();
  std::vector<double> values[4];
  for (size_t i = 0; i < 4; ++i) values[i] = c.constant(i + 1)->to_doubles();
  const Shape& x = c.in(0);
  const int64_t pixels = attributes.per_activation ? 1 : x.count(2, x.rank());
  const auto channels = static_cast<int64_t>(values[0].size());
  Rows rows;
  rows.lanes = layout == Layout::kBlocked ? simd_block() : 1;
  rows.parameters = (channels + rows.lanes - 1) / rows.lanes;
  rows.length = pixels * rows.lanes;
  rows.count = x[0] * rows.parameters;
  rows.multiplier.assign(static_cast<size_t>(rows.parameters * rows.lanes), 0.0f);
  rows.offset = rows.multiplier;
  for (size_t i = 0; i < values[0].size(); ++i) {
    const double multiplier = values[0][i] / std::sqrt(values[3][i] + attributes.epsilon);
    rows.multiplier[i] = static_cast<float>(multiplier);
    if (!c.backward) rows.offset[i] = static_cast<float>(values[1][i] - values[2][i] * multiplier);
  }
  return rows;
}

class BatchNormKernel final : public PreparedKernel {
 public:
  BatchNormKernel(const KernelCase& c, const Offer& offer)
      : backward_(c.backward),
        rows_(make_rows(c, offer.outputs[0])),
        epilogue_(*FusedEpilogue::of(c)) {}
  void run(const KernelArgs& args, ThreadPool& pool) const override {
    run_rows(rows_, epilogue_, backward_ ? args.grad_output() : args.input(0),
             epilogue_.operands(args, backward_), backward_ ? args.grad_input() : args.output(),
             pool);
  }
  size_t packed_bytes() const override { return 2 * sizeof(float) * rows_.multiplier.size(); }

 private:
  bool backward_;
  Rows rows_;
  FusedEpilogue epilogue_;
};

std::vector<Offer> offers(const KernelCase& c) {
  const auto& attributes = c.node.attributes.as<BatchNormAttributes>();
  if (c.in(0).rank() < 2 || !c.all_float32()) return {Offer::no("not float32")};
  const auto epilogue = FusedEpilogue::of(c);
  if (!epilogue) return {Offer::no("epilogues of another form")};
  if (attributes.training) return {Offer::no("statistics of the batch")};
  for (size_t i = 1; i <= 4; ++i) {
    if (c.constant(i) == nullptr) return {Offer::no("parameters are not constant")};
  }
  std::vector<Offer> result;
  for (const Layout layout : {Layout::kPlain, Layout::kBlocked}) {
    if (layout == Layout::kBlocked && (c.in(0).rank() < 3 || attributes.per_activation)) continue;
    Offer offer{.possible = true, .reason = layout == Layout::kBlocked ? "blocked" : "plain"};
    offer.cost_ns = cost::kStepNs + cost::bytes(2 * 4 * stored_count(c.in(0), layout));
    offer.inputs.assign(c.inputs.size(), Layout::kPlain);
    offer.inputs[0] = layout;
    offer.outputs = {layout};
    if (c.backward) {
      offer.grad_outputs = {layout};
      offer.grad_inputs = {layout};
      offer_tail(c, layout, offer);
    } else if (epilogue->addend != kNone) {
      offer.inputs[static_cast<size_t>(epilogue->addend)] = layout;
    }
    // In place the addend could be the very buffer that is overwritten.
    offer.in_place = !c.backward && epilogue->addend == kNone;
    result.push_back(std::move(offer));
  }
  return result;
}

}  // namespace

void register_batch_norm_cpu(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{
        .name = backward ? "batch_norm_gradient" : "batch_norm",
        .layers = {"BatchNormalization"},
        .backward = backward,
        .offer = offers,
        .prepare = [](const KernelCase& c, const Offer& offer) -> std::unique_ptr<PreparedKernel> {
          return std::make_unique<BatchNormKernel>(c, offer);
        },
    });
  }
}

}  // namespace camlucida
