#include "engine/registry.h"
#include "layers/pool/pool.h"
#include "layers/quantised/quantised.h"

/// Averages of codes, operators of com.microsoft: QLinearGlobalAveragePool, QLinearAveragePool.
/// Inputs x, x_scale, x_zero_point, y_scale, y_zero_point.
namespace camlucida {
namespace {

using namespace quantised;

Reading refuse_channels_last(const NodeSource& node, Attributes attributes) {
  if (node.integer("channels_last", 0) != 0) {
    throw node.unsupported("channels_last", "channels first");
  }
  return {.attributes = std::move(attributes)};
}

DType result_type(const InferContext& context, bool numbers) {
  check_codes(context, 0, 2);
  for (const int i : {1, 2, 3, 4}) check_parameter(context, i);
  return numbers ? DType::kFloat32 : code_type(context, 4);
}

CodePorts ports(const Attributes&, int) {
  return {.inputs = {port(0, 1, 2)}, .outputs = {port(0, 3, 4)}};
}

Example pool_example(std::string name, Attributes attributes, ExampleInput x) {
  return rounding({std::move(name),
                   std::move(attributes),
                   {std::move(x), scale_input({0.03}), zero_input({120}), scale_input({0.01}),
                    zero_input({127})}});
}

// ---- The whole map -----------------------------------------------------------------------------

std::vector<TensorDesc> infer_global(const InferContext& context) {
  Shape y = context.shape(0);
  if (y.rank() < 2 || y.count(2, y.rank()) == 0) {
    throw Error(ErrorKind::kModel, "input " + y.to_string() + " has no pixels to pool");
  }
  for (int axis = 2; axis < y.rank(); ++axis) y[axis] = 1;
  return {{result_type(context, context.attributes.as<QuantisedAttributes>().numbers), y}};
}

void forward_global(const RefContext& context) {
  const Grid x_grid = Grid::of(context, 1, 2);
  const Grid y_grid = Grid::of(context, 3, 4);
  const RefTensor& x = context.inputs[0];
  const int64_t size = x.shape.count(2, x.shape.rank());
  const float scale = x_grid.scale() / (y_grid.scale() * static_cast<float>(size));
  for (int64_t p = 0; p < context.outputs[0].count(); ++p) {
    int64_t sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += x_grid.read_centred(x, p * size + i);
    y_grid.write(context.outputs[0], p, y_grid.rounded(static_cast<float>(wrap32(sum)) * scale));
  }
}

void backward_global(const RefContext& context) {
  const RefTensor& grad_x = context.grad_inputs[0];
  if (!grad_x || !context.grad_outputs[0]) return;
  const std::vector<double> passed =
      passed_gradient(context.grad_outputs[0], context.outputs[0], Grid::of(context, 3, 4));
  const int64_t size = grad_x.shape.count(2, grad_x.shape.rank());
  for (int64_t i = 0; i < grad_x.count(); ++i) {
    grad_x[i] += passed[static_cast<size_t>(i / size)] / static_cast<double>(size);
  }
}

LayerDef global_average() {
  LayerDef layer;
  layer.name = "QLinearGlobalAveragePool";
  layer.prototype = QuantisedAttributes{};
  layer.infer = infer_global;
  layer.forward = forward_global;
  layer.backward = backward_global;
  layer.saves.outputs = true;
  layer.codes = ports;
  layer.writing_numbers = [](const Attributes&) { return Attributes(QuantisedAttributes{true}); };
  layer.onnx = {
      {.name = "QLinearGlobalAveragePool",
       .read =
           [](const NodeSource& node) { return refuse_channels_last(node, QuantisedAttributes{}); },
       .domain = "com.microsoft"}};
  const Attributes numbers = QuantisedAttributes{true};
  layer.examples = {
      pool_example("codes", QuantisedAttributes{}, code_input({2, 19, 7, 7})),
      pool_example("numbers", numbers, number_input({2, 5, 3, 11}, -3, 3)),
      pool_example("one_pixel", numbers, number_input({2, 33, 1, 1}, -3, 3)),
  };
  return layer;
}

// ---- A window ----------------------------------------------------------------------------------

struct QLinearAveragePoolAttributes {
  AveragePoolAttributes pool;
  bool numbers = false;
  void fields(auto& visit) {
    pool.fields(visit);
    visit("numbers", numbers);
  }
};

std::vector<TensorDesc> infer_average(const InferContext& context) {
  const auto& attributes = context.attributes.as<QLinearAveragePoolAttributes>();
  const Shape& x = context.shape(0);
  const Window w = pool_window(attributes.pool, x);
  return {{result_type(context, attributes.numbers), w.shape(x[0], x[1], w.output)}};
}

/// Padding counts as the number 0 where it counts.
void forward_average(const RefContext& context) {
  const AveragePoolAttributes& pool = context.attributes.as<QLinearAveragePoolAttributes>().pool;
  const Grid x_grid = Grid::of(context, 1, 2);
  const Grid y_grid = Grid::of(context, 3, 4);
  const RefTensor& x = context.inputs[0];
  const Window w = pool_window(pool, x.shape);
  const double ratio = static_cast<double>(x_grid.scale()) / static_cast<double>(y_grid.scale());
  for (int64_t plane = 0; plane < x.shape[0] * x.shape[1]; ++plane) {
    for_each_output(w, [&](const Window::Extents& at, int64_t o) {
      int64_t sum = 0;
      for_each_tap(w, at, [&](int64_t i, int64_t) {
        sum += x_grid.read_centred(x, plane * w.input_count() + i);
      });
      const int64_t divisor = std::max<int64_t>(1, average_divisor(w, pool.count_include_pad, at));
      const double steps = static_cast<double>(sum) * ratio / static_cast<double>(divisor);
      y_grid.write(context.outputs[0], plane * w.output_count() + o, y_grid.rounded(steps));
    });
  }
}

void backward_average(const RefContext& context) {
  const RefTensor& grad_x = context.grad_inputs[0];
  if (!grad_x || !context.grad_outputs[0]) return;
  const AveragePoolAttributes& pool = context.attributes.as<QLinearAveragePoolAttributes>().pool;
  const std::vector<double> passed =
      passed_gradient(context.grad_outputs[0], context.outputs[0], Grid::of(context, 3, 4));
  const Window w = pool_window(pool, grad_x.shape);
  for (int64_t plane = 0; plane < grad_x.shape[0] * grad_x.shape[1]; ++plane) {
    for_each_output(w, [&](const Window::Extents& at, int64_t o) {
      const int64_t divisor = std::max<int64_t>(1, average_divisor(w, pool.count_include_pad, at));
      const double share =
          passed[static_cast<size_t>(plane * w.output_count() + o)] / static_cast<double>(divisor);
      for_each_tap(w, at,
                   [&](int64_t i, int64_t) { grad_x[plane * w.input_count() + i] += share; });
    });
  }
}

LayerDef average() {
  LayerDef layer;
  layer.name = "QLinearAveragePool";
  layer.prototype = QLinearAveragePoolAttributes{};
  layer.infer = infer_average;
  layer.forward = forward_average;
  layer.backward = backward_average;
  layer.saves.outputs = true;
  layer.codes = ports;
  layer.writing_numbers = [](const Attributes& attributes) {
    QLinearAveragePoolAttributes result = attributes.as<QLinearAveragePoolAttributes>();
    result.numbers = true;
    return Attributes(result);
  };
  layer.onnx = {{.name = "QLinearAveragePool",
                 .read =
                     [](const NodeSource& node) {
                       return refuse_channels_last(
                           node, QLinearAveragePoolAttributes{
                                     {read_window(node), node.integer("ceil_mode", 0) != 0,
                                      node.integer("count_include_pad", 0) != 0}});
                     },
                 .domain = "com.microsoft"}};
  const AveragePoolAttributes padded{{.kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1}}};
  layer.examples = {
      pool_example("codes", QLinearAveragePoolAttributes{padded}, code_input({2, 3, 8, 7})),
      pool_example("numbers", QLinearAveragePoolAttributes{padded, true},
                   number_input({2, 5, 6, 9}, -3, 3)),
      pool_example("padding_counts",
                   QLinearAveragePoolAttributes{{padded.window, true, true}, true},
                   number_input({1, 4, 7, 6}, -3, 3)),
  };
  return layer;
}

}  // namespace

void register_qlinear_pool(Registry& registry) {
  registry.add(global_average());
  registry.add(average());
}

}  // namespace camlucida
