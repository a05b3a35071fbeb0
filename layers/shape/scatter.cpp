#include <algorithm>
#include <map>

#include "engine/registry.h"
#include "layers/shape/examples.h"

/// Writing updates into a copy of the data at given indices: ScatterElements and ScatterND.
/// Inputs: data, indices, updates. Negative indices count from the end; a constant index outside
/// the data is an error of the model, one computed at run time is passed over.
namespace camlucida {
namespace {

using shape::constant_ints;
using shape::whole_batch;

struct ScatterAttributes {
  int64_t axis = 0;                ///< ScatterElements only
  std::string reduction = "none";  ///< none, add, mul, max or min: what meets what is there
  void fields(auto& visit) {
    visit("axis", axis);
    visit("reduction", reduction);
  }
};

constexpr int64_t kOutside = -1;

int64_t from_front(int64_t index, int64_t extent) {
  if (index < 0) index += extent;
  return index >= 0 && index < extent ? index : kOutside;
}

double combine(const std::string& reduction, double present, double update) {
  if (reduction == "add") return present + update;
  if (reduction == "mul") return present * update;
  if (reduction == "max") return std::max(present, update);
  if (reduction == "min") return std::min(present, update);
  return update;
}

/// Derivatives of the reduction of `values` (the datum, then its updates) to each of them.
std::vector<double> partial_derivatives(const std::string& reduction,
                                        const std::vector<double>& values) {
  std::vector<double> slopes(values.size(), reduction == "add" ? 1.0 : 0.0);
  if (reduction == "none") slopes.back() = 1.0;
  if (reduction == "max" || reduction == "min") {
    const auto best = reduction == "max" ? std::max_element(values.begin(), values.end())
                                         : std::min_element(values.begin(), values.end());
    slopes[static_cast<size_t>(best - values.begin())] = 1.0;
  }
  if (reduction == "mul") {
    for (size_t k = 0; k < values.size(); ++k) {
      slopes[k] = 1.0;
      for (size_t j = 0; j < values.size(); ++j) slopes[k] *= j == k ? 1.0 : values[j];
    }
  }
  return slopes;
}

/// Where update element i goes in the data.
using Target = int64_t (*)(const RefContext& context, int64_t i);

int64_t element_target(const RefContext& context, int64_t i) {
  const Shape& x = context.inputs[0].shape;
  const RefTensor& indices = context.inputs[1];
  const int axis = normalise_axis(context.attributes.as<ScatterAttributes>().axis, x.rank());
  int64_t rest = i;
  int64_t offset = 0;
  int64_t stride = 1;
  for (int k = x.rank() - 1; k >= 0; --k) {
    int64_t position = rest % indices.shape[k];
    rest /= indices.shape[k];
    if (k == axis) position = from_front(static_cast<int64_t>(indices.data[i]), x[k]);
    if (position == kOutside) return kOutside;
    offset += position * stride;
    stride *= x[k];
  }
  return offset;
}

int64_t slice_target(const RefContext& context, int64_t i) {
  const Shape& x = context.inputs[0].shape;
  const RefTensor& indices = context.inputs[1];
  const auto depth = static_cast<int>(indices.shape[indices.shape.rank() - 1]);
  const int64_t size = x.count(depth, x.rank());
  int64_t offset = 0;
  for (int k = 0; k < depth; ++k) {
    const double index = indices.data[i / size * depth + k];
    const int64_t position = from_front(static_cast<int64_t>(index), x[k]);
    if (position == kOutside) return kOutside;
    offset = offset * x[k] + position;
  }
  return offset * size + i % size;
}

LayerDef scatter(std::string name, Target target) {
  LayerDef layer;
  layer.name = std::move(name);
  layer.prototype = ScatterAttributes{};
  layer.saves.inputs = true;
  layer.forward = [target](const RefContext& context) {
    const std::string& reduction = context.attributes.as<ScatterAttributes>().reduction;
    const RefTensor& y = context.outputs[0];
    const RefTensor& updates = context.inputs[2];
    std::copy_n(context.inputs[0].data, y.count(), y.data);
    for (int64_t i = 0; i < updates.count(); ++i) {
      const int64_t at = target(context, i);
      if (at != kOutside) y.data[at] = combine(reduction, y.data[at], updates.data[i]);
    }
  };
  layer.backward = [target](const RefContext& context) {
    const std::string& reduction = context.attributes.as<ScatterAttributes>().reduction;
    const RefTensor& updates = context.inputs[2];
    const RefTensor& dy = context.grad_outputs[0];
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& du = context.grad_inputs[2];
    if (!dy) return;
    // Elements of the data with the updates that meet there, in their order.
    std::map<int64_t, std::vector<int64_t>> met;
    for (int64_t i = 0; i < updates.count(); ++i) {
      const int64_t at = target(context, i);
      if (at != kOutside) met[at].push_back(i);
    }
    for (int64_t at = 0; dx && at < dy.count(); ++at) dx.data[at] += dy.data[at];
    for (const auto& [at, indices] : met) {
      std::vector<double> values = {context.inputs[0].data[at]};
      for (int64_t i : indices) values.push_back(updates.data[i]);
      const std::vector<double> slopes = partial_derivatives(reduction, values);
      if (dx) dx.data[at] += dy.data[at] * (slopes[0] - 1.0);
      for (size_t k = 0; du && k < indices.size(); ++k) {
        du.data[indices[k]] += dy.data[at] * slopes[k + 1];
      }
    }
  };
  return layer;
}

void check_range(const InferContext& context, int64_t index, int64_t extent) {
  if (from_front(index, extent) != kOutside) return;
  throw Error(ErrorKind::kModel, "index " + std::to_string(index) + " is outside extent " +
                                     std::to_string(extent) + " of the data " +
                                     context.shape(0).to_string());
}

[[noreturn]] void refuse_shapes(const InferContext& context) {
  throw Error(ErrorKind::kModel, "indices " + context.shape(1).to_string() + " and updates " +
                                     context.shape(2).to_string() + " do not fit data " +
                                     context.shape(0).to_string());
}

std::vector<TensorDesc> infer_elements(const InferContext& context) {
  const Shape& x = context.shape(0);
  const Shape& indices = context.shape(1);
  const int axis = normalise_axis(context.attributes.as<ScatterAttributes>().axis, x.rank());
  bool fits = indices == context.shape(2) && indices.rank() == x.rank();
  for (int k = 0; fits && k < x.rank(); ++k) fits = k == axis || indices[k] <= x[k];
  if (!fits) refuse_shapes(context);
  if (context.constant(1) != nullptr) {
    for (int64_t index : context.constant(1)->to_ints()) check_range(context, index, x[axis]);
  }
  return {context.input(0)};
}

/// Data [D1..Dk, slice...], indices [K..., k], updates [K..., slice...].
std::vector<TensorDesc> infer_nd(const InferContext& context) {
  const Shape& x = context.shape(0);
  const Shape& indices = context.shape(1);
  const int64_t depth = indices.rank() > 0 ? indices[indices.rank() - 1] : 0;
  if (depth < 1 || depth > x.rank()) refuse_shapes(context);
  std::vector<int64_t> expected(indices.begin(), indices.end() - 1);
  expected.insert(expected.end(), x.begin() + depth, x.end());
  if (Shape(std::move(expected)) != context.shape(2)) refuse_shapes(context);
  if (context.constant(1) != nullptr) {
    int axis = 0;
    for (int64_t index : context.constant(1)->to_ints()) {
      check_range(context, index, x[axis]);
      axis = (axis + 1) % static_cast<int>(depth);
    }
  }
  return {context.input(0)};
}

Reading read(const NodeSource& node) {
  const std::string reduction = node.text("reduction", "none");
  for (const char* known : {"none", "add", "mul", "max", "min"}) {
    if (reduction == known) return Reading{ScatterAttributes{node.integer("axis", 0), reduction}};
  }
  throw node.unsupported("reduction " + reduction, "none, add, mul, max or min");
}

}  // namespace

void register_scatter(Registry& registry) {
  LayerDef elements = scatter("ScatterElements", element_target);
  elements.infer = infer_elements;
  elements.onnx = {{"Scatter", 9, 10, read}, {"ScatterElements", 11, 21, read}};
  const auto two_rows = [](std::string reduction) {
    return whole_batch({"rows_" + reduction,
                        ScatterAttributes{0, reduction},
                        {{{3, 3}}, constant_ints({2, 3}, {1, 0, 2, 0, 2, 1}), {{2, 3}}}});
  };
  elements.examples = {
      two_rows("none"),
      two_rows("add"),
      two_rows("mul"),
      two_rows("max"),
      two_rows("min"),
      whole_batch({"negative_index",
                   ScatterAttributes{1, "none"},
                   {{{1, 5}}, constant_ints({1, 2}, {1, -2}), {{1, 2}}}}),
      whole_batch({"same_element_twice",
                   ScatterAttributes{1, "mul"},
                   {{{2, 5}}, constant_ints({2, 3}, {1, 1, 1, 0, 3, 3}), {{2, 3}}}}),
  };
  registry.add(std::move(elements));

  LayerDef nd = scatter("ScatterND", slice_target);
  nd.infer = infer_nd;
  nd.onnx = {{"ScatterND", 11, 21, read}};
  nd.examples = {
      whole_batch({"slices",
                   ScatterAttributes{},
                   {{{4, 2, 3}}, constant_ints({2, 1}, {2, 0}), {{2, 2, 3}}}}),
      whole_batch({"elements",
                   ScatterAttributes{},
                   {{{3, 4}}, constant_ints({3, 2}, {0, 0, 2, -1, 1, 2}), {{3}}}}),
      whole_batch({"add_twice",
                   ScatterAttributes{0, "add"},
                   {{{4, 3}}, constant_ints({2, 1}, {1, 1}), {{2, 3}}}}),
      whole_batch({"last_wins",
                   ScatterAttributes{},
                   {{{4, 3}}, constant_ints({3, 1}, {1, 3, 1}), {{3, 3}}}}),
  };
  registry.add(std::move(nd));
}

}  // namespace camlucida
