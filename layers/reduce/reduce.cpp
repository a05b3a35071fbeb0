/// Reductions over axes: sums, means, extremes, norms.
#include "layers/reduce/reduce.h"

#include <cmath>

#include "engine/registry.h"
#include "layers/elementwise/broadcast.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

/// One reduction, by its definition on the list of elements that meet in one result.
struct Reduction {
  const char* name;
  double (*value)(const std::vector<double>& x);
  /// Derivative by element i; `y` is the value.
  double (*slope)(const std::vector<double>& x, size_t i, double y);
  bool saves_inputs = true;
  int axes_become_input = 18;  ///< opset
  double low = -1;             ///< range of the examples
  double high = 1;
};

double sum(const std::vector<double>& x) {
  double result = 0;
  for (const double v : x) result += v;
  return result;
}

double sum_square(const std::vector<double>& x) {
  double result = 0;
  for (const double v : x) result += v * v;
  return result;
}

double maximum(const std::vector<double>& x) {
  double result = x[0];
  for (const double v : x) result = std::isnan(result) || result >= v ? result : v;
  return result;
}

double minimum(const std::vector<double>& x) {
  double result = x[0];
  for (const double v : x) result = std::isnan(result) || result <= v ? result : v;
  return result;
}

/// Elements equal to the extreme share its gradient evenly.
double extreme_slope(const std::vector<double>& x, size_t i, double y) {
  return x[i] == y ? 1.0 / static_cast<double>(std::count(x.begin(), x.end(), y)) : 0.0;
}

double log_sum_exp(const std::vector<double>& x) {
  const double top = maximum(x);
  double result = 0;
  for (const double v : x) result += std::exp(v - top);
  return top + std::log(result);
}

double product_without(const std::vector<double>& x, size_t skipped) {
  double result = 1;
  for (size_t i = 0; i < x.size(); ++i) result *= i == skipped ? 1 : x[i];
  return result;
}

using Elements = const std::vector<double>&;

const Reduction kReductions[] = {
    {.name = "ReduceSum",
     .value = sum,
     .slope = [](Elements, size_t, double) { return 1.0; },
     .saves_inputs = false,
     .axes_become_input = 13},
    {.name = "ReduceMean",
     .value = [](Elements x) { return sum(x) / static_cast<double>(x.size()); },
     .slope = [](Elements x, size_t, double) { return 1.0 / static_cast<double>(x.size()); },
     .saves_inputs = false},
    {.name = "ReduceMax", .value = maximum, .slope = extreme_slope},
    {.name = "ReduceMin", .value = minimum, .slope = extreme_slope},
    {.name = "ReduceProd",
     .value = [](Elements x) { return product_without(x, x.size()); },
     .slope = [](Elements x, size_t i, double) { return product_without(x, i); },
     .low = 0.9,
     .high = 1.1},
    {.name = "ReduceL1",
     .value =
         [](Elements x) {
           double result = 0;
           for (const double v : x) result += std::abs(v);
           return result;
         },
     .slope = [](Elements x, size_t i, double) { return x[i] > 0   ? 1.0
                                                        : x[i] < 0 ? -1.0
                                                                   : 0.0; }},
    {.name = "ReduceL2",
     .value = [](Elements x) { return std::sqrt(sum_square(x)); },
     .slope = [](Elements x, size_t i, double y) { return y == 0 ? 0 : x[i] / y; }},
    {.name = "ReduceSumSquare",
     .value = sum_square,
     .slope = [](Elements x, size_t i, double) { return 2 * x[i]; }},
    {.name = "ReduceLogSum",
     .value = [](Elements x) { return std::log(sum(x)); },
     .slope = [](Elements, size_t, double y) { return std::exp(-y); },
     .low = 0.2},
    {.name = "ReduceLogSumExp",
     .value = log_sum_exp,
     .slope = [](Elements x, size_t i, double y) { return std::exp(x[i] - y); }},
};

