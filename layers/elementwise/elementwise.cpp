/// Element-wise operations on two or more operands with numpy's broadcasting.
#include <algorithm>
#include <cmath>

#include "engine/registry.h"
#include "layers/elementwise/broadcast.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

/// One operation of two operands; a row of the table below.
struct BinaryOperation {
  const char* name;
  double (*value)(double a, double b, bool integer);
  /// Partial derivatives; null if the result is piecewise constant.
  double (*by_a)(double a, double b) = nullptr;
  double (*by_b)(double a, double b) = nullptr;
  bool saves_inputs = true;
  bool boolean = false;  ///< the result is a truth value
  bool variadic = false;
  int first_opset = 1;
  double low_b = 0.3;  ///< range of the second operand in examples
  DType example_type = DType::kFloat32;
};

double maximum(double a, double b, bool) { return std::isnan(a) || a >= b ? a : b; }
double minimum(double a, double b, bool) { return std::isnan(a) || a <= b ? a : b; }
/// Share of `a` in the gradient of an extreme; ties share evenly.
double above(double a, double b) { return a > b ? 1 : a == b ? 0.5 : 0; }

double divide(double a, double b, bool integer) { return integer ? std::trunc(a / b) : a / b; }
double power(double a, double b, bool integer) {
  return integer ? std::trunc(std::pow(a, b)) : std::pow(a, b);
}

const BinaryOperation kOperations[] = {
    {.name = "Add",
     .value = [](double a, double b, bool) { return a + b; },
     .by_a = [](double, double) { return 1.0; },
     .by_b = [](double, double) { return 1.0; },
     .saves_inputs = false},
    {.name = "Sub",
     .value = [](double a, double b, bool) { return a - b; },
     .by_a = [](double, double) { return 1.0; },
     .by_b = [](double, double) { return -1.0; },
     .saves_inputs = false},
    {.name = "Mul",
     .value = [](double a, double b, bool) { return a * b; },
     .by_a = [](double, double b) { return b; },
     .by_b = [](double a, double) { return a; }},
    {.name = "Div",  // of integers: truncates
     .value = divide,
     .by_a = [](double, double b) { return 1 / b; },
     .by_b = [](double a, double b) { return -a / (b * b); }},
    {.name = "Pow",
     .value = power,
     .by_a = [](double a, double b) { return b == 0 ? 0 : b * std::pow(a, b - 1); },
     .by_b = [](double a, double b) { return std::pow(a, b) * std::log(a); }},
    {.name = "Max",
     .value = maximum,
     .by_a = [](double a, double b) { return above(a, b); },
     .by_b = [](double a, double b) { return above(b, a); },
     .variadic = true,
     .low_b = -1},
    {.name = "Min",
     .value = minimum,
     .by_a = [](double a, double b) { return above(b, a); },
     .by_b = [](double a, double b) { return above(a, b); },
     .variadic = true,
     .low_b = -1},
    {.name = "And",
     .value = [](double a, double b, bool) { return a != 0 && b != 0 ? 1.0 : 0.0; },
     .boolean = true,
     .example_type = DType::kBool},
    {.name = "Or",
     .value = [](double a, double b, bool) { return a != 0 || b != 0 ? 1.0 : 0.0; },
     .boolean = true,
     .example_type = DType::kBool},
    {.name = "Xor",
     .value = [](double a, double b, bool) { return (a != 0) != (b != 0) ? 1.0 : 0.0; },
     .boolean = true,
     .example_type = DType::kBool},
    {.name = "Equal",
     .value = [](double a, double b, bool) { return a == b ? 1.0 : 0.0; },
     .boolean = true,
     .example_type = DType::kInt64},
    {.name = "Less",
     .value = [](double a, double b, bool) { return a < b ? 1.0 : 0.0; },
     .boolean = true},
    {.name = "LessOrEqual",
     .value = [](double a, double b, bool) { return a <= b ? 1.0 : 0.0; },
     .boolean = true,
     .first_opset = 12},
    {.name = "Greater",
     .value = [](double a, double b, bool) { return a > b ? 1.0 : 0.0; },
     .boolean = true},
    {.name = "GreaterOrEqual",
     .value = [](double a, double b, bool) { return a >= b ? 1.0 : 0.0; },
     .boolean = true,
     .first_opset = 12},
};

// ---- Shapes ------------------------------------------------------------------------------------

