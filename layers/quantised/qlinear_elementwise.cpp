#include <algorithm>
#include <cmath>

#include "engine/registry.h"
#include "layers/elementwise/broadcast.h"
#include "layers/quantised/qlinear_add.h"

/// Element by element on codes, operators of com.microsoft: QLinearAdd, QLinearMul,
/// QLinearLeakyRelu, QLinearSigmoid, and QLinearConcat.
namespace camlucida {
namespace {

using namespace quantised;

Attributes writing_numbers(const Attributes&) { return QuantisedAttributes{true}; }

bool writes_numbers(const InferContext& context) {
  return context.attributes.as<QuantisedAttributes>().numbers;
}

// ---- Two operands ------------------------------------------------------------------------------

/// y = quantise(a + b) or quantise(a * b). Inputs a, a_scale, a_zero_point, b, b_scale,
/// b_zero_point, y_scale, y_zero_point.
enum class Operation { kAdd, kMultiply };

double number(const RefTensor& x, int64_t i, const Grid& grid) {
  return static_cast<double>(grid.read_centred(x, i)) * static_cast<double>(grid.scale());
}

std::vector<TensorDesc> infer_binary(const InferContext& context) {
  check_codes(context, 0, 2);
  check_codes(context, 3, 5);
  for (const int i : {1, 2, 4, 5, 6, 7}) check_parameter(context, i);
  return {{writes_numbers(context) ? DType::kFloat32 : code_type(context, 7),
           broadcast(context.shape(0), context.shape(3))}};
}

void forward_binary(const RefContext& context, Operation operation) {
  const Grid a_grid = Grid::of(context, 1, 2);
  const Grid b_grid = Grid::of(context, 4, 5);
  const Grid y_grid = Grid::of(context, 6, 7);
  const RefTensor& a = context.inputs[0];
  const RefTensor& b = context.inputs[3];
  const RefTensor& y = context.outputs[0];
  const SumOfCodes sum(a_grid, b_grid, y_grid);
  BroadcastWalk walk(y.shape, {a.shape, b.shape});
  for (int64_t i = 0; i < y.count(); ++i, walk.next()) {
    const int64_t ai = walk.offset(0);
    const int64_t bi = walk.offset(1);
    if (operation == Operation::kAdd) {
      y_grid.write(y, i, sum(a_grid.read(a, ai), b_grid.read(b, bi)));
    } else {
      const double product = number(a, ai, a_grid) * number(b, bi, b_grid);
      y_grid.write(y, i, y_grid.rounded(product / static_cast<double>(y_grid.scale())));
    }
  }
}

void backward_binary(const RefContext& context, Operation operation) {
  const RefTensor& grad_y = context.grad_outputs[0];
  const RefTensor& grad_a = context.grad_inputs[0];
  const RefTensor& grad_b = context.grad_inputs[3];
  if (!grad_y) return;
  const RefTensor& a = context.inputs[0];
  const RefTensor& b = context.inputs[3];
  const std::vector<double> passed =
      passed_gradient(grad_y, context.outputs[0], Grid::of(context, 6, 7));
  const bool multiplies = operation == Operation::kMultiply;
  const Grid a_grid = Grid::of(context, 1, 2);
  const Grid b_grid = Grid::of(context, 4, 5);
  BroadcastWalk walk(grad_y.shape, {a.shape, b.shape});
  for (int64_t i = 0; i < grad_y.count(); ++i, walk.next()) {
    const double gradient = passed[static_cast<size_t>(i)];
    const int64_t ai = walk.offset(0);
    const int64_t bi = walk.offset(1);
    if (grad_a) grad_a[ai] += gradient * (multiplies ? number(b, bi, b_grid) : 1.0);
    if (grad_b) grad_b[bi] += gradient * (multiplies ? number(a, ai, a_grid) : 1.0);
  }
}

LayerDef binary(const char* name, Operation operation) {
  LayerDef layer;
  layer.name = name;
  layer.prototype = QuantisedAttributes{};
  layer.infer = infer_binary;
  layer.forward = [operation](const RefContext& context) { forward_binary(context, operation); };
  layer.backward = [operation](const RefContext& context) { backward_binary(context, operation); };
  layer.saves = {.outputs = true, .factors = operation == Operation::kMultiply};
  layer.codes = [](const Attributes&, int) {
    return CodePorts{.inputs = {port(0, 1, 2), port(3, 4, 5)}, .outputs = {port(0, 6, 7)}};
  };
  layer.writing_numbers = writing_numbers;
  layer.onnx = {{.name = name, .domain = "com.microsoft"}};
  const auto example = [](const char* example_name, bool numbers, ExampleInput a, ExampleInput b) {
    return rounding(
        {example_name,
         QuantisedAttributes{numbers},
         {std::move(a), scale_input({0.03}), zero_input({120}), std::move(b), scale_input({0.011}),
          zero_input({90}), scale_input({0.025}), zero_input({130})}});
  };
  layer.examples = {
      example("codes", false, code_input({2, 3, 5, 7}), code_input({2, 3, 5, 7})),
      example("numbers", true, number_input({2, 19, 5, 7}, -3, 3),
              number_input({2, 19, 5, 7}, -1, 1.5)),
      example("constant_row", true, number_input({3, 10}, -3, 3),
              code_input({10}, DType::kUint8, true)),
      example("per_channel", true, number_input({2, 3, 4, 5}, -3, 3),
              number_input({2, 3, 1, 1}, -1, 1.5)),
      example("codes_and_numbers", false, number_input({2, 7}, -3, 3), code_input({2, 7})),
  };
  return layer;
}

// ---- One operand -------------------------------------------------------------------------------

/// y = quantise(f(x)). Inputs x, x_scale, x_zero_point, y_scale, y_zero_point. f is evaluated on
/// the float32 number of each code.
struct QLinearLeakyReluAttributes {
  double alpha = 0.01;
  bool numbers = false;
  void fields(auto& visit) {
    visit("alpha", alpha);
    visit("numbers", numbers);
  }
};

struct LeakyRelu {
  using Its = QLinearLeakyReluAttributes;
  static constexpr const char* kName = "QLinearLeakyRelu";
  static double value(double x, const Its& a) { return x < 0 ? a.alpha * x : x; }
  static double slope(double x, const Its& a) { return x > 0 ? 1 : a.alpha; }
  static Its read(const NodeSource& node) { return {.alpha = node.number("alpha", 0.01)}; }
};

struct Sigmoid {
  using Its = QuantisedAttributes;
  static constexpr const char* kName = "QLinearSigmoid";
  static double value(double x, const Its&) { return 1 / (1 + std::exp(-x)); }
  static double slope(double x, const Its&) {
    const double y = value(x, {});
    return y * (1 - y);
  }
  static Its read(const NodeSource&) { return {}; }
};

template <class Function>
LayerDef unary() {
  using Its = typename Function::Its;
  LayerDef layer;
  layer.name = Function::kName;
  layer.prototype = Its{};
  layer.infer = [](const InferContext& context) {
    check_codes(context, 0, 2);
    for (const int i : {1, 2, 3, 4}) check_parameter(context, i);
    const bool numbers = context.attributes.as<Its>().numbers;
    return std::vector<TensorDesc>{
        {numbers ? DType::kFloat32 : code_type(context, 4), context.shape(0)}};
  };
  layer.forward = [](const RefContext& context) {
    const Grid x_grid = Grid::of(context, 1, 2);
    const Grid y_grid = Grid::of(context, 3, 4);
    const RefTensor& x = context.inputs[0];
    for (int64_t i = 0; i < x.count(); ++i) {
      const double value =
          Function::value(x_grid.number(x_grid.read(x, i)), context.attributes.as<Its>());
      y_grid.write(context.outputs[0], i, y_grid.code(value));
    }
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& grad_x = context.grad_inputs[0];
    if (!grad_x || !context.grad_outputs[0]) return;
    const Grid x_grid = Grid::of(context, 1, 2);
    const std::vector<double> passed =
        passed_gradient(context.grad_outputs[0], context.outputs[0], Grid::of(context, 3, 4));
    for (int64_t i = 0; i < grad_x.count(); ++i) {
      const double x = x_grid.number(x_grid.read(context.inputs[0], i));
      grad_x[i] +=
          passed[static_cast<size_t>(i)] * Function::slope(x, context.attributes.as<Its>());
    }
  };
  layer.saves = {.inputs = true, .outputs = true};
  layer.codes = [](const Attributes&, int) {
    return CodePorts{.inputs = {port(0, 1, 2)}, .outputs = {port(0, 3, 4)}};
  };
  layer.writing_numbers = [](const Attributes& attributes) {
    Its result = attributes.as<Its>();
    result.numbers = true;
    return Attributes(result);
  };
  layer.onnx = {{.name = Function::kName,
                 .read = [](const NodeSource& node) { return Reading{Function::read(node)}; },
                 .domain = "com.microsoft"}};
  const auto example = [](const char* name, bool numbers, ExampleInput x) {
    Its attributes;
    attributes.numbers = numbers;
    return rounding({name,
                     attributes,
                     {std::move(x), scale_input({0.03}), zero_input({120}), scale_input({0.01}),
                      zero_input({30})}});
  };
  layer.examples = {example("codes", false, code_input({2, 5, 7})),
                    example("numbers", true, number_input({2, 3, 4, 5}, -3, 3))};
  return layer;
}

// ---- Concatenation -----------------------------------------------------------------------------

/// Inputs y_scale, y_zero_point, then x, x_scale, x_zero_point of each part.
struct QLinearConcatAttributes {
  int64_t axis = 1;
  bool numbers = false;
  void fields(auto& visit) {
    visit("axis", axis);
    visit("numbers", numbers);
  }
};

std::vector<TensorDesc> infer_concat(const InferContext& context) {
  const auto& attributes = context.attributes.as<QLinearConcatAttributes>();
  if (context.input_count() < 5 || context.input_count() % 3 != 2) {
    throw Error(ErrorKind::kModel,
                "concatenation of codes with " + std::to_string(context.input_count()) + " inputs",
                "the model file is malformed");
  }
  Shape y = context.shape(2);
  const int axis = normalise_axis(attributes.axis, y.rank());
  y[axis] = 0;
  for (int i = 0; i < context.input_count(); ++i) {
    if (i % 3 != 2) {
      check_parameter(context, i);
      continue;
    }
    check_codes(context, i, i + 2);
    Shape part = context.shape(i);
    if (part.rank() == y.rank()) {
      y[axis] += part[axis];
      part[axis] = y[axis];
    }
    if (part != y) {
      throw Error(ErrorKind::kModel, "part " + context.shape(i).to_string() +
                                         " does not fit the others along axis " +
                                         std::to_string(axis));
    }
  }
  y.count();
  return {{attributes.numbers ? DType::kFloat32 : code_type(context, 1), y}};
}

/// Calls f(input, element of it, element of y) for all parts.
template <class F>
void for_each_part(const RefContext& context, const Shape& y, const F& f) {
  const int axis = normalise_axis(context.attributes.as<QLinearConcatAttributes>().axis, y.rank());
  const int64_t row = y.count(axis, y.rank());
  int64_t first = 0;
  for (size_t part = 2; part < context.inputs.size(); part += 3) {
    const Shape& x = context.inputs[part].shape;
    const int64_t own_row = x.count(axis, x.rank());
    for (int64_t i = 0; i < x.count(); ++i) {
      f(part, i, i / own_row * row + first + i % own_row);
    }
    first += own_row;
  }
}

void forward_concat(const RefContext& context) {
  const Grid y_grid = Grid::of(context, 0, 1);
  std::vector<Grid> grids;
  for (int part = 2; part < static_cast<int>(context.inputs.size()); part += 3) {
    grids.push_back(Grid::of(context, part + 1, part + 2));
  }
  const RefTensor& y = context.outputs[0];
  for_each_part(context, y.shape, [&](size_t part, int64_t xi, int64_t yi) {
    const Grid& grid = grids[part / 3];
    y_grid.write(y, yi, y_grid.code(grid.number(grid.read(context.inputs[part], xi))));
  });
}

void backward_concat(const RefContext& context) {
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_y) return;
  const std::vector<double> passed =
      passed_gradient(grad_y, context.outputs[0], Grid::of(context, 0, 1));
  for_each_part(context, grad_y.shape, [&](size_t part, int64_t xi, int64_t yi) {
    const RefTensor& grad_x = context.grad_inputs[part];
    if (grad_x) grad_x[xi] += passed[static_cast<size_t>(yi)];
  });
}

LayerDef concat() {
  LayerDef layer;
  layer.name = "QLinearConcat";
  layer.variadic = true;
  layer.prototype = QLinearConcatAttributes{};
  layer.infer = infer_concat;
  layer.forward = forward_concat;
  layer.backward = backward_concat;
  layer.saves.outputs = true;
  layer.codes = [](const Attributes&, int inputs) {
    CodePorts ports{.outputs = {port(0, 0, 1)}};
    for (int i = 2; i + 2 < inputs; i += 3) ports.inputs.push_back(port(i, i + 1, i + 2));
    return ports;
  };
  layer.writing_numbers = [](const Attributes& attributes) {
    QLinearConcatAttributes result = attributes.as<QLinearConcatAttributes>();
    result.numbers = true;
    return Attributes(result);
  };
  layer.onnx = {{.name = "QLinearConcat",
                 .read =
                     [](const NodeSource& node) {
                       return Reading{QLinearConcatAttributes{node.integer("axis", 1)}};
                     },
                 .domain = "com.microsoft"}};
  const auto example = [](const char* name, QLinearConcatAttributes attributes, ExampleInput a,
                          ExampleInput b) {
    return rounding({name,
                     attributes,
                     {scale_input({0.025}), zero_input({130}), std::move(a), scale_input({0.03}),
                      zero_input({120}), std::move(b), scale_input({0.011}), zero_input({90})}});
  };
  layer.examples = {
      example("codes", {}, code_input({2, 3, 4}), code_input({2, 5, 4})),
      example("numbers", {.axis = -1, .numbers = true}, number_input({2, 3, 4}, -3, 3),
              number_input({2, 3, 1}, -1, 1.5)),
  };
  return layer;
}

}  // namespace

void register_qlinear_elementwise(Registry& registry) {
  registry.add(binary("QLinearAdd", Operation::kAdd));
  registry.add(binary("QLinearMul", Operation::kMultiply));
  registry.add(unary<LeakyRelu>());
  registry.add(unary<Sigmoid>());
  registry.add(concat());
}

}  // namespace camlucida