std::vector<TensorDesc> infer(const InferContext& context) {
  const auto& attributes = context.attributes.as<ReduceAttributes>();
  TensorDesc result = context.input(0);
  const std::vector<bool> reduced =
      reduced_axes(attributes, context.ints_or(1, "the list of axes", {}), result.shape.rank());
  result.shape = reduced_shape(result.shape, reduced, attributes.keepdims);
  return {result};
}

std::vector<bool> reduced_axes(const RefContext& context) {
  std::vector<int64_t> axes;
  if (context.has(1)) {
    for (int64_t i = 0; i < context.inputs[1].count(); ++i) {
      axes.push_back(static_cast<int64_t>(context.inputs[1][i]));
    }
  }
  return reduced_axes(context.attributes.as<ReduceAttributes>(), axes,
                      context.inputs[0].shape.rank());
}

bool passes_through(const std::vector<bool>& reduced) {
  return std::find(reduced.begin(), reduced.end(), true) == reduced.end();
}

/// Positions in the input of the elements that meet in each element of the result.
std::vector<std::vector<int64_t>> groups_of(const Shape& shape, const std::vector<bool>& reduced) {
  const Shape kept = reduced_shape(shape, reduced, true);
  std::vector<std::vector<int64_t>> groups(static_cast<size_t>(kept.count()));
  BroadcastWalk walk(shape, {kept});
  for (int64_t i = 0; i < shape.count(); ++i, walk.next()) {
    groups[static_cast<size_t>(walk.offset(0))].push_back(i);
  }
  return groups;
}

void forward(const RefContext& context, const Reduction& reduction) {
  const RefTensor& x = context.inputs[0];
  const std::vector<bool> reduced = reduced_axes(context);
  const auto groups = groups_of(x.shape, reduced);
  std::vector<double> elements;
  for (size_t k = 0; k < groups.size(); ++k) {
    elements.clear();
    for (const int64_t i : groups[k]) elements.push_back(x[i]);
    const double value = passes_through(reduced) ? elements[0] : reduction.value(elements);
    const bool integer = !is_floating(x.dtype);
    context.outputs[0][static_cast<int64_t>(k)] = integer ? std::trunc(value) : value;
  }
}

void backward(const RefContext& context, const Reduction& reduction) {
  const RefTensor& dy = context.grad_outputs[0];
  const RefTensor& dx = context.grad_inputs[0];
  if (!dy || !dx) return;
  const RefTensor& x = context.inputs[0];
  const std::vector<bool> reduced = reduced_axes(context);
  const auto groups = groups_of(x.shape, reduced);
  std::vector<double> elements;
  for (size_t k = 0; k < groups.size(); ++k) {
    const double incoming = dy[static_cast<int64_t>(k)];
    elements.assign(groups[k].size(), 0.0);
    for (size_t i = 0; x && i < elements.size(); ++i) elements[i] = x[groups[k][i]];
    const double value = reduction.value(elements);
    for (size_t i = 0; i < elements.size(); ++i) {
      const double slope = passes_through(reduced) ? 1.0 : reduction.slope(elements, i, value);
      dx[groups[k][i]] += incoming * slope;
    }
  }
}

/// Of a sum or mean: in proportion to the positive part of each element.
void relevance(const RefContext& context) {
  const RefTensor& to = context.grad_inputs[0];
  const RefTensor& from = context.grad_outputs[0];
  if (!to || !from) return;
  const RefTensor& x = context.inputs[0];
  const auto groups = groups_of(x.shape, reduced_axes(context));
  for (size_t k = 0; k < groups.size(); ++k) {
    double total = 0;
    for (const int64_t i : groups[k]) total += std::max(x[i], 0.0);
    const double share = relevance_share(from[static_cast<int64_t>(k)], total);
    for (const int64_t i : groups[k]) to[i] += std::max(x[i], 0.0) * share;
  }
}

/// The spatial mean in front of a linear classifier: pictures [N, C, spatial...] over all spatial
/// axes.
std::optional<HeadPart> spatial_mean(const InferContext& context) {
  const int rank = context.shape(0).rank();
  if (rank < 3) return {};
  const std::vector<bool> reduced = reduced_axes(context.attributes.as<ReduceAttributes>(),
                                                 context.ints_or(1, "the list of axes", {}), rank);
  for (int axis = 0; axis < rank; ++axis) {
    if (reduced[static_cast<size_t>(axis)] != (axis >= 2)) return {};
  }
  return HeadPart{.kind = HeadPart::Kind::kSpatialMean, .weight = {}, .bias = {}};
}

