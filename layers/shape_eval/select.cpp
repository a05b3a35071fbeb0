#include <algorithm>
#include <numeric>

#include "engine/registry.h"
#include "layers/shape/examples.h"

/// Choosing elements by their values: NonZero, Compress, TopK. How many NonZero and Compress find
/// is the shape of their result, so they need constants.
namespace camlucida {
namespace {

using shape::constant_ints;
using shape::no_gradient;
using shape::whole_batch;

// ---- NonZero -----------------------------------------------------------------------------------

LayerDef non_zero() {
  LayerDef layer;
  layer.name = "NonZero";
  layer.infer = [](const InferContext& context) {
    const std::vector<double> x = context.doubles_or(0, "which elements are not zero", {});
    const auto zeros = static_cast<int64_t>(std::count(x.begin(), x.end(), 0.0));
    const Shape found = {context.shape(0).rank(), static_cast<int64_t>(x.size()) - zeros};
    return std::vector<TensorDesc>{{DType::kInt64, found}};
  };
  layer.forward = [](const RefContext& context) {
    const RefTensor& x = context.inputs[0];
    const RefTensor& y = context.outputs[0];
    const std::vector<int64_t> strides = x.shape.strides();
    int64_t found = 0;
    for (int64_t i = 0; i < x.count(); ++i) {
      if (x.data[i] == 0.0) continue;
      for (int axis = 0; axis < x.shape.rank(); ++axis) {
        y.data[axis * y.shape[1] + found] =
            static_cast<double>(i / strides[static_cast<size_t>(axis)] % x.shape[axis]);
      }
      ++found;
    }
  };
  layer.onnx = {{.name = "NonZero", .first_opset = 9}};
  layer.examples = {
      {"matrix", {}, {{.shape = {2, 3}, .constant = true, .values = {1, 0, 2, 0, 0, -3}}}},
      {"none", {}, {{.shape = {4}, .constant = true, .values = {0, 0, 0, 0}}}},
      {"mask", {}, {{{2, 2, 2}, DType::kBool, true, 0, 0, {1, 0, 0, 1, 1, 1, 0, 0}}}},
  };
  for (Example& example : layer.examples) example = whole_batch(no_gradient(example));
  return layer;
}

// ---- Compress ----------------------------------------------------------------------------------

struct CompressAttributes {
  bool flat = true;  ///< the data counts as a vector
  int64_t axis = 0;  ///< else: slices along this axis are kept or dropped
  void fields(auto& visit) {
    visit("flat", flat);
    visit("axis", axis);
  }
};

/// The data as [outer, extent, inner], of which the condition keeps some of the extent.
struct Compression {
  int64_t outer = 1, extent = 1, inner = 1;
  int axis = 0;

  Compression(const CompressAttributes& attributes, const Shape& x) {
    extent = x.count();
    if (attributes.flat) return;
    axis = normalise_axis(attributes.axis, x.rank());
    outer = x.count(0, axis);
    extent = x[axis];
    inner = x.count(axis + 1, x.rank());
  }
};

/// Calls visit(offset in the output, offset in the data) for every kept element.
template <class Visit>
void for_each_kept(const RefContext& context, const Visit& visit) {
  const RefTensor& keep = context.inputs[1];
  const Compression c(context.attributes.as<CompressAttributes>(), context.inputs[0].shape);
  int64_t to = 0;
  for (int64_t o = 0; o < c.outer; ++o) {
    for (int64_t e = 0; e < std::min(c.extent, keep.count()); ++e) {
      if (keep.data[e] == 0.0) continue;
      for (int64_t i = 0; i < c.inner; ++i) visit(to++, (o * c.extent + e) * c.inner + i);
    }
  }
}

LayerDef compress() {
  LayerDef layer;
  layer.name = "Compress";
  layer.prototype = CompressAttributes{};
  layer.infer = [](const InferContext& context) {
    const auto& attributes = context.attributes.as<CompressAttributes>();
    const Compression c(attributes, context.shape(0));
    const std::vector<int64_t> keep = context.ints(1, "what a compression keeps");
    const auto usable = std::min<int64_t>(c.extent, static_cast<int64_t>(keep.size()));
    const int64_t kept = usable - std::count(keep.begin(), keep.begin() + usable, 0);
    Shape shape = attributes.flat ? Shape{kept} : context.shape(0);
    if (!attributes.flat) shape[c.axis] = kept;
    return std::vector<TensorDesc>{{context.dtype(0), shape}};
  };
  layer.forward = [](const RefContext& context) {
    for_each_kept(context, [&](int64_t to, int64_t from) {
      context.outputs[0].data[to] = context.inputs[0].data[from];
    });
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    if (!dx || !dy) return;
    for_each_kept(context, [&](int64_t to, int64_t from) { dx.data[from] += dy.data[to]; });
  };
  layer.onnx = {{.name = "Compress", .first_opset = 9, .read = [](const NodeSource& node) {
                   return Reading{CompressAttributes{!node.has("axis"), node.integer("axis", 0)}};
                 }}};
  const auto example = [](std::string name, CompressAttributes attributes, Shape x,
                          std::vector<double> keep) {
    const auto count = static_cast<int64_t>(keep.size());
    return whole_batch({std::move(name),
                        attributes,
                        {{std::move(x)}, {{count}, DType::kBool, true, 0, 0, std::move(keep)}}});
  };
  layer.examples = {
      example("rows", {false, 0}, {3, 2}, {0, 1, 1}),
      example("columns", {false, -1}, {3, 2, 4}, {1, 0, 0, 1}),
      example("flat", {}, {3, 2}, {0, 1, 0, 0, 1}),
      example("short_condition", {false, 1}, {2, 5}, {1, 1}),
  };
  return layer;
}

// ---- TopK --------------------------------------------------------------------------------------

struct TopKAttributes {
  int64_t axis = -1;
  bool largest = true;
  void fields(auto& visit) {
    visit("axis", axis);
    visit("largest", largest);
  }
};

int64_t top_k_count(const InferContext& context) {
  const std::vector<int64_t> k = context.ints(1, "how many elements to pick");
  const Shape& x = context.shape(0);
  const int axis = normalise_axis(context.attributes.as<TopKAttributes>().axis, x.rank());
  if (k.size() != 1 || k[0] < 0 || k[0] > x[axis]) {
    throw Error(ErrorKind::kModel, "cannot pick that many elements of " + x.to_string());
  }
  return k[0];
}

/// Calls visit(offset in the outputs, offset in the data, index along the axis) for every picked
/// element. Sorted, best first; equal elements in the order of their index.
template <class Visit>
void for_each_best(const RefContext& context, int64_t count, const Visit& visit) {
  const auto& attributes = context.attributes.as<TopKAttributes>();
  const RefTensor& x = context.inputs[0];
  const int axis = normalise_axis(attributes.axis, x.shape.rank());
  const int64_t extent = x.shape[axis];
  const int64_t inner = x.shape.count(axis + 1, x.shape.rank());
  const int64_t outer = x.shape.count(0, axis);
  std::vector<int64_t> order(static_cast<size_t>(extent));
  for (int64_t row = 0; row < outer * inner; ++row) {
    const int64_t start = row / inner * extent * inner + row % inner;
    const auto better = [&](int64_t a, int64_t b) {
      const double left = x.data[start + a * inner];
      const double right = x.data[start + b * inner];
      return left != right ? (left > right) == attributes.largest : a < b;
    };
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + count, order.end(), better);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t picked = order[static_cast<size_t>(k)];
      visit(row / inner * count * inner + k * inner + row % inner, start + picked * inner, picked);
    }
  }
}

