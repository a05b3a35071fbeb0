#include "engine/registry.h"
#include "layers/absorb.h"
#include "layers/linear/linear.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

LinearGeometry geometry(const InferContext& context) {
  return gemm_geometry(context.attributes.as<GemmAttributes>(), context.shape(0), context.shape(1));
}

LinearGeometry geometry(const RefContext& context) {
  return gemm_geometry(context.attributes.as<GemmAttributes>(), context.inputs[0].shape,
                       context.inputs[1].shape);
}

std::vector<TensorDesc> infer(const InferContext& context) {
  const LinearGeometry g = geometry(context);
  const Shape y{g.rows, g.columns};
  if (context.has(2) && broadcast(context.shape(2), y) != y) {
    throw Error(ErrorKind::kModel, "operand C " + context.shape(2).to_string() +
                                       " does not broadcast to " + y.to_string());
  }
  return {{context.dtype(0), y}};
}

/// Element of C that is added at (row, column).
int64_t addend_index(const Shape& c, int64_t row, int64_t column) {
  const int64_t columns = c.rank() == 0 ? 1 : c[c.rank() - 1];
  const int64_t rows = c.rank() < 2 ? 1 : c[0];
  return (rows == 1 ? 0 : row) * columns + (columns == 1 ? 0 : column);
}

/// Calls f(a, b, y), row-major indices of the operands and the result, for every product.
template <class F>
void for_each_product(const LinearGeometry& g, F&& f) {
  for (int64_t r = 0; r < g.rows; ++r) {
    for (int64_t c = 0; c < g.columns; ++c) {
      for (int64_t k = 0; k < g.inner; ++k) {
        f(g.x_transposed ? k * g.rows + r : r * g.inner + k,
          g.weight_transposed ? c * g.inner + k : k * g.columns + c, r * g.columns + c);
      }
    }
  }
}

void forward(const RefContext& context) {
  const LinearGeometry g = geometry(context);
  const RefTensor& a = context.inputs[0];
  const RefTensor& b = context.inputs[1];
  const RefTensor& y = context.outputs[0];
  for (int64_t i = 0; i < y.count(); ++i) y[i] = 0;
  for_each_product(g, [&](int64_t ai, int64_t bi, int64_t yi) { y[yi] += a[ai] * b[bi]; });
  for (int64_t i = 0; i < y.count(); ++i) {
    y[i] *= g.scale;
    if (!context.has(2)) continue;
    const RefTensor& c = context.inputs[2];
    y[i] += g.bias_scale * c[addend_index(c.shape, i / g.columns, i % g.columns)];
  }
}

void backward(const RefContext& context) {
  const LinearGeometry g = geometry(context);
  const RefTensor& grad_y = context.grad_outputs[0];
  const RefTensor& grad_a = context.grad_inputs[0];
  const RefTensor& grad_b = context.grad_inputs[1];
  if (!grad_y) return;
  if (grad_a) {
    const RefTensor& b = context.inputs[1];
    for_each_product(
        g, [&](int64_t ai, int64_t bi, int64_t yi) { grad_a[ai] += g.scale * b[bi] * grad_y[yi]; });
  }
  if (grad_b) {
    const RefTensor& a = context.inputs[0];
    for_each_product(
        g, [&](int64_t ai, int64_t bi, int64_t yi) { grad_b[bi] += g.scale * a[ai] * grad_y[yi]; });
  }
  if (context.grad_inputs.size() > 2 && context.grad_inputs[2]) {
    const RefTensor& grad_c = context.grad_inputs[2];
    for (int64_t i = 0; i < grad_y.count(); ++i) {
      grad_c[addend_index(grad_c.shape, i / g.columns, i % g.columns)] += g.bias_scale * grad_y[i];
    }
  }
}

/// Without the addend, in both rules.
void relevance(const RefContext& context) {
  const LinearGeometry g = geometry(context);
  relevance_of_products(context, g.scale, no_offset, [&](auto&& f) { for_each_product(g, f); });
}

/// C as one value per column; nullopt if it is not constant or differs from row to row. Absent: 0.
std::optional<std::vector<double>> column_addends(const InferContext& context,
                                                  const LinearGeometry& g) {
  std::vector<double> result(static_cast<size_t>(g.columns), 0.0);
  if (!context.has(2)) return result;
  const Shape& shape = context.shape(2);
  if (context.constant(2) == nullptr || (shape.rank() == 2 && shape[0] != 1)) return std::nullopt;
  const std::vector<double> values = context.constant(2)->to_doubles();
  for (int64_t c = 0; c < g.columns; ++c) {
    result[static_cast<size_t>(c)] = values[static_cast<size_t>(addend_index(shape, 0, c))];
  }
  return result;
}