bool reduces_nothing(const InferContext& context) {
  return passes_through(reduced_axes(context.attributes.as<ReduceAttributes>(),
                                     context.ints_or(1, "the list of axes", {}),
                                     context.shape(0).rank()));
}

Reading read(const NodeSource& source, int axes_become_input) {
  Reading reading;
  reading.attributes = ReduceAttributes{
      source.integer("keepdims", 1) != 0,
      source.opset >= axes_become_input && source.integer("noop_with_empty_axes", 0) != 0};
  if (source.opset < axes_become_input) {
    const std::vector<int64_t> axes = source.integers("axes");
    reading.inputs = {InputRef(0), axes.empty() ? InputRef() : InputRef(Tensor::from_ints(axes))};
  }
  return reading;
}

std::vector<Example> make_examples(double low, double high) {
  std::vector<Example> examples;
  const auto add = [&](const char* name, Shape shape, std::vector<double> axes,
                       ReduceAttributes attributes = {}, bool batched = true) {
    Example example{.name = name, .attributes = attributes};
    example.inputs.push_back(ExampleInput{.shape = std::move(shape), .low = low, .high = high});
    ExampleInput list{.shape = {static_cast<int64_t>(axes.size())},
                      .dtype = DType::kInt64,
                      .constant = true,
                      .values = axes};
    list.absent = axes.empty();
    example.inputs.push_back(std::move(list));
    example.batched = batched;
    examples.push_back(std::move(example));
  };
  const ReduceAttributes drop{.keepdims = false};
  add("spatial", {2, 19, 5, 7}, {2, 3});
  add("spatial dropped", {2, 19, 5, 7}, {2, 3}, drop);
  add("spatial of whole blocks", {2, 32, 7, 7}, {-1, -2}, drop);
  add("spatial of a large picture", {1, 5, 41, 67}, {2, 3});
  add("spatial of many channels", {2, 16, 11, 13}, {2, 3}, drop);
  add("channels", {2, 19, 3, 5}, {1});
  add("channels dropped", {2, 6, 3, 21}, {1}, drop);
  add("last axis", {2, 3, 5, 33}, {-1});
  add("vectors", {3, 67}, {1}, drop);
  add("alternating axes", {2, 3, 4, 5}, {1, 3}, drop);
  add("batch", {3, 5, 2}, {0}, drop, false);
  add("everything", {2, 3, 4}, {}, drop, false);
  add("nothing", {2, 3, 4}, {}, {.keepdims = true, .noop_with_empty_axes = true});
  add("axis of extent 1", {2, 1, 4}, {1});
  return examples;
}

LayerDef make_layer(const Reduction& reduction) {
  LayerDef layer;
  layer.name = reduction.name;
  layer.prototype = ReduceAttributes{};
  layer.infer = infer;
  layer.forward = [&reduction](const RefContext& context) { forward(context, reduction); };
  layer.backward = [&reduction](const RefContext& context) { backward(context, reduction); };
  layer.saves = {.inputs = reduction.saves_inputs};
  const bool adds = layer.name == "ReduceSum" || layer.name == "ReduceMean";
  if (adds) set_relevance(layer, relevance, {"reduce_gradient_gpu"});
  if (reduction.name == std::string("ReduceMean")) layer.head = spatial_mean;
  layer.is_identity = reduces_nothing;
  layer.onnx = {{.name = reduction.name, .read = [&reduction](const NodeSource& source) {
                   return read(source, reduction.axes_become_input);
                 }}};
  layer.examples = make_examples(reduction.low, reduction.high);
  return layer;
}

}  // namespace

void register_reduce(Registry& registry) {
  for (const Reduction& reduction : kReductions) registry.add(make_layer(reduction));
}

}  // namespace camlucida
