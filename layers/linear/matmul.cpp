#include "engine/registry.h"
#include "layers/absorb.h"
#include "layers/linear/linear.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

std::vector<TensorDesc> infer(const InferContext& context) {
  const MatMulGeometry g = matmul_geometry(context.shape(0), context.shape(1));
  if (context.has(2) && context.shape(2) != Shape{g.columns}) {
    throw Error(ErrorKind::kModel, "bias " + context.shape(2).to_string() + " does not fit " +
                                       std::to_string(g.columns) + " columns");
  }
  return {{context.dtype(0), g.output}};
}

/// Calls f(a, b, y), row-major indices of the operands and the result, for every product.
template <class F>
void for_each_product(const MatMulGeometry& g, F&& f) {
  for (int64_t i = 0; i < g.batch(); ++i) {
    const int64_t a = g.a_offsets[static_cast<size_t>(i)];
    const int64_t b = g.b_offsets[static_cast<size_t>(i)];
    for (int64_t r = 0; r < g.rows; ++r) {
      for (int64_t c = 0; c < g.columns; ++c) {
        for (int64_t k = 0; k < g.inner; ++k) {
          f(a + r * g.inner + k, b + k * g.columns + c, (i * g.rows + r) * g.columns + c);
        }
      }
    }
  }
}

void forward(const RefContext& context) {
  const RefTensor& a = context.inputs[0];
  const RefTensor& b = context.inputs[1];
  const RefTensor& y = context.outputs[0];
  const MatMulGeometry g = matmul_geometry(a.shape, b.shape);
  for (int64_t i = 0; i < y.count(); ++i)
    y[i] = context.has(2) ? context.inputs[2][i % g.columns] : 0;
  for_each_product(g, [&](int64_t ai, int64_t bi, int64_t yi) { y[yi] += a[ai] * b[bi]; });
}

void backward(const RefContext& context) {
  const RefTensor& a = context.inputs[0];
  const RefTensor& b = context.inputs[1];
  const RefTensor& grad_y = context.grad_outputs[0];
  const RefTensor& grad_a = context.grad_inputs[0];
  const RefTensor& grad_b = context.grad_inputs[1];
  const MatMulGeometry g = matmul_geometry(a.shape, b.shape);
  if (!grad_y) return;
  if (grad_a) {
    for_each_product(g,
                     [&](int64_t ai, int64_t bi, int64_t yi) { grad_a[ai] += b[bi] * grad_y[yi]; });
  }
  if (grad_b) {
    for_each_product(g,
                     [&](int64_t ai, int64_t bi, int64_t yi) { grad_b[bi] += a[ai] * grad_y[yi]; });
  }
  if (context.grad_inputs.size() > 2 && context.grad_inputs[2]) {
    for (int64_t i = 0; i < grad_y.count(); ++i) {
      context.grad_inputs[2][i % g.columns] += grad_y[i];
    }
  }
}

/// All of it to A, also where B is computed; without the bias, in both rules.
void relevance(const RefContext& context) {
  const MatMulGeometry g = matmul_geometry(context.inputs[0].shape, context.inputs[1].shape);
  relevance_of_products(context, 1.0, no_offset, [&](auto&& f) { for_each_product(g, f); });
}

/// The layer as x [rows, inner] times a constant matrix plus an optional constant bias.
bool is_constant_linear(const InferContext& context) {
  return context.shape(0).rank() == 2 && context.shape(1).rank() == 2 &&
         has_constant_parameters(context);
}

std::optional<std::vector<Tensor>> absorb(const InferContext& context, const ChannelAffine& map) {
  if (!is_constant_linear(context)) return std::nullopt;
  std::vector<double> weight = context.constant(1)->to_doubles();
  for (size_t i = 0; i < weight.size(); ++i) weight[i] *= map.scale[i % map.scale.size()];
  return absorbed_inputs(context.shape(1), weight, absorbed_bias(context, map));
}

std::optional<HeadPart> head(const InferContext& context) {
  if (!is_constant_linear(context)) return std::nullopt;
  const int64_t inner = context.shape(1)[0];
  const int64_t columns = context.shape(1)[1];
  const std::vector<double> b = context.constant(1)->to_doubles();
  HeadPart part{HeadPart::Kind::kLinear, Tensor(Shape{columns, inner}), Tensor()};
  float* weight = part.weight.floats();
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t k = 0; k < inner; ++k) {
      weight[c * inner + k] = static_cast<float>(b[static_cast<size_t>(k * columns + c)]);
    }
  }
  if (context.has(2)) part.bias = context.constant(2)->cast(DType::kFloat32);
  return part;
}

ExampleInput weights(Shape shape) { return {.shape = std::move(shape), .constant = true}; }

std::vector<Example> examples() {
  const Attributes none;
  return {
      {"classifier", none, {{{3, 37}}, weights({37, 11})}},
      {"classifier_with_bias", none, {{{2, 65}}, weights({65, 19}), weights({19})}},
      {"tokens", none, {{{2, 5, 7}}, weights({7, 9})}},
      {"maps_with_bias", none, {{{2, 3, 4, 6}}, weights({6, 17}), weights({17})}},
      {"weight_per_batch_entry", none, {{{2, 3, 4, 5}}, weights({3, 5, 6})}},
      {"attention_scores", none, {{{2, 3, 4, 5}}, {{2, 3, 5, 4}}}},
      {.name = "broadcast_both",
       .attributes = none,
       .inputs = {{{3, 1, 2, 4}}, {{5, 4, 3}}},
       .batched = false},
      {.name = "broadcast_a_matrix",
       .attributes = none,
       .inputs = {{{2, 4}}, {{3, 4, 5}}},
       .batched = false},
      {.name = "vector_times_matrix",
       .attributes = none,
       .inputs = {{{7}}, weights({7, 5})},
       .batched = false},
      {"matrix_times_vector", none, {{{3, 7}}, weights({7})}},
      {.name = "vector_times_vector",
       .attributes = none,
       .inputs = {{{6}}, {{6}}},
       .batched = false},
      {.name = "vector_times_matrices",
       .attributes = none,
       .inputs = {{{4}}, {{3, 4, 2}}},
       .batched = false},
  };
}

}  // namespace

void register_matmul(Registry& registry) {
  LayerDef layer;
  layer.name = "MatMul";
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves.factors = true;
  set_relevance(layer, relevance, {"relevance_by_sign"});
  layer.multiply_adds = [](const InferContext& context, const std::vector<TensorDesc>&) {
    const MatMulGeometry g = matmul_geometry(context.shape(0), context.shape(1));
    return g.batch() * g.rows * g.inner * g.columns;
  };
  layer.epilogue = EpilogueRole::kHost;
  layer.absorb = absorb;
  layer.head = head;
  layer.onnx = {{.name = "MatMul"}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
