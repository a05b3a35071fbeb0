/// Turns every row of the activation table into a layer: float loops for each SIMD target, the
/// reference functions, the ONNX entry and the examples.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/activation/activation.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "layers/activation/table-inl.h"

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

// Loops over whole vectors. `apply` and `gradient` send the tail through the very same code in a
// padded buffer, so that the bits of an element do not depend on its position.

template <class R, class D>
HWY_NOINLINE void value_of_vectors(D d, const float* x, float* y, int64_t count, const float* p) {
  const float local[4] = {p[0], p[1], p[2], p[3]};
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
    hn::StoreU(R::value(d, hn::LoadU(d, x + i), local), d, y + i);
  }
}

template <class R, class D>
HWY_NOINLINE void gradient_of_vectors(D d, const float* dy, const float* saved, float* dx,
                                      int64_t count, const float* p) {
  const float local[4] = {p[0], p[1], p[2], p[3]};
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
    const auto slope = R::slope(d, hn::LoadU(d, saved + i), local);
    hn::StoreU(hn::Mul(hn::LoadU(d, dy + i), slope), d, dx + i);
  }
}

template <class R>
concept HasVectorForm = requires(HWY_FULL(float) d, const float* p) {
  R::value(d, hn::Zero(d), p);
  R::slope(d, hn::Zero(d), p);
};

template <class R>
void apply(const float* x, float* y, int64_t count, const float* p) {
  if constexpr (HasVectorForm<R>) {
    const HWY_FULL(float) d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const int64_t whole = count / lanes * lanes;
    value_of_vectors<R>(d, x, y, whole, p);
    if (whole == count) return;
    HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)] = {};
    std::copy(x + whole, x + count, tail);
    value_of_vectors<R>(d, tail, tail, lanes, p);
    std::copy_n(tail, count - whole, y + whole);
  } else {
    const double parameters[4] = {p[0], p[1], p[2], p[3]};
    for (int64_t i = 0; i < count; ++i) {
      y[i] = static_cast<float>(R::value(double{x[i]}, parameters));
    }
  }
}

template <class R>
void gradient(const float* dy, const float* saved, float* dx, int64_t count, const float* p) {
  if constexpr (HasVectorForm<R>) {
    const HWY_FULL(float) d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const int64_t whole = count / lanes * lanes;
    gradient_of_vectors<R>(d, dy, saved, dx, whole, p);
    if (whole == count) return;
    HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)] = {};
    HWY_ALIGN float saved_tail[HWY_MAX_BYTES / sizeof(float)] = {};
    std::copy(dy + whole, dy + count, tail);
    std::copy(saved + whole, saved + count, saved_tail);
    gradient_of_vectors<R>(d, tail, saved_tail, tail, lanes, p);
    std::copy_n(tail, count - whole, dx + whole);
  } else {
    const double parameters[4] = {p[0], p[1], p[2], p[3]};
    for (int64_t i = 0; i < count; ++i) {
      dx[i] = static_cast<float>(dy[i] * R::slope(double{saved[i]}, parameters));
    }
  }
}

template <class... R>
const UnaryFunction* functions_of(rows::List<R...>) {
  static const UnaryFunction functions[] = {
      UnaryFunction{.apply = apply<R>, .gradient = gradient<R>}...};
  return functions;
}

