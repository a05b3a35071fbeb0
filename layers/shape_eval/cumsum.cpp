#include <algorithm>

#include "engine/registry.h"
#include "layers/shape/examples.h"

/// Operators along one axis that are linear in their data: CumSum, Trilu, ReverseSequence.
namespace camlucida {
namespace {

using shape::constant_ints;
using shape::whole_batch;

// ---- CumSum ------------------------------------------------------------------------------------

struct CumSumAttributes {
  bool exclusive = false;  ///< without the element itself
  bool reverse = false;    ///< from the end
  void fields(auto& visit) {
    visit("exclusive", exclusive);
    visit("reverse", reverse);
  }
};

/// Adds to `to` the running sums of `from` along `axis`.
void add_running_sums(const double* from, double* to, const Shape& shape, int axis, bool exclusive,
                      bool reverse) {
  const int64_t extent = shape[axis];
  const int64_t inner = shape.count(axis + 1, shape.rank());
  const int64_t outer = shape.count(0, axis);
  for (int64_t row = 0; row < outer * inner; ++row) {
    const int64_t start = row / inner * extent * inner + row % inner;
    double sum = 0.0;
    for (int64_t i = 0; i < extent; ++i) {
      const int64_t at = start + (reverse ? extent - 1 - i : i) * inner;
      if (exclusive) to[at] += sum;
      sum += from[at];
      if (!exclusive) to[at] += sum;
    }
  }
}

int cum_sum_axis(const RefContext& context) {
  return normalise_axis(static_cast<int64_t>(context.inputs[1].data[0]),
                        context.inputs[0].shape.rank());
}

/// Inputs: data, axis.
LayerDef cum_sum() {
  LayerDef layer;
  layer.name = "CumSum";
  layer.prototype = CumSumAttributes{};
  layer.infer = [](const InferContext& context) {
    const std::vector<int64_t> axis = context.ints(1, "the axis of a running sum");
    if (axis.size() != 1) throw Error(ErrorKind::kModel, "needs one axis");
    normalise_axis(axis[0], context.shape(0).rank());
    return same_as_input(context);
  };
  layer.forward = [](const RefContext& context) {
    const auto& attributes = context.attributes.as<CumSumAttributes>();
    const RefTensor& y = context.outputs[0];
    std::fill_n(y.data, y.count(), 0.0);
    add_running_sums(context.inputs[0].data, y.data, y.shape, cum_sum_axis(context),
                     attributes.exclusive, attributes.reverse);
  };
  layer.backward = [](const RefContext& context) {
    const auto& attributes = context.attributes.as<CumSumAttributes>();
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    if (!dx || !dy) return;
    add_running_sums(dy.data, dx.data, dx.shape, cum_sum_axis(context), attributes.exclusive,
                     !attributes.reverse);
  };
  layer.onnx = {{.name = "CumSum", .first_opset = 11, .read = [](const NodeSource& node) {
                   return Reading{CumSumAttributes{node.integer("exclusive", 0) != 0,
                                                   node.integer("reverse", 0) != 0}};
                 }}};
  const ExampleInput last = constant_ints(Shape{}, {-1});
  layer.examples = {
      {"rows", CumSumAttributes{}, {{{2, 7}}, last}},
      {"exclusive", CumSumAttributes{true, false}, {{{2, 7}}, last}},
      {"reverse", CumSumAttributes{false, true}, {{{2, 7}}, last}},
      {"both", CumSumAttributes{true, true}, {{{2, 7}}, last}},
      {"channels", CumSumAttributes{}, {{{2, 5, 3}}, constant_ints({1})}},
      whole_batch({"batch", CumSumAttributes{}, {{{5, 3}}, constant_ints({0})}}),
  };
  return layer;
}

// ---- Trilu -------------------------------------------------------------------------------------

struct TriluAttributes {
  bool upper = true;
  void fields(auto& visit) { visit("upper", upper); }
};

/// Calls visit(i) for every element that the triangle keeps.
template <class Visit>
void for_each_in_triangle(const RefContext& context, const Visit& visit) {
  const Shape& x = context.inputs[0].shape;
  const bool upper = context.attributes.as<TriluAttributes>().upper;
  const bool given = context.has(1);
  const auto diagonal = given ? static_cast<int64_t>(context.inputs[1].data[0]) : int64_t{0};
  const int64_t columns = x[x.rank() - 1];
  const int64_t rows = x[x.rank() - 2];
  for (int64_t i = 0; i < x.count(); ++i) {
    const int64_t offset = i % columns - i / columns % rows;
    if (upper ? offset >= diagonal : offset <= diagonal) visit(i);
  }
}

/// Inputs: matrices, [diagonal]: keeps what lies on or above (below) that diagonal.
LayerDef trilu() {
  LayerDef layer;
  layer.name = "Trilu";
  layer.prototype = TriluAttributes{};
  layer.infer = [](const InferContext& context) {
    if (context.shape(0).rank() < 2) {
      throw Error(ErrorKind::kModel, "needs matrices, not " + context.shape(0).to_string());
    }
    context.ints_or(1, "the diagonal", {});
    return same_as_input(context);
  };
  layer.forward = [](const RefContext& context) {
    const RefTensor& y = context.outputs[0];
    std::fill_n(y.data, y.count(), 0.0);
    for_each_in_triangle(context, [&](int64_t i) { y.data[i] = context.inputs[0].data[i]; });
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    if (!dx || !dy) return;
    for_each_in_triangle(context, [&](int64_t i) { dx.data[i] += dy.data[i]; });
  };
  layer.onnx = {{.name = "Trilu", .first_opset = 14, .read = [](const NodeSource& node) {
                   return Reading{TriluAttributes{node.integer("upper", 1) != 0}};
                 }}};
  layer.examples = {
      {"upper", TriluAttributes{true}, {{{2, 4, 5}}}},
      {"lower", TriluAttributes{false}, {{{2, 5, 4}}}},
      {"above", TriluAttributes{true}, {{{2, 4, 4}}, constant_ints(Shape{}, {1})}},
      {"below", TriluAttributes{false}, {{{2, 4, 4}}, constant_ints(Shape{}, {-2})}},
      {"far_away", TriluAttributes{true}, {{{2, 3, 4}}, constant_ints(Shape{}, {9})}},
  };
  return layer;
}

// ---- ReverseSequence ---------------------------------------------------------------------------

struct ReverseSequenceAttributes {
  int64_t batch_axis = 1;
  int64_t time_axis = 0;
  void fields(auto& visit) {
    visit("batch_axis", batch_axis);
    visit("time_axis", time_axis);
  }
};

/// Calls visit(i, from): element i of the output is element `from` of the data. The first
/// lengths[b] entries of sequence b are reversed, the rest stays.
template <class Visit>
void for_each_reversed(const RefContext& context, const Visit& visit) {
  const auto [batch_axis, time_axis] = context.attributes.as<ReverseSequenceAttributes>();
  const Shape& x = context.inputs[0].shape;
  const std::vector<int64_t> strides = x.strides();
  for (int64_t i = 0; i < x.count(); ++i) {
    const auto along = [&](int64_t axis) {
      return i / strides[static_cast<size_t>(axis)] % x[static_cast<int>(axis)];
    };
    const int64_t time = along(time_axis);
    const auto length = static_cast<int64_t>(context.inputs[1].data[along(batch_axis)]);
    const int64_t shift = time < length ? length - 1 - 2 * time : 0;
    visit(i, i + shift * strides[static_cast<size_t>(time_axis)]);
  }
}

/// Inputs: data, lengths of the sequences.
LayerDef reverse_sequence() {
  LayerDef layer;
  layer.name = "ReverseSequence";
  layer.prototype = ReverseSequenceAttributes{};
  layer.infer = [](const InferContext& context) {
    const auto [batch_axis, time_axis] = context.attributes.as<ReverseSequenceAttributes>();
    const Shape& x = context.shape(0);
    const bool axes_fit =
        x.rank() >= 2 && batch_axis + time_axis == 1 && batch_axis * time_axis == 0;
    if (!axes_fit || context.shape(1) != Shape{x[static_cast<int>(batch_axis)]}) {
      throw Error(ErrorKind::kModel, "axes or lengths do not fit " + x.to_string());
    }
    for (int64_t length : context.ints(1, "the length of a sequence")) {
      if (length < 0 || length > x[static_cast<int>(time_axis)]) {
        throw Error(ErrorKind::kModel, "a sequence of length " + std::to_string(length) +
                                           " does not fit " + x.to_string());
      }
    }
    return same_as_input(context);
  };
  layer.forward = [](const RefContext& context) {
    for_each_reversed(context, [&](int64_t i, int64_t from) {
      context.outputs[0].data[i] = context.inputs[0].data[from];
    });
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    if (!dx || !dy) return;
    for_each_reversed(context, [&](int64_t i, int64_t from) { dx.data[from] += dy.data[i]; });
  };
  layer.onnx = {{.name = "ReverseSequence", .first_opset = 10, .read = [](const NodeSource& node) {
                   return Reading{ReverseSequenceAttributes{node.integer("batch_axis", 1),
                                                            node.integer("time_axis", 0)}};
                 }}};
  layer.examples = {
      whole_batch({"batch_first",
                   ReverseSequenceAttributes{0, 1},
                   {{{3, 5, 2}}, constant_ints({1, 5, 3})}}),
      whole_batch(
          {"images", ReverseSequenceAttributes{0, 1}, {{{2, 3, 2, 2}}, constant_ints({3, 2})}}),
      whole_batch(
          {"time_first", ReverseSequenceAttributes{1, 0}, {{{4, 3}}, constant_ints({4, 2, 0})}}),
  };
  return layer;
}

}  // namespace

void register_cumsum(Registry& registry) {
  registry.add(cum_sum());
  registry.add(trilu());
  registry.add(reverse_sequence());
}

}  // namespace camlucida