/// Operand shapes as numpy's rule takes them.
std::vector<Shape> operands_of(const Attributes& attributes, std::vector<Shape> shapes) {
  if (shapes.size() == 2) {
    shapes[1] = attributes.as<BinaryAttributes>().aligned(shapes[1], shapes[0]);
  }
  return shapes;
}

std::vector<Shape> operands_of(const RefContext& context) {
  std::vector<Shape> shapes;
  for (const RefTensor& input : context.inputs) shapes.push_back(input.shape);
  return operands_of(context.attributes, std::move(shapes));
}

std::vector<Shape> operands_of(const InferContext& context) {
  std::vector<Shape> shapes;
  for (int i = 0; i < context.input_count(); ++i) shapes.push_back(context.shape(i));
  return operands_of(context.attributes, std::move(shapes));
}

std::vector<TensorDesc> infer(const InferContext& context, bool boolean) {
  TensorDesc result = context.input(0);
  for (const Shape& shape : operands_of(context)) result.shape = broadcast(result.shape, shape);
  if (boolean) result.dtype = DType::kBool;
  return {result};
}

// ---- Reference functions -----------------------------------------------------------------------

/// y = (x0 op x1) op x2 ...
void forward(const RefContext& context, const BinaryOperation& operation) {
  const RefTensor& y = context.outputs[0];
  const bool integer = !is_floating(context.inputs[0].dtype);
  BroadcastWalk walk(y.shape, operands_of(context));
  for (int64_t i = 0; i < y.count(); ++i, walk.next()) {
    double result = context.inputs[0][walk.offset(0)];
    for (size_t k = 1; k < context.inputs.size(); ++k) {
      result = operation.value(result, context.inputs[k][walk.offset(k)], integer);
    }
    y[i] = result;
  }
}

void backward(const RefContext& context, const BinaryOperation& operation) {
  const RefTensor& dy = context.grad_outputs[0];
  if (!dy) return;
  const size_t count = context.inputs.size();
  BroadcastWalk walk(dy.shape, operands_of(context));
  std::vector<double> prefix(count);  // result of the first k + 1 operands
  for (int64_t i = 0; i < dy.count(); ++i, walk.next()) {
    const auto x = [&](size_t k) {
      return context.inputs[k] ? context.inputs[k][walk.offset(k)] : 0.0;
    };
    prefix[0] = x(0);
    for (size_t k = 1; k < count; ++k) prefix[k] = operation.value(prefix[k - 1], x(k), false);
    double gradient = dy[i];
    for (size_t k = count; k-- > 0;) {
      const double own = k > 0 ? operation.by_b(prefix[k - 1], x(k)) : 1.0;
      if (context.grad_inputs[k]) context.grad_inputs[k][walk.offset(k)] += gradient * own;
      if (k > 0) gradient *= operation.by_a(prefix[k - 1], x(k));
    }
  }
}

// ---- Relevance ---------------------------------------------------------------------------------

/// Operands that are data; a constant beside them is a bias or a scale and takes no relevance.
size_t data_operands(const RefContext& context) {
  return static_cast<size_t>(std::count_if(context.inputs.begin(), context.inputs.end(),
                                           [](const RefTensor& x) { return !x.constant; }));
}

/// Calls f(k, element of operand k, element of y) for all of them.
template <class F>
void for_each_data_operand(const RefContext& context, const Shape& y, const F& f) {
  BroadcastWalk walk(y, operands_of(context));
  for (int64_t i = 0; i < y.count(); ++i, walk.next()) {
    for (size_t k = 0; k < context.inputs.size(); ++k) {
      if (!context.inputs[k].constant) f(k, walk.offset(k), i);
    }
  }
}

/// y = sum of sign[k] x[k]: each operand takes the share of its term, R[k] = R sign[k] x[k] / y,
/// and a single one takes all.
void relevance_of_sum(const RefContext& context, bool subtract) {
  const RefTensor& from = context.grad_outputs[0];
  if (!from) return;
  const auto term = [&](size_t k, int64_t i) {
    return subtract && k == 1 ? -context.inputs[k][i] : context.inputs[k][i];
  };
  std::vector<double> total(static_cast<size_t>(from.count()), 0.0);
  for_each_data_operand(context, from.shape, [&](size_t k, int64_t x, int64_t y) {
    total[static_cast<size_t>(y)] += term(k, x);
  });
  const bool single = data_operands(context) == 1;
  for_each_data_operand(context, from.shape, [&](size_t k, int64_t x, int64_t y) {
    const RefTensor& to = context.grad_inputs[k];
    if (!to) return;
    const double sum = total[static_cast<size_t>(y)];
    to[x] += single ? from[y] : term(k, x) * relevance_share(from[y], sum);
  });
}

