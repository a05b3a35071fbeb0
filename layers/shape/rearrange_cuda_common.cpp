#include <algorithm>

#include "layers/shape/pick.h"
#include "layers/shape/rearrange_gpu.h"

namespace camlucida::shape {
namespace {

class PickKernel final : public PreparedKernel {
 public:
  PickKernel(const KernelCase& c, PickPlan plan, const View& from, const View& to)
      : picker_(*c.gpu, std::move(plan), from.type, to.type), backward_(c.backward) {}

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (backward_) {
      picker_.run(*args.stream, args.grad_outputs[0], args.grad_inputs[0]);
    } else {
      picker_.run(*args.stream, args.inputs[0], args.outputs[0]);
    }
  }

 private:
  Picker picker_;
  bool backward_;
};

class SumKernel final : public PreparedKernel {
 public:
  explicit SumKernel(std::unique_ptr<SumPicker> picker) : picker_(std::move(picker)) {}

  void run(const KernelArgs& args, ThreadPool&) const override {
    picker_->run(*args.stream, args.grad_output(0), args.grad_input(0));
  }

 private:
  std::unique_ptr<SumPicker> picker_;
};

/// Input (or its gradient) and output (or its gradient) as they lie in these layouts.
struct Ends {
  View input;
  View output;

  Ends(const KernelCase& c, Layout in, Layout out)
      : input(view_of(c.inputs[0].desc, in, c.precision, c.backward)),
        output(view_of(c.outputs[0].desc, out, c.precision, c.backward)) {}
};

std::optional<PickPlan> plan_for(const KernelCase& c, const Rearrangement& map, const Ends& ends) {
  return c.backward ? plan_return(map, ends.output, ends.input)
                    : plan_pick(map, ends.input, ends.output);
}

/// Sums of gradients cost as much as reading what they sum.
constexpr double kSumSlowness = 3.0;

/// The offer for these layouts, if they do not cut through the axes.
std::optional<Offer> offer_for(const KernelCase& c, const Rearrangement& map, Layout in, Layout out,
                               bool only_copies) {
  const Ends ends(c, in, out);
  const std::optional<PickPlan> plan = plan_for(c, map, ends);
  if (only_copies && !(plan && plan->is_copy())) return std::nullopt;
  Offer offer{.possible = true};
  const auto size_in = static_cast<int64_t>(size_of(ends.input.type));
  const auto size_out = static_cast<int64_t>(size_of(ends.output.type));
  if (plan) {
    const int64_t count = c.backward ? ends.input.count() : ends.output.count();
    const double bytes = plan->slowness() * static_cast<double>(count * (size_in + size_out));
    offer.cost_ns = cost::gpu_pass(static_cast<int64_t>(bytes));
  } else {
    std::vector<int64_t> counts;
    for (const Rearrangement::Axis& axis : map.axes) counts.push_back(axis.count);
    if (!c.backward || map.axes.size() > static_cast<size_t>(kMaxAxes) ||
        !factor_strides(ends.input, map.source.dims()) || !factor_strides(ends.output, counts)) {
      return std::nullopt;
    }
    const int64_t bytes = ends.input.count() * size_in + ends.output.count() * size_out;
    offer.cost_ns = cost::gpu_pass(static_cast<int64_t>(kSumSlowness * static_cast<double>(bytes)));
  }
  (c.backward ? offer.grad_inputs : offer.inputs) = {in};
  (c.backward ? offer.grad_outputs : offer.outputs) = {out};
  // What backward saves (the indices of a gather) it does not read here: take it as it lies.
  for (const KernelCase::Port& port : c.inputs) {
    if (c.backward) offer.inputs.push_back(port.layout);
  }
  return offer;
}

std::vector<Offer> make_offers(const KernelCase& c, const Arrange& arrange) {
  if (c.constant(0) != nullptr) return {Offer::no("the data is constant")};
  for (size_t i = 1; i < c.inputs.size(); ++i) {
    if (c.has(i) && c.constant(i) == nullptr) {
      return {Offer::no("where elements go is computed at run time")};
    }
  }
  if (c.backward && c.inputs[0].desc.dtype != DType::kFloat32) {
    return {Offer::no("gradients of " + std::string(name_of(c.inputs[0].desc.dtype)))};
  }
  const Shape& x = c.in(0);
  const Shape& y = c.out();
  if (x.rank() > kMaxAxes || y.rank() > kMaxAxes) {
    return {Offer::no("more than " + std::to_string(kMaxAxes) + " axes")};
  }
  constexpr int64_t kLongestTable = int64_t{1} << 24;  // a damaged model may ask for any extent
  const Rearrangement map = arrange(Operands(c))[0];
  for (const Rearrangement::Axis& axis : map.axes) {
    if (axis.count > kLongestTable) return {Offer::no("an axis is too long for a table")};
  }

  std::vector<Offer> offers;
  const auto add = [&](Layout in, Layout out, bool only_copies = false) {
    std::optional<Offer> offer = offer_for(c, map, in, out, only_copies);
    if (offer) offers.push_back(std::move(*offer));
  };
  // The side that is there already, and the one to be made beside it: in the same layout, as long
  // as the axes keep a meaning, or in the other if that is the order in which the elements lie.
  const Layout here = c.backward ? c.grad_layouts[0] : c.inputs[0].layout;
  const Shape& made = c.backward ? x : y;
  const Layout beside = x.rank() == y.rank() ? layout_beside(made, here) : Layout::kPlain;
  const auto add_made = [&](Layout there, Layout result, bool only_copies = false) {
    if (c.backward) {
      add(result, there, only_copies);
    } else {
      add(there, result, only_copies);
    }
  };
  add_made(here, beside);
  if (beside != Layout::kPlain) {
    add_made(here, Layout::kPlain, true);
  } else if (made.rank() >= 4 && c.inputs[0].desc.dtype == DType::kFloat32) {
    add_made(here, Layout::kChannelsLast, true);
  }
  if (here != Layout::kPlain) add_made(Layout::kPlain, Layout::kPlain);
  if (offers.empty()) return {Offer::no("too many axes that do not join")};
  return offers;
}

Layout first_of(const std::vector<Layout>& layouts) {
  return layouts.empty() ? Layout::kPlain : layouts[0];
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& c, const Offer& offer,
                                        const Arrange& arrange) {
  const Rearrangement map = arrange(Operands(c))[0];
  const Ends ends(c, first_of(c.backward ? offer.grad_inputs : offer.inputs),
                  first_of(c.backward ? offer.grad_outputs : offer.outputs));
  std::optional<PickPlan> plan = plan_for(c, map, ends);
  if (!plan)
    return std::make_unique<SumKernel>(SumPicker::make(*c.gpu, map, ends.output, ends.input));
  const View& from = c.backward ? ends.output : ends.input;
  const View& to = c.backward ? ends.input : ends.output;
  return std::make_unique<PickKernel>(c, std::move(*plan), from, to);
}

}  // namespace

void add_gpu_pick_kernels(Registry& registry, const std::string& name, const std::string& layer,
                          const Arrange& arrange) {
  for (const bool backward : {false, true}) {
    registry.add(
        KernelDef{.name = name + (backward ? "_gradient_gpu" : "_gpu"),
                  .layers = {layer},
                  .device = Device::kCuda,
                  .backward = backward,
                  .offer = [arrange](const KernelCase& c) { return make_offers(c, arrange); },
                  .prepare = [arrange](const KernelCase& c,
                                       const Offer& offer) { return prepare(c, offer, arrange); }});
  }
}

}  // namespace camlucida::shape