/// The functions of this SIMD target in the order of the table.
const UnaryFunction* functions() { return functions_of(rows::Table{}); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <memory>

#include "engine/registry.h"
#include "layers/relevance.h"

namespace camlucida {

namespace activation {

Reading read_clip(const NodeSource& source) {
  if (source.opset >= 11) return {};
  Reading reading;
  reading.inputs = {InputRef(0), InputRef(), InputRef()};
  if (source.has("min")) {
    (*reading.inputs)[1] = Tensor::scalar(static_cast<float>(source.number("min", 0)));
  }
  if (source.has("max")) {
    (*reading.inputs)[2] = Tensor::scalar(static_cast<float>(source.number("max", 0)));
  }
  return reading;
}

}  // namespace activation

namespace {

using activation::kInfinity;
using activation::Parameter;
using activation::Row;

HWY_EXPORT(functions);

using Parameters = std::array<double, 4>;

/// Attribute struct of row R: its parameters that are not inputs.
template <class R>
struct RowAttributes {
  std::array<double, 2> values = {R::kRow.parameters[0].fallback, R::kRow.parameters[1].fallback};
  void fields(auto& visit) {
    for (size_t i = 0; i < values.size(); ++i) {
      const Parameter& parameter = R::kRow.parameters[i];
      if (parameter.name != nullptr && parameter.input == 0) visit(parameter.name, values[i]);
    }
  }
};

/// A row of the table in data, for code that is the same for all of them.
struct Definition {
  const Row& row;
  size_t index;  ///< in the table
  Attributes prototype;
  std::array<double, 2> (*values)(const Attributes&);
  double (*value)(double x, const double* p);
  double (*slope)(double saved, const double* p);
  std::pair<double, double> (*clamp)(const double* p) = nullptr;
};
using DefinitionPtr = std::shared_ptr<const Definition>;

template <class R>
DefinitionPtr define(size_t index) {
  Definition definition = {
      .row = R::kRow,
      .index = index,
      .prototype = RowAttributes<R>{},
      .values = [](const Attributes& from) { return from.as<RowAttributes<R>>().values; },
      .value = [](double x, const double* p) -> double { return R::value(x, p); },
      .slope = [](double saved, const double* p) -> double { return R::slope(saved, p); }};
  if constexpr (requires(const double* p) { R::clamp(p); }) definition.clamp = R::clamp;
  return std::make_shared<const Definition>(std::move(definition));
}

/// Parameters of a node; `of_input(i)` gives the scalar at input i or nullopt if absent.
template <class OfInput>
Parameters parameters_of(const Definition& f, const Attributes& attributes,
                         const OfInput& of_input) {
  const std::array<double, 2> values = f.values(attributes);
  Parameters result = {};
  for (size_t i = 0; i < values.size(); ++i) {
    const int input = f.row.parameters[i].input;
    result[i] = values[i];
    if (input > 0) result[i] = of_input(input).value_or(values[i]);
  }
  return result;
}

Parameters parameters_of(const Definition& f, const RefContext& context) {
  return parameters_of(f, context.attributes, [&context](int i) -> std::optional<double> {
    if (!context.has(i)) return {};
    return context.inputs[static_cast<size_t>(i)][0];
  });
}

Parameters parameters_of(const Definition& f, const InferContext& context) {
  return parameters_of(f, context.attributes, [&f, &context](int i) -> std::optional<double> {
    if (!context.has(i)) return {};
    const std::string what = std::string(f.row.name) + " bound";
    const std::vector<double> values = context.doubles_or(i, what.c_str(), {});
    if (values.size() != 1) throw Error(ErrorKind::kModel, what + " is not a single number");
    return values[0];
  });
}

std::vector<TensorDesc> infer(const Definition& f, const InferContext& context) {
  const Parameters parameters = parameters_of(f, context);
  for (size_t i = 0; i < f.row.parameters.size(); ++i) {
    const Parameter& parameter = f.row.parameters[i];
    if (parameter.name != nullptr && parameters[i] < parameter.minimum) {
      throw Error(ErrorKind::kUnsupported,
                  std::string(f.row.name) + " with " + parameter.name + " = " +
                      std::to_string(parameters[i]),
                  "supported from " + std::to_string(parameter.minimum));
    }
  }
  return {context.input(0)};
}

void forward(const Definition& f, const RefContext& context) {
  const Parameters parameters = parameters_of(f, context);
  const RefTensor& x = context.inputs[0];
  for (int64_t i = 0; i < x.count(); ++i) {
    context.outputs[0][i] = f.value(x[i], parameters.data());
  }
}

/// The gradient as `gate` lets it through: plain, guided or deconvolution.
using Gate = double (*)(double dy, double slope);

RefFunction backward(const DefinitionPtr& f, Gate gate) {
  return [f, gate](const RefContext& context) {
    if (!context.grad_inputs[0] || !context.grad_outputs[0]) return;
    const Parameters parameters = parameters_of(*f, context);
    const RefTensor& saved = f->row.slope_from_output ? context.outputs[0] : context.inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    for (int64_t i = 0; i < dy.count(); ++i) {
      context.grad_inputs[0][i] += gate(dy[i], f->slope(saved[i], parameters.data()));
    }
  };
}

std::optional<UnaryFunction> unary(const Definition& f, const InferContext& context) {
  if (context.has(0) && context.dtype(0) != DType::kFloat32) return {};
  for (const Parameter& parameter : f.row.parameters) {
    if (context.has(parameter.input) && parameter.input > 0 &&
        context.constant(parameter.input) == nullptr) {
      return {};
    }
  }
  UnaryFunction function = HWY_DYNAMIC_DISPATCH(functions)()[f.index];
  const Parameters parameters = parameters_of(f, context);
  for (size_t i = 0; i < parameters.size(); ++i) {
    function.parameters[i] = static_cast<float>(parameters[i]);
  }
  if (f.clamp != nullptr) {
    const auto [low, high] = f.clamp(parameters.data());
    function.clamp = {static_cast<float>(low), static_cast<float>(high)};
  }
  return function;
}

Reading read_attributes(const Definition& f, const NodeSource& source) {
  if (f.row.read != nullptr) return f.row.read(source);
  FieldList fields;
  for (const Parameter& parameter : f.row.parameters) {
    if (parameter.name == nullptr || parameter.input > 0) continue;
    fields.emplace_back(parameter.name, source.number(parameter.name, parameter.fallback));
  }
  return Reading{.attributes = f.prototype.restore(fields)};
}

std::vector<Example> make_examples(const Definition& f) {
  const std::pair<const char*, Shape> shapes[] = {
      {"picture", {2, 5, 7, 3}}, {"many channels", {1, 19, 3, 3}}, {"one", {1}},
      {"matrix", {3, 67}},       {"sequence", {3, 33, 5}},         {"chunks", {1, 8, 41, 27}}};
  std::vector<Example> examples;
  for (const auto& [name, shape] : shapes) {
    const bool other = examples.size() % 2 == 1;
    Example example{.name = name, .attributes = f.prototype};
    example.inputs.push_back(ExampleInput{.shape = shape, .low = f.row.low, .high = f.row.high});
    FieldList fields;
    for (const Parameter& parameter : f.row.parameters) {
      if (parameter.name == nullptr) continue;
      const double value = other ? parameter.other : parameter.fallback;
      if (parameter.input == 0) {
        fields.emplace_back(parameter.name, value);
      } else {
        ExampleInput input{.shape = {}, .constant = true, .values = {value}};
        input.absent = std::abs(value) == kInfinity;
        example.inputs.push_back(std::move(input));
      }
    }
    example.attributes = example.attributes.restore(fields);
    examples.push_back(std::move(example));
  }
  return examples;
}

LayerDef make_layer(const DefinitionPtr& f) {
  const Row& row = f->row;
  LayerDef layer;
  layer.name = row.name;
  layer.prototype = f->prototype;
  layer.infer = [f](const InferContext& context) { return infer(*f, context); };
  layer.forward = [f](const RefContext& context) { forward(*f, context); };
  layer.backward = backward(f, [](double dy, double slope) { return dy * slope; });
  layer.saves = {.inputs = !row.slope_from_output, .outputs = row.slope_from_output};
  if (row.rectifier) {
    layer.rules["guided"] = {
        .backward = backward(f, [](double dy, double slope) { return dy > 0 ? dy * slope : 0; }),
        .kernels = {"unary_gradient", "unary_gradient_gpu"}};
    layer.rules["deconvolution"] = {
        .backward = backward(f, [](double dy, double) { return dy > 0 ? dy : 0; }),
        .kernels = {"unary_gradient", "unary_gradient_gpu"}};
  }
  pass_relevance_on(layer, {"unary_gradient", "unary_gradient_gpu"});
  layer.epilogue = row.finite ? EpilogueRole::kUnary : EpilogueRole::kNone;
  layer.unary = [f](const InferContext& context) { return unary(*f, context); };
  layer.onnx = {{.name = row.operation,
                 .first_opset = row.first_opset,
                 .last_opset = std::max(21, row.first_opset),
                 .read = [f](const NodeSource& source) { return read_attributes(*f, source); }}};
  layer.examples = make_examples(*f);
  return layer;
}

template <class... R>
void add_rows(Registry& registry, HWY_NAMESPACE::rows::List<R...>) {
  size_t index = 0;
  (registry.add(make_layer(define<R>(index++))), ...);
}

}  // namespace

namespace activation {

Reading read_gelu(const NodeSource& source) {
  const std::string form = source.text("approximate", "none");
  if (form != "none" && form != "tanh") {
    throw source.unsupported("Gelu with approximate = '" + form + "'", "'none' or 'tanh'");
  }
  return Reading{.attributes =
                     RowAttributes<HWY_NAMESPACE::rows::Gelu>{{form == "tanh" ? 1.0 : 0.0, 0}}};
}

}  // namespace activation

void register_activation(Registry& registry) { add_rows(registry, HWY_NAMESPACE::rows::Table{}); }

}  // namespace camlucida
#endif  // HWY_ONCE