/// The factors of a product take equal parts (their Shapley values against zeros); of a quotient
/// the numerator takes all, of a power the base (`first_only`).
void relevance_of_product(const RefContext& context, bool first_only) {
  const RefTensor& from = context.grad_outputs[0];
  if (!from) return;
  const size_t operands = data_operands(context);
  const double part = first_only ? 1.0 : 1.0 / static_cast<double>(operands);
  for_each_data_operand(context, from.shape, [&](size_t k, int64_t x, int64_t y) {
    const bool left_out = first_only && k == 1 && operands == 2;
    if (context.grad_inputs[k] && !left_out) context.grad_inputs[k][x] += part * from[y];
  });
}

// ---- The same operation as a map of one operand ------------------------------------------------

/// Values of constant operand `k` for each of the C channels (axis 1) of the other operand, or
/// nothing if it varies along another axis.
std::optional<std::vector<double>> per_channel(const InferContext& context, int k) {
  const Tensor* constant = context.constant(k);
  if (constant == nullptr || context.input_count() != 2) return {};
  const Shape& data = context.shape(1 - k);
  if (data.rank() < 2 || data[1] == Shape::kUnknown) return {};
  const Shape shape = operands_of(context)[static_cast<size_t>(k)];
  const int missing = data.rank() - shape.rank();
  if (missing < 0) return {};
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool channels = axis + missing == 1 && shape[axis] == data[1];
    if (shape[axis] != 1 && !channels) return {};
  }
  std::vector<double> values = constant->to_doubles();
  if (values.size() == 1) values.resize(static_cast<size_t>(data[1]), values[0]);
  return values;
}

/// Add, Sub, Mul or Div with one constant operand.
std::optional<ChannelAffine> channel_affine(const InferContext& context, const std::string& name) {
  if (context.input_count() != 2) return {};
  const int k = context.constant(1) != nullptr ? 1 : 0;
  if (context.dtype(1 - k) != DType::kFloat32) return {};
  const auto constant = per_channel(context, k);
  if (!constant || (name == "Div" && k == 0)) return {};
  const size_t channels = constant->size();
  ChannelAffine affine{std::vector<double>(channels, 1), std::vector<double>(channels, 0)};
  for (size_t c = 0; c < channels; ++c) {
    const double value = (*constant)[c];
    if (name == "Mul") affine.scale[c] = value;
    if (name == "Div") affine.scale[c] = 1 / value;
    if (name == "Add") affine.shift[c] = value;
    if (name == "Sub") affine.shift[c] = k == 1 ? -value : value;
    if (name == "Sub" && k == 0) affine.scale[c] = -1;
  }
  return affine;
}

