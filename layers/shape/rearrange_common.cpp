#include <map>

#include "layers/shape/rearrange.h"

namespace camlucida::shape {

Rearrangement Rearrangement::identity(const Shape& shape) {
  Rearrangement same;
  same.source = same.result = shape;
  for (int axis = 0; axis < shape.rank(); ++axis) same.axes.push_back(whole(shape, axis));
  return same;
}

int64_t Rearrangement::position(const Axis& axis, int64_t i) const {
  if (!axis.table.empty()) return axis.table[static_cast<size_t>(i)];
  const int64_t extent = axis.source == kNoAxis ? 1 : source[axis.source];
  const int64_t p = axis.start + i * axis.step;
  if (p >= 0 && p < extent) return p;
  if (extent == 0) return kOutside;
  switch (axis.beyond) {
    case Beyond::kFill:
      return kOutside;
    case Beyond::kEdge:
      return p < 0 ? 0 : extent - 1;
    case Beyond::kWrap:
      return (p % extent + extent) % extent;
    case Beyond::kReflect: {
      if (extent == 1) return 0;
      const int64_t period = 2 * (extent - 1);
      const int64_t q = (p % period + period) % period;
      return q < extent ? q : period - q;
    }
  }
  return kOutside;
}

std::vector<std::vector<int64_t>> Rearrangement::offsets() const {
  const std::vector<int64_t> strides = source.strides();
  std::vector<std::vector<int64_t>> tables;
  for (const Axis& axis : axes) {
    std::vector<int64_t> table(static_cast<size_t>(axis.count), 0);
    if (axis.source != kNoAxis) {
      const int64_t stride = strides[static_cast<size_t>(axis.source)];
      for (int64_t i = 0; i < axis.count; ++i) {
        const int64_t p = position(axis, i);
        table[static_cast<size_t>(i)] = p == kOutside ? kOutside : p * stride;
      }
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

void Rearrangement::shape_result() {
  std::vector<int64_t> dims;
  for (const Axis& axis : axes) dims.push_back(axis.count);
  result = Shape(std::move(dims));
}

std::vector<TensorDesc> infer_rearranged(const InferContext& context, const Arrange& arrange) {
  std::vector<TensorDesc> outputs;
  for (const Rearrangement& map : arrange(Operands(context))) {
    map.result.count();  // refuses what cannot be addressed
    outputs.push_back({context.dtype(0), map.result});
  }
  return outputs;
}

namespace {

/// Calls visit(result index, source offset or kOutside) for every element of the result in order.
template <class Visit>
void for_each_element(const Rearrangement& map, const Visit& visit) {
  const std::vector<std::vector<int64_t>> offsets = map.offsets();
  const int64_t count = map.result.count();
  std::vector<size_t> at(offsets.size(), 0);
  for (int64_t i = 0; i < count; ++i) {
    int64_t from = 0;
    for (size_t k = 0; k < offsets.size() && from != Rearrangement::kOutside; ++k) {
      const int64_t offset = offsets[k][at[k]];
      from = offset == Rearrangement::kOutside ? offset : from + offset;
    }
    visit(i, from);
    for (size_t k = offsets.size(); k-- > 0;) {
      if (++at[k] < offsets[k].size()) break;
      at[k] = 0;
    }
  }
}

}  // namespace

void rearrange(const RefContext& context, const Arrange& arrange) {
  const std::vector<Rearrangement> maps = arrange(Operands(context));
  const RefTensor& x = context.inputs[0];
  for (size_t o = 0; o < context.outputs.size(); ++o) {
    const RefTensor& y = context.outputs[o];
    if (!y) continue;
    for_each_element(maps[o], [&](int64_t to, int64_t from) {
      y.data[to] = from == Rearrangement::kOutside ? maps[o].fill : x.data[from];
    });
  }
}

void rearrange_backward(const RefContext& context, const Arrange& arrange) {
  const RefTensor& dx = context.grad_inputs[0];
  if (!dx) return;
  const std::vector<Rearrangement> maps = arrange(Operands(context));
  for (size_t o = 0; o < context.grad_outputs.size(); ++o) {
    const RefTensor& dy = context.grad_outputs[o];
    if (!dy) continue;
    for_each_element(maps[o], [&](int64_t to, int64_t from) {
      if (from != Rearrangement::kOutside) dx.data[from] += dy.data[to];
    });
  }
}

namespace {

/// Written while the registry is filled, only read after that.
std::map<std::string, Arrange>& arrangements() {
  static std::map<std::string, Arrange> by_layer;
  return by_layer;
}

}  // namespace

const Arrange& arrangement_of(const std::string& layer) {
  const auto found = arrangements().find(layer);
  if (found == arrangements().end()) {
    throw Error(ErrorKind::kInternal, "layer '" + layer + "' does not rearrange");
  }
  return found->second;
}

void remember_arrangement(const std::string& layer, const Arrange& arrange) {
  arrangements()[layer] = arrange;
}

void add_rearranging_layer(Registry& registry, LayerDef layer, const Arrange& arrange) {
  layer.infer = [arrange](const InferContext& context) {
    return infer_rearranged(context, arrange);
  };
  layer.forward = [arrange](const RefContext& context) { rearrange(context, arrange); };
  layer.backward = [arrange](const RefContext& context) { rearrange_backward(context, arrange); };
  const std::string name = layer.name;
  registry.add(std::move(layer));
  add_rearranging_kernels(registry, name, arrange);
}

}  // namespace camlucida::shape
