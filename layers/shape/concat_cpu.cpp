#include <algorithm>
#include <cstring>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/shape/channel_map.h"
#include "layers/shape/concat.h"

/// Concat as copies of contiguous runs: in plain layout along any axis, in blocked layout along the
/// channels. Backward copies the other way.
namespace camlucida {
namespace {

using shape::ChannelMap;

/// Plain layout: input i holds rows of lengths_[i] elements that lie at starts_[i] in a row of the
/// output.
class ConcatPlain final : public PreparedKernel {
 public:
  explicit ConcatPlain(const KernelCase& c) : backward_(c.backward) {
    const Shape& y = c.out();
    const int axis = shape::concat_axis(c.node.attributes, y);
    element_ = static_cast<int64_t>(size_of(c.outputs[0].desc.dtype));
    rows_ = y.count(0, axis);
    row_ = y.count(axis, y.rank());
    int64_t start = 0;
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      starts_.push_back(start);
      lengths_.push_back(c.in(i).count(axis, y.rank()));
      start += lengths_.back();
    }
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    // Shares are ranges of the output, so that one large input is split as well.
    pool.run(rows_ * row_, [&](int64_t begin, int64_t end, int) {
      for (int64_t at = begin; at < end;) at += copy_from(args, at, end);
    });
  }

 private:
  /// Copies what lies together from output element `at` on, up to `end`; returns how much.
  int64_t copy_from(const KernelArgs& args, int64_t at, int64_t end) const {
    const int64_t row = at / row_;
    const int64_t column = at % row_;
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), column);
    const auto i = static_cast<size_t>(after - starts_.begin() - 1);
    const int64_t offset = column - starts_[i];
    const int64_t count = std::min(lengths_[i] - offset, end - at);
    const int64_t part = (row * lengths_[i] + offset) * element_;
    const auto bytes = static_cast<size_t>(count * element_);
    if (!backward_) {
      std::memcpy(static_cast<std::byte*>(args.outputs[0]) + at * element_,
                  static_cast<const std::byte*>(args.inputs[i]) + part, bytes);
    } else if (args.grad_inputs[i] != nullptr) {
      std::memcpy(static_cast<std::byte*>(args.grad_inputs[i]) + part,
                  static_cast<const std::byte*>(args.grad_outputs[0]) + at * element_, bytes);
    }
    return count;
  }

  bool backward_;
  int64_t element_ = 4;
  int64_t rows_ = 1;
  int64_t row_ = 1;
  std::vector<int64_t> starts_;
  std::vector<int64_t> lengths_;
};

ChannelMap channel_map(const KernelCase& c) {
  const Shape& y = c.out();
  ChannelMap map{y[0], y.count(2, y.rank()), {}, {}};
  if (c.backward) {
    map.sources = {y[1]};
    int64_t start = 0;
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      std::vector<ChannelMap::Channel>& target = map.targets.emplace_back();
      for (int64_t k = 0; k < c.in(i)[1]; ++k) target.push_back({0, start + k});
      start += c.in(i)[1];
    }
  } else {
    map.targets.emplace_back();
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      map.sources.push_back(c.in(i)[1]);
      for (int64_t k = 0; k < c.in(i)[1]; ++k) map.targets[0].push_back({static_cast<int>(i), k});
    }
  }
  return map;
}

constexpr int kPlainVariant = 0;
constexpr int kBlockedVariant = 1;

std::vector<Offer> offer(const KernelCase& c) {
  for (const KernelCase::Port& port : c.inputs) {
    if (!c.backward && port.constant != nullptr) return {Offer::no("an input is constant")};
  }
  Offer plain{.possible = true};
  plain.cost_ns = cost::kStepNs + cost::bytes(2 * c.outputs[0].desc.bytes());
  plain.variant = kPlainVariant;
  std::vector<Offer> offers = {plain};

  const Shape& y = c.out();
  if (y.rank() < 3 || shape::concat_axis(c.node.attributes, y) != 1 || !c.all_float32()) {
    offers.push_back(Offer::no("blocked layout joins float32 channels only"));
    return offers;
  }
  Offer blocked{.possible = true};
  blocked.cost_ns = shape::channel_map_cost(channel_map(c));
  blocked.variant = kBlockedVariant;
  const std::vector<Layout> parts(c.inputs.size(), Layout::kBlocked);
  (c.backward ? blocked.grad_inputs : blocked.inputs) = parts;
  (c.backward ? blocked.grad_outputs : blocked.outputs) = {Layout::kBlocked};
  offers.push_back(blocked);
  return offers;
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& c, const Offer& offer) {
  if (offer.variant == kPlainVariant) return std::make_unique<ConcatPlain>(c);
  return shape::prepare_channel_map(channel_map(c), c.backward);
}

}  // namespace

void register_concat_cpu(Registry& registry) {
  registry.add(KernelDef{"concat_copy", {"Concat"}, Device::kCpu, false, offer, prepare});
  registry.add(KernelDef{"concat_copy_backward", {"Concat"}, Device::kCpu, true, offer, prepare});
}

}  // namespace camlucida