void power_of(const float* x, float* y, int64_t count, const float* p) {
  if (p[0] == 2) {
    for (int64_t i = 0; i < count; ++i) y[i] = x[i] * x[i];
  } else if (p[0] == 0.5f) {
    for (int64_t i = 0; i < count; ++i) y[i] = std::sqrt(x[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      y[i] = static_cast<float>(std::pow(double{x[i]}, double{p[0]}));
    }
  }
}

void power_gradient(const float* dy, const float* x, float* dx, int64_t count, const float* p) {
  if (p[0] == 2) {
    for (int64_t i = 0; i < count; ++i) dx[i] = dy[i] * (2 * x[i]);
  } else {
    const double exponent = p[0];
    for (int64_t i = 0; i < count; ++i) {
      const double slope = exponent == 0 ? 0 : exponent * std::pow(double{x[i]}, exponent - 1);
      dx[i] = static_cast<float>(dy[i] * slope);
    }
  }
}

/// Pow with a constant scalar exponent (2 in layer norms that an exporter took apart).
std::optional<UnaryFunction> power_function(const InferContext& context) {
  const Tensor* exponent = context.constant(1);
  if (exponent == nullptr || exponent->count() != 1 || context.dtype(0) != DType::kFloat32 ||
      context.constant(0) != nullptr || exponent->shape().rank() > context.shape(0).rank()) {
    return {};
  }
  UnaryFunction function{.apply = power_of, .gradient = power_gradient};
  function.parameters[0] = static_cast<float>(exponent->to_doubles()[0]);
  return function;
}

// ---- Examples ----------------------------------------------------------------------------------

std::vector<Example> make_examples(const BinaryOperation& operation) {
  const bool differentiable = operation.by_a != nullptr;
  const DType type = operation.example_type;
  const auto input = [&](Shape shape, bool second, bool constant = false) {
    ExampleInput result{.shape = std::move(shape), .dtype = type, .constant = constant};
    const bool power = operation.name == std::string("Pow");
    if (second || power) result.low = operation.low_b;
    if (second) result.high = 2;
    return result;
  };
  std::vector<Example> examples;
  const auto add = [&](const char* name, Shape a, Shape b, int64_t axis = -1) {
    examples.push_back(Example{.name = name,
                               .attributes = BinaryAttributes{axis},
                               .inputs = {input(std::move(a), false), input(std::move(b), true)},
                               .gradient = differentiable});
  };
  const auto add_constant = [&](const char* name, Shape data, Shape constant, size_t at = 1) {
    Example example{.name = name, .attributes = BinaryAttributes{}, .gradient = differentiable};
    example.inputs = {input(std::move(data), at == 0), input(std::move(constant), at == 1, true)};
    if (at == 0) std::swap(example.inputs[0], example.inputs[1]);
    examples.push_back(std::move(example));
  };
  add("same shape", {2, 19, 5, 3}, {2, 19, 5, 3});
  add("whole blocks", {1, 32, 3, 7}, {1, 32, 3, 7});
  add("matrix", {3, 67}, {3, 67});
  add("scale of each channel", {2, 21, 4, 5}, {2, 21, 1, 1});
  add("scale of each channel first", {2, 16, 1, 1}, {2, 16, 3, 7});
  add("scale of each channel of many pixels", {2, 16, 11, 13}, {2, 16, 1, 1});
  add("map for all channels", {2, 11, 4, 5}, {2, 1, 4, 5});
  add("one number of each picture", {3, 9, 5, 2}, {3, 1, 1, 1});
  add("row and column", {3, 5, 1}, {3, 1, 7});
  add("last axis", {2, 3, 4, 35}, {2, 1, 1, 35});
  add("middle axes", {2, 3, 4, 5, 6}, {2, 1, 4, 1, 6});
  add("opset 6 axis", {2, 5, 3, 4}, {5, 3}, 1);
  add_constant("constant per channel", {2, 19, 3, 5}, {19, 1, 1});
  add_constant("constant per channel first", {2, 19, 3, 5}, {1, 19, 1, 1}, 0);
  add_constant("constant scalar", {2, 8, 3, 3}, {});
  add_constant("constant scalar first", {2, 8, 3, 3}, {1}, 0);
  add_constant("constant vector", {3, 33}, {33});
  add_constant("constant of the whole shape", {3, 5, 4, 7}, {5, 4, 7});
  add_constant("constant larger than the data", {2, 1, 4, 7}, {1, 6, 1, 1});
  if (type == DType::kFloat32) {
    Example integers{.name = "integers",
                     .attributes = BinaryAttributes{},
                     .inputs = {{.shape = {2, 5}, .dtype = DType::kInt64, .low = -9, .high = 9},
                                {.shape = {2, 5}, .dtype = DType::kInt64, .low = 1, .high = 4}},
                     .gradient = false};
    examples.push_back(std::move(integers));
  }
  return examples;
}

/// Exponents with a loop of their own, and one without.
void add_power_examples(std::vector<Example>& examples) {
  for (const double exponent : {2.0, 0.5, 3.0, -1.0, 1.0}) {
    const double low = exponent == 2 || exponent == 3 ? -2 : 0.3;
    examples.push_back(Example{.name = "exponent " + std::to_string(exponent),
                               .attributes = BinaryAttributes{},
                               .inputs = {{.shape = {2, 5, 3, 7}, .low = low, .high = 2},
                                          {.shape = {}, .constant = true, .values = {exponent}}}});
  }
}

void add_operand_examples(std::vector<Example>& examples) {
  const auto add = [&](const char* name, const std::vector<Shape>& shapes) {
    Example example{.name = name, .attributes = BinaryAttributes{}};
    for (const Shape& shape : shapes) example.inputs.push_back(ExampleInput{.shape = shape});
    examples.push_back(std::move(example));
  };
  add("one operand", {{2, 3, 4}});
  add("three operands", {{2, 19, 3, 5}, {2, 19, 3, 5}, {2, 19, 3, 5}});
  add("four operands", {{2, 67}, {2, 67}, {2, 67}, {2, 67}});
  add("three operands broadcast", {{2, 5, 1, 4}, {2, 1, 3, 1}, {2, 5, 3, 4}});
}

bool has_one_operand(const InferContext& context) { return context.input_count() == 1; }

LayerDef make_layer(const BinaryOperation& operation) {
  const std::string name = operation.name;
  LayerDef layer;
  layer.name = name;
  layer.prototype = BinaryAttributes{};
  layer.infer = [&operation](const InferContext& c) { return infer(c, operation.boolean); };
  layer.forward = [&operation](const RefContext& c) { forward(c, operation); };
  if (operation.by_a != nullptr) {
    layer.backward = [&operation](const RefContext& c) { backward(c, operation); };
    layer.saves = {.inputs = operation.saves_inputs};
  }
  if (name == "Add" || name == "Sub") {
    set_relevance(layer, [name](const RefContext& c) { relevance_of_sum(c, name == "Sub"); },
                  {"elementwise_gradient_gpu"});
  }
  if (name == "Mul" || name == "Div" || name == "Pow") {
    set_relevance(layer, [name](const RefContext& c) { relevance_of_product(c, name != "Mul"); },
                  {"elementwise_gradient_gpu"});
  }
  layer.variadic = operation.variadic;
  if (name == "Add") layer.epilogue = EpilogueRole::kAddend;
  if (name == "Add" || name == "Sub" || name == "Mul" || name == "Div") {
    layer.channel_affine = [name](const InferContext& c) { return channel_affine(c, name); };
  }
  if (name == "Pow") layer.unary = power_function;
  layer.onnx = {{.name = name, .first_opset = operation.first_opset, .read = read_binary}};
  layer.examples = make_examples(operation);
  if (name == "Pow") add_power_examples(layer.examples);
  if (operation.variadic) {
    layer.is_identity = has_one_operand;
    add_operand_examples(layer.examples);
  }
  return layer;
}

// ---- Sum and mean of any number of operands ----------------------------------------------------

void sum_forward(const RefContext& context, bool mean) {
  const RefTensor& y = context.outputs[0];
  const double factor = mean ? 1.0 / static_cast<double>(context.inputs.size()) : 1.0;
  BroadcastWalk walk(y.shape, operands_of(context));
  for (int64_t i = 0; i < y.count(); ++i, walk.next()) {
    double sum = 0;
    for (size_t k = 0; k < context.inputs.size(); ++k) sum += context.inputs[k][walk.offset(k)];
    y[i] = sum * factor;
  }
}

void sum_backward(const RefContext& context, bool mean) {
  const RefTensor& dy = context.grad_outputs[0];
  if (!dy) return;
  const double factor = mean ? 1.0 / static_cast<double>(context.inputs.size()) : 1.0;
  BroadcastWalk walk(dy.shape, operands_of(context));
  for (int64_t i = 0; i < dy.count(); ++i, walk.next()) {
    for (size_t k = 0; k < context.grad_inputs.size(); ++k) {
      if (context.grad_inputs[k]) context.grad_inputs[k][walk.offset(k)] += dy[i] * factor;
    }
  }
}

LayerDef make_sum(const char* name, bool mean) {
  LayerDef layer;
  layer.name = name;
  layer.variadic = true;
  layer.prototype = BinaryAttributes{};
  layer.infer = [](const InferContext& c) { return infer(c, false); };
  layer.forward = [mean](const RefContext& c) { sum_forward(c, mean); };
  layer.backward = [mean](const RefContext& c) { sum_backward(c, mean); };
  set_relevance(layer, [](const RefContext& c) { relevance_of_sum(c, false); },
                {"elementwise_gradient_gpu"});
  layer.is_identity = has_one_operand;
  if (!mean) layer.epilogue = EpilogueRole::kAddend;
  layer.onnx = {{.name = name, .read = read_binary}};
  add_operand_examples(layer.examples);
  const auto two = [](Shape a, Shape b) {
    return std::vector<ExampleInput>{{.shape = std::move(a)}, {.shape = std::move(b)}};
  };
  layer.examples.push_back({"two operands", BinaryAttributes{}, two({2, 8, 5, 3}, {2, 8, 5, 3})});
  layer.examples.push_back({"broadcast", BinaryAttributes{}, two({2, 8, 5, 3}, {2, 8, 1, 1})});
  return layer;
}

}  // namespace

void register_elementwise(Registry& registry) {
  for (const BinaryOperation& operation : kOperations) registry.add(make_layer(operation));
  registry.add(make_sum("Sum", false));
  registry.add(make_sum("Mean", true));
}

}  // namespace camlucida
