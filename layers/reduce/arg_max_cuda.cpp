/// ArgMax and ArgMin on a GPU, of any type, compared in double as by the reference function.
#include <cmath>

#include "engine/cuda/gpu_kernel.h"
#include "engine/registry.h"
#include "layers/gpu_fold.h"

namespace camlucida {
namespace {

/// Best element so far; index -1: none.
struct Record {
  double value;
  int64_t index;
};

/// Tensors 0 and 1 of the walk are x and y. A row is one result.
struct ArgExtreme {
  Walk<2> kept;
  int64_t extent;
  int64_t step;  // of the searched axis in x
  View x;
  int64_t* y;
  bool smallest;
  bool last;  // of equals

  /// NaN is better than nothing else, but none is better than a NaN at the start.
  CAMLUCIDA_PORTABLE Record better(Record a, Record b) const {
    if (a.index < 0 || b.index < 0) return a.index < 0 ? b : a;
    if (b.index < a.index) {
      const Record first = b;
      b = a;
      a = first;
    }
    if (a.value != a.value) return a.index == 0 ? a : b;
    const bool wins = smallest ? b.value < a.value : b.value > a.value;
    return wins || (last && b.value == a.value) ? b : a;
  }

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    const Offsets<2> begin = kept.offsets(row);
    const Record best = group.reduce(
        extent, Record{0, -1},
        [&](int64_t i) {
          return Record{load(x.type, x.data, begin.at[0] + i * step), i};
        },
        [&](Record a, Record b) { return better(a, b); });
    group.each(1, [&](int64_t) { y[begin.at[1]] = best.index; });
  }
};

int64_t attribute(const Node& node, std::string_view name) {
  for (const auto& [field, value] : node.attributes.fields()) {
    if (field == name) return std::get<int64_t>(value);
  }
  return 0;
}

class ArgMaxKernel final : public PreparedKernel {
 public:
  ArgMaxKernel(const KernelCase& kernel_case, const Offer& offer)
      : views_(kernel_case, offer),
        smallest_(kernel_case.node.layer->name == "ArgMin"),
        last_(attribute(kernel_case.node, "select_last_index") != 0) {
    const View& x = views_.inputs[0];
    const View& y = views_.outputs[0];
    const int axis = normalise_axis(attribute(kernel_case.node, "axis"), x.rank);
    extent_ = x.extent[axis];
    step_ = x.stride[axis];
    std::vector<SpaceAxis<2>> kept;
    int own = 0;
    for (int a = 0; a < x.rank; ++a) {
      if (a != axis) kept.push_back({x.extent[a], {x.stride[a], y.stride[own]}});
      if (a != axis || y.rank == x.rank) ++own;
    }
    kept = merged_axes(std::move(kept), 0);
    by_thread_ = fold_shape(kept, {SpaceAxis<2>{extent_, {step_, 0}}}, 0, false).by_thread;
    kept_ = make_walk(kept);
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    for_each_row(*args.stream, kept_.count, by_thread_,
                 ArgExtreme{kept_, extent_, step_, views_.input(0, args),
                            static_cast<int64_t*>(args.outputs[0]), smallest_, last_});
  }

 private:
  PortViews views_;
  bool smallest_;
  bool last_;
  int64_t extent_;
  int64_t step_;
  bool by_thread_;
  Walk<2> kept_;
};

std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (kernel_case.constant(0) != nullptr) return {Offer::no("the data is constant")};
  return {offer_any_layout(kernel_case)};
}

}  // namespace

void register_arg_max_cuda(Registry& registry) {
  registry.add(KernelDef{.name = "arg_max_gpu",
                         .layers = {"ArgMax", "ArgMin"},
                         .device = Device::kCuda,
                         .offer = offers,
                         .prepare = [](const KernelCase& kernel_case, const Offer& offer) {
                           return std::make_unique<ArgMaxKernel>(kernel_case, offer);
                         }});
}

}  // namespace camlucida
