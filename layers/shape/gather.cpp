#include "layers/shape/examples.h"
#include "layers/shape/rearrange.h"

/// Picking elements by index: Gather along one axis, GatherElements and GatherND. Negative indices
/// count from the end. A constant index outside the axis is an error of the model; one computed at
/// run time, where nothing may fail any more, reads 0.
namespace camlucida {
namespace {

using shape::constant_ints;
using shape::no_gradient;
using shape::Operands;
using shape::Rearrangement;
using shape::whole_batch;

struct GatherAttributes {
  int64_t axis = 0;
  void fields(auto& visit) { visit("axis", axis); }
};

Reading read_axis(const NodeSource& node) {
  return Reading{GatherAttributes{node.integer("axis", 0)}};
}

/// `index` counted from the front, or kOutside.
int64_t from_front(int64_t index, int64_t extent) {
  if (index < 0) index += extent;
  return index >= 0 && index < extent ? index : Rearrangement::kOutside;
}

/// Throws if a constant input 1 holds an index outside `extent`.
void check_indices(const InferContext& context, int64_t extent) {
  if (context.constant(1) == nullptr) return;
  for (int64_t index : context.constant(1)->to_ints()) {
    if (from_front(index, extent) == Rearrangement::kOutside) {
      throw Error(ErrorKind::kModel, "index " + std::to_string(index) + " is outside extent " +
                                         std::to_string(extent));
    }
  }
}

// ---- Gather ------------------------------------------------------------------------------------

/// Inputs: data [before, D, after], indices K; output [before, K, after].
Shape gathered_shape(const Shape& x, const Shape& indices, int axis) {
  std::vector<int64_t> dims(x.begin(), x.begin() + axis);
  dims.insert(dims.end(), indices.begin(), indices.end());
  dims.insert(dims.end(), x.begin() + axis + 1, x.end());
  return Shape(std::move(dims));
}

int gather_axis(const Operands& node) {
  return normalise_axis(node.attributes().as<GatherAttributes>().axis, node.shape(0).rank());
}

std::vector<Rearrangement> arrange_gather(const Operands& node) {
  const Shape& x = node.shape(0);
  const int axis = gather_axis(node);
  Rearrangement map = Rearrangement::identity(x);
  Rearrangement::Axis& picked = map.axes[static_cast<size_t>(axis)];
  picked.table = node.ints(1, "the index");
  picked.count = static_cast<int64_t>(picked.table.size());
  for (int64_t& index : picked.table) index = from_front(index, x[axis]);
  map.result = gathered_shape(x, node.shape(1), axis);
  return {map};
}

LayerDef gather() {
  LayerDef layer;
  layer.name = "Gather";
  layer.picks = true;
  layer.prototype = GatherAttributes{};
  layer.saves.inputs = true;
  layer.infer = [](const InferContext& context) {
    const int axis = gather_axis(Operands(context));
    check_indices(context, context.shape(0)[axis]);
    const Shape result = gathered_shape(context.shape(0), context.shape(1), axis);
    return std::vector<TensorDesc>{{context.dtype(0), result}};
  };
  layer.forward = [](const RefContext& context) { rearrange(context, arrange_gather); };
  layer.backward = [](const RefContext& context) { rearrange_backward(context, arrange_gather); };
  layer.onnx = {{.name = "Gather", .read = read_axis}};
  layer.examples = {
      whole_batch({"rows", GatherAttributes{0}, {{{5, 4, 3}}, constant_ints({0, 1, 3})}}),
      {"channels", GatherAttributes{1}, {{{2, 9, 3, 5}}, constant_ints({8, 0, 4, 4, -1})}},
      {"shuffle", GatherAttributes{1}, {{{2, 8, 3, 3}}, constant_ints({0, 4, 1, 5, 2, 6, 3, 7})}},
      {"one", GatherAttributes{1}, {{{2, 7, 3}}, constant_ints(Shape{}, {2})}},
      {"matrix", GatherAttributes{1}, {{{3, 4}}, constant_ints({2, 3}, {0, -1, 2, 1, 1, 3})}},
      {"last_axis", GatherAttributes{-1}, {{{2, 3, 6}}, constant_ints({5, 4, 0})}},
      no_gradient(
          whole_batch({"run_time_index",
                       GatherAttributes{0},
                       {{.shape = {5, 4}, .constant = true},
                        {.shape = {2, 2}, .dtype = DType::kInt64, .values = {4, 0, -5, 2}}}})),
  };
  return layer;
}

// ---- GatherElements ----------------------------------------------------------------------------

/// Calls visit(i, from): output element i of GatherElements is element `from` of the data.
template <class Visit>
void for_each_picked(const RefContext& context, const Visit& visit) {
  const Shape& x = context.inputs[0].shape;
  const RefTensor& indices = context.inputs[1];
  const int axis = normalise_axis(context.attributes.as<GatherAttributes>().axis, x.rank());
  const std::vector<int64_t> strides = x.strides();
  const std::vector<int64_t> index_strides = indices.shape.strides();
  for (int64_t i = 0; i < indices.count(); ++i) {
    int64_t from = 0;
    for (int k = 0; k < x.rank() && from != Rearrangement::kOutside; ++k) {
      const auto at = static_cast<size_t>(k);
      int64_t position = i / index_strides[at] % indices.shape[k];
      if (k == axis) position = from_front(static_cast<int64_t>(indices.data[i]), x[k]);
      from = position == Rearrangement::kOutside ? position : from + position * strides[at];
    }
    visit(i, from);
  }
}

LayerDef gather_elements() {
  LayerDef layer;
  layer.name = "GatherElements";
  layer.prototype = GatherAttributes{};
  layer.saves.inputs = true;
  layer.infer = [](const InferContext& context) {
    const Shape& x = context.shape(0);
    const Shape& indices = context.shape(1);
    const int axis = normalise_axis(context.attributes.as<GatherAttributes>().axis, x.rank());
    bool fits = indices.rank() == x.rank();
    for (int k = 0; fits && k < x.rank(); ++k) fits = k == axis || indices[k] <= x[k];
    if (!fits) {
      throw Error(ErrorKind::kModel, "indices of shape " + indices.to_string() +
                                         " do not fit data of shape " + x.to_string());
    }
    check_indices(context, x[axis]);
    return std::vector<TensorDesc>{{context.dtype(0), indices}};
  };
  layer.forward = [](const RefContext& context) {
    const RefTensor& y = context.outputs[0];
    for_each_picked(context, [&](int64_t i, int64_t from) {
      y.data[i] = from == Rearrangement::kOutside ? 0.0 : context.inputs[0].data[from];
    });
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    if (!dx || !dy) return;
    for_each_picked(context, [&](int64_t i, int64_t from) {
      if (from != Rearrangement::kOutside) dx.data[from] += dy.data[i];
    });
  };
  layer.onnx = {{.name = "GatherElements", .first_opset = 11, .read = read_axis}};
  layer.examples = {
      whole_batch(
          {"rows", GatherAttributes{0}, {{{3, 3}}, constant_ints({2, 3}, {1, 2, 0, 2, 0, 0})}}),
      whole_batch(
          {"columns", GatherAttributes{1}, {{{2, 4}}, constant_ints({2, 3}, {0, -1, 2, 3, 3, 1})}}),
      whole_batch(
          {"middle", GatherAttributes{1}, {{{2, 3, 2}}, constant_ints({2, 1, 2}, {0, 2, 1, -3})}}),
      no_gradient(
          whole_batch({"run_time_index",
                       GatherAttributes{-1},
                       {{.shape = {2, 4}, .constant = true},
                        {.shape = {2, 2}, .dtype = DType::kInt64, .values = {3, 0, -1, 2}}}})),
  };
  return layer;
}

// ---- GatherND ----------------------------------------------------------------------------------

struct GatherNdAttributes {
  int64_t batch_axes = 0;
  void fields(auto& visit) { visit("batch_axes", batch_axes); }
};

/// Data [B..., D1..Dk, slice...], indices [B..., K..., k]: calls visit(i, from) for each of the
/// slices, of which slice i of the output is slice `from` of the data.
template <class Visit>
void for_each_slice(const RefContext& context, const Visit& visit) {
  const Shape& x = context.inputs[0].shape;
  const RefTensor& indices = context.inputs[1];
  const auto batch = static_cast<int>(context.attributes.as<GatherNdAttributes>().batch_axes);
  const int64_t depth = indices.shape[indices.shape.rank() - 1];
  const int64_t slices = indices.shape.count(0, indices.shape.rank() - 1);
  const int64_t batches = x.count(0, batch);
  const int64_t per_batch = slices / std::max<int64_t>(batches, 1);
  for (int64_t i = 0; i < slices; ++i) {
    int64_t from = i / per_batch;
    for (int64_t k = 0; k < depth && from != Rearrangement::kOutside; ++k) {
      const int64_t extent = x[batch + static_cast<int>(k)];
      const int64_t position =
          from_front(static_cast<int64_t>(indices.data[i * depth + k]), extent);
      from = position == Rearrangement::kOutside ? position : from * extent + position;
    }
    visit(i, from);
  }
}

LayerDef gather_nd() {
  LayerDef layer;
  layer.name = "GatherND";
  layer.prototype = GatherNdAttributes{};
  layer.saves.inputs = true;
  layer.infer = [](const InferContext& context) {
    const Shape& x = context.shape(0);
    const Shape& indices = context.shape(1);
    const int64_t batch = context.attributes.as<GatherNdAttributes>().batch_axes;
    bool fits = batch >= 0 && indices.rank() > batch && x.rank() > batch;
    for (int k = 0; fits && k < batch; ++k) fits = indices[k] == x[k];
    const int64_t depth = fits ? indices[indices.rank() - 1] : 0;
    if (!fits || depth < 1 || depth > x.rank() - batch) {
      throw Error(ErrorKind::kModel, "indices of shape " + indices.to_string() +
                                         " do not fit data of shape " + x.to_string());
    }
    std::vector<int64_t> dims(indices.begin(), indices.end() - 1);
    dims.insert(dims.end(), x.begin() + batch + depth, x.end());
    return std::vector<TensorDesc>{{context.dtype(0), Shape(std::move(dims))}};
  };
  layer.forward = [](const RefContext& context) {
    const RefTensor& y = context.outputs[0];
    const int64_t slices = context.inputs[1].shape.count(0, context.inputs[1].shape.rank() - 1);
    const int64_t size = slices == 0 ? 0 : y.count() / slices;
    for_each_slice(context, [&](int64_t i, int64_t from) {
      for (int64_t e = 0; e < size; ++e) {
        y.data[i * size + e] =
            from == Rearrangement::kOutside ? 0.0 : context.inputs[0].data[from * size + e];
      }
    });
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    if (!dx || !dy) return;
    const int64_t slices = context.inputs[1].shape.count(0, context.inputs[1].shape.rank() - 1);
    const int64_t size = slices == 0 ? 0 : dy.count() / slices;
    for_each_slice(context, [&](int64_t i, int64_t from) {
      for (int64_t e = 0; e < size && from != Rearrangement::kOutside; ++e) {
        dx.data[from * size + e] += dy.data[i * size + e];
      }
    });
  };
  layer.onnx = {{.name = "GatherND", .first_opset = 11, .read = [](const NodeSource& node) {
                   return Reading{GatherNdAttributes{node.integer("batch_dims", 0)}};
                 }}};
  layer.examples = {
      whole_batch(
          {"elements", GatherNdAttributes{0}, {{{2, 3}}, constant_ints({2, 2}, {0, 0, 1, -1})}}),
      whole_batch({"slices", GatherNdAttributes{0}, {{{3, 2, 5}}, constant_ints({2, 1}, {2, 0})}}),
      whole_batch({"batch", GatherNdAttributes{1}, {{{2, 3, 4}}, constant_ints({2, 1}, {1, -3})}}),
      whole_batch({"twice", GatherNdAttributes{0}, {{{3, 4}}, constant_ints({3, 1}, {1, 1, 0})}}),
  };
  return layer;
}

}  // namespace

void register_gather(Registry& registry) {
  registry.add(gather());
  shape::add_rearranging_kernels(registry, "Gather", arrange_gather);
  registry.add(gather_elements());
  registry.add(gather_nd());
}

}  // namespace camlucida