/// Inputs: data, k. Outputs: values, indices.
LayerDef top_k() {
  LayerDef layer;
  layer.name = "TopK";
  layer.prototype = TopKAttributes{};
  layer.saves.inputs = true;
  layer.infer = [](const InferContext& context) {
    Shape shape = context.shape(0);
    shape[normalise_axis(context.attributes.as<TopKAttributes>().axis, shape.rank())] =
        top_k_count(context);
    std::vector<TensorDesc> outputs = {{context.dtype(0), shape}, {DType::kInt64, shape}};
    outputs.resize(static_cast<size_t>(std::min(context.output_count, 2)));
    return outputs;
  };
  layer.forward = [](const RefContext& context) {
    const auto count = static_cast<int64_t>(context.inputs[1].data[0]);
    for_each_best(context, count, [&](int64_t to, int64_t from, int64_t index) {
      if (context.outputs[0]) context.outputs[0].data[to] = context.inputs[0].data[from];
      if (context.outputs.size() > 1 && context.outputs[1]) {
        context.outputs[1].data[to] = static_cast<double>(index);
      }
    });
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    if (!dx || !dy) return;
    const auto count = static_cast<int64_t>(context.inputs[1].data[0]);
    for_each_best(context, count,
                  [&](int64_t to, int64_t from, int64_t) { dx.data[from] += dy.data[to]; });
  };
  const auto read_attributes = [](const NodeSource& node) {
    return TopKAttributes{node.integer("axis", -1), node.integer("largest", 1) != 0};
  };
  layer.onnx = {
      {.name = "TopK",
       .first_opset = 1,
       .last_opset = 9,
       .read =
           [read_attributes](const NodeSource& node) {
             Reading reading{read_attributes(node)};
             reading.inputs = {InputRef(0), InputRef(Tensor::from_ints({node.integer("k", 1)}))};
             return reading;
           }},
      {.name = "TopK",
       .first_opset = 10,
       .read =
           [read_attributes](const NodeSource& node) { return Reading{read_attributes(node)}; }},
  };
  layer.examples = {
      {"largest", TopKAttributes{}, {{{2, 9}}, constant_ints({3})}, 2},
      {"smallest", TopKAttributes{-1, false}, {{{2, 9}}, constant_ints({4})}, 2},
      {"channels", TopKAttributes{1, true}, {{{2, 5, 3, 2}}, constant_ints({2})}, 2},
      {"all", TopKAttributes{-1, true}, {{{3, 4}}, constant_ints({4})}, 2},
      no_gradient({"ties",
                   TopKAttributes{},
                   {{.shape = {1, 5}, .values = {1, 3, 3, 2, 3}}, constant_ints({2})},
                   2}),
  };
  return layer;
}

}  // namespace

void register_select(Registry& registry) {
  registry.add(non_zero());
  registry.add(compress());
  registry.add(top_k());
}

}  // namespace camlucida
