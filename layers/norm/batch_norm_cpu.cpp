/// Batch normalisation as one multiply-add per element, in plain and in blocked layout.
#include <algorithm>
#include <cmath>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
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

void run_rows(const Rows& rows, const float* x, float* y, ThreadPool& pool) {
  const auto row = rows.lanes == 16  ? run_row<16>
                   : rows.lanes == 8 ? run_row<8>
                   : rows.lanes == 4 ? run_row<4>
                                     : run_row<1>;
  pool.run(rows.count, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t p = r % rows.parameters * rows.lanes;
      row(x + r * rows.length, y + r * rows.length, rows.length, rows.multiplier.data() + p,
          rows.offset.data() + p);
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
  BatchNormKernel(Rows rows, bool backward) : rows_(std::move(rows)), backward_(backward) {}
  void run(const KernelArgs& args, ThreadPool& pool) const override {
    if (backward_) {
      run_rows(rows_, args.grad_output(), args.grad_input(), pool);
    } else {
      run_rows(rows_, args.input(0), args.output(), pool);
    }
  }
  size_t packed_bytes() const override { return 2 * sizeof(float) * rows_.multiplier.size(); }

 private:
  Rows rows_;
  bool backward_;
};

std::vector<Offer> offers(const KernelCase& c) {
  const auto& attributes = c.node.attributes.as<BatchNormAttributes>();
  if (c.in(0).rank() < 2 || !c.all_float32()) return {Offer::no("not float32")};
  if (!c.node.epilogues.empty()) return {Offer::no("applies no epilogues")};
  if (attributes.training) return {Offer::no("statistics of the batch")};
  for (size_t i = 1; i <= 4; ++i) {
    if (c.constant(i) == nullptr) return {Offer::no("parameters are not constant")};
  }
  std::vector<Offer> result;
  for (const Layout layout : {Layout::kPlain, Layout::kBlocked}) {
    if (layout == Layout::kBlocked && (c.in(0).rank() < 3 || attributes.per_activation)) continue;
    Offer offer{.possible = true, .reason = layout == Layout::kBlocked ? "blocked" : "plain"};
    offer.cost_ns = cost::kStepNs + cost::bytes(2 * 4 * stored_count(c.in(0), layout));
    offer.inputs = {layout};
    offer.outputs = {layout};
    if (c.backward) {
      offer.grad_outputs = {layout};
      offer.grad_inputs = {layout};
    }
    offer.in_place = !c.backward;
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
        .prepare =
            [](const KernelCase& c, const Offer& offer) {
              return std::make_unique<BatchNormKernel>(make_rows(c, offer.outputs[0]), c.backward);
            },
    });
  }
}

}  // namespace camlucida