/// s (alpha A B + beta C) + t = alpha A (s B) + beta (s C + t / beta), column by column.
std::optional<std::vector<Tensor>> absorb(const InferContext& context, const ChannelAffine& map) {
  const LinearGeometry g = geometry(context);
  std::optional<std::vector<double>> addend = column_addends(context, g);
  if (!addend || context.constant(1) == nullptr || g.bias_scale == 0) return std::nullopt;
  std::vector<double> b = context.constant(1)->to_doubles();
  for (int64_t i = 0; i < static_cast<int64_t>(b.size()); ++i) {
    const int64_t column = g.weight_transposed ? i / g.inner : i % g.columns;
    b[static_cast<size_t>(i)] *= map.scale[static_cast<size_t>(column)];
  }
  for (size_t c = 0; c < addend->size(); ++c) {
    (*addend)[c] = map.scale[c] * (*addend)[c] + map.shift[c] / g.bias_scale;
  }
  return absorbed_inputs(context.shape(1), b, *addend);
}

std::optional<HeadPart> head(const InferContext& context) {
  const LinearGeometry g = geometry(context);
  const std::optional<std::vector<double>> addend = column_addends(context, g);
  if (!addend || context.constant(1) == nullptr || g.x_transposed) return std::nullopt;
  const Tensor& b = *context.constant(1);
  HeadPart part{HeadPart::Kind::kLinear, {}, {}};
  if (g.weight_transposed && g.scale == 1.0) {
    part.weight = b.cast(DType::kFloat32);
  } else {
    const std::vector<double> values = b.to_doubles();
    part.weight = Tensor(Shape{g.columns, g.inner});
    float* weight = part.weight.floats();
    for (int64_t c = 0; c < g.columns; ++c) {
      for (int64_t k = 0; k < g.inner; ++k) {
        const int64_t from = g.weight_transposed ? c * g.inner + k : k * g.columns + c;
        weight[c * g.inner + k] = static_cast<float>(g.scale * values[static_cast<size_t>(from)]);
      }
    }
  }
  if (context.has(2)) {
    std::vector<double> bias = *addend;
    for (double& value : bias) value *= g.bias_scale;
    part.bias = Tensor(Shape{g.columns});
    from_double(DType::kFloat32, bias.data(), part.bias.raw(), part.bias.count());
  }
  return part;
}

/// Up to opset 6 an attribute `broadcast` allowed C to be smaller; what it allowed is what numpy's
/// rule gives, so it needs no reading.
Reading read(const NodeSource& source) {
  return {.attributes =
              GemmAttributes{source.number("alpha", 1), source.number("beta", 1),
                             source.integer("transA", 0) != 0, source.integer("transB", 0) != 0}};
}

ExampleInput weights(Shape shape) { return {.shape = std::move(shape), .constant = true}; }

std::vector<Example> examples() {
  return {
      {"classifier",
       GemmAttributes{.trans_b = true},
       {{{3, 37}}, weights({11, 37}), weights({11})}},
      {"classifier_one_picture",
       GemmAttributes{.trans_b = true},
       {{{1, 129}}, weights({17, 129}), weights({17})}},
      {"no_addend", GemmAttributes{}, {{{2, 7}}, weights({7, 5})}},
      {"scaled", GemmAttributes{0.5, -2.0}, {{{4, 9}}, weights({9, 6}), weights({1, 6})}},
      {"scalar_addend", GemmAttributes{}, {{{2, 3}}, weights({3, 5}), weights({})}},
      {"single_output",
       GemmAttributes{.trans_b = true},
       {{{5, 33}}, weights({1, 33}), weights({1})}},
      {.name = "addend_per_row",
       .attributes = GemmAttributes{},
       .inputs = {{{3, 4}}, weights({4, 6}), weights({3, 1})},
       .batched = false},
      {.name = "transposed_a",
       .attributes = GemmAttributes{1.5, 1.0, true, false},
       .inputs = {{{5, 3}}, weights({5, 4}), weights({3, 4})},
       .batched = false},
      {.name = "all_computed_at_run_time",
       .attributes = GemmAttributes{0.75, 0.5, true, true},
       .inputs = {{{6, 4}}, {{3, 6}}, {{3}}},
       .batched = false},
      {.name = "all_computed_at_run_time_plain",
       .attributes = GemmAttributes{},
       .inputs = {{{4, 6}}, {{6, 3}}, {{4, 1}}},
       .batched = false},
  };
}

}  // namespace

void register_gemm(Registry& registry) {
  LayerDef layer;
  layer.name = "Gemm";
  layer.prototype = GemmAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves.factors = true;
  set_relevance(layer, relevance, {"relevance_by_sign"});
  layer.multiply_adds = [](const InferContext& context, const std::vector<TensorDesc>&) {
    const LinearGeometry g = geometry(context);
    return g.rows * g.inner * g.columns;
  };
  layer.epilogue = EpilogueRole::kHost;
  layer.absorb = absorb;
  layer.head = head;
  layer.onnx = {{.name = "Gemm", .read = read}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
