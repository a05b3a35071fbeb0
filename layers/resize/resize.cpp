#include "layers/resize/resize.h"

#include "engine/registry.h"

namespace camlucida {
namespace {

std::vector<TensorDesc> infer(const InferContext& context) {
  Shape y = context.shape(0);
  const std::vector<ResizeAxis> axes = resize_axes(context);
  for (int axis = 0; axis < y.rank(); ++axis) y[axis] = axes[static_cast<size_t>(axis)].output;
  return {{context.dtype(0), y}};
}

bool is_identity(const InferContext& context) {
  for (const ResizeAxis& axis : resize_axes(context)) {
    if (!axis.is_identity()) return false;
  }
  return true;
}

std::vector<ResizeAxis> axes_of(const RefContext& context) {
  const auto values = [&context](int i) {
    std::vector<double> result;
    if (context.has(i)) {
      const RefTensor& tensor = context.inputs[static_cast<size_t>(i)];
      result.assign(tensor.data, tensor.data + tensor.count());
    }
    return result;
  };
  return resize_axes(context.attributes.as<ResizeAttributes>(), context.inputs[0].shape, values(1),
                     values(2), values(3));
}

/// Calls f(x, y, weight) for every term of y[y] += weight * x[x], where weights of the axes from
/// `axis` on multiply; x and y are row-major indices within the axes before.
template <class F>
void for_each_term(const std::vector<ResizeAxis>& axes, size_t axis, int64_t x, int64_t y,
                   double weight, const F& f) {
  if (axis == axes.size()) {
    f(x, y, weight);
    return;
  }
  const ResizeAxis& a = axes[axis];
  for (int64_t o = 0; o < a.output; ++o) {
    for (int64_t t = a.begin(o); t < a.end(o); ++t) {
      for_each_term(axes, axis + 1, x * a.input + a.from(t), y * a.output + o, weight * a.by(t), f);
    }
  }
}

bool lies_outside(const std::vector<ResizeAxis>& axes, int64_t y) {
  for (size_t axis = axes.size(); axis-- > 0;) {
    const int64_t o = y % axes[axis].output;
    if (axes[axis].begin(o) == axes[axis].end(o)) return true;
    y /= axes[axis].output;
  }
  return false;
}

void forward(const RefContext& context) {
  const std::vector<ResizeAxis> axes = axes_of(context);
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  const double extrapolation = context.attributes.as<ResizeAttributes>().extrapolation_value;
  for (int64_t i = 0; i < y.count(); ++i) y[i] = lies_outside(axes, i) ? extrapolation : 0.0;
  for_each_term(axes, 0, 0, 0, 1.0,
                [&](int64_t xi, int64_t yi, double weight) { y[yi] += weight * x[xi]; });
}

void backward(const RefContext& context) {
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  for_each_term(axes_of(context), 0, 0, 0, 1.0,
                [&](int64_t xi, int64_t yi, double weight) { grad_x[xi] += weight * grad_y[yi]; });
}

Reading read_resize(const NodeSource& source) {
  ResizeAttributes a;
  a.mode = source.text("mode", a.mode);
  a.coordinates = source.text("coordinate_transformation_mode", a.coordinates);
  a.nearest_mode = source.text("nearest_mode", a.nearest_mode);
  a.cubic_coeff_a = source.number("cubic_coeff_a", a.cubic_coeff_a);
  a.exclude_outside = source.integer("exclude_outside", 0) != 0;
  a.extrapolation_value = source.number("extrapolation_value", 0);
  a.antialias = source.integer("antialias", 0) != 0;
  a.axes = source.integers("axes");
  a.aspect = source.text("keep_aspect_ratio_policy", a.aspect);
  return {.attributes = a};
}

/// What Upsample and the first Resize had in common: nearest or linear, from the corner.
ResizeAttributes early_attributes(const NodeSource& source) {
  ResizeAttributes a;
  a.mode = source.text("mode", "nearest");
  if (a.mode == "bilinear" || a.mode == "trilinear") a.mode = "linear";
  a.coordinates = "asymmetric";
  a.nearest_mode = "simple";
  return a;
}

Reading read_resize_10(const NodeSource& source) {
  return {.attributes = early_attributes(source),
          .inputs = std::vector<InputRef>{0, InputRef(), 1}};
}

/// The scales were two attributes in opset 1, one in 7, an input in 9.
Reading read_upsample(const NodeSource& source) {
  std::vector<InputRef> inputs = {0, InputRef()};
  if (source.has_input(1)) {
    inputs.emplace_back(1);
  } else {
    std::vector<float> scales;
    for (const double scale : source.numbers("scales")) scales.push_back(static_cast<float>(scale));
    if (scales.empty() && source.has("height_scale") && source.has("width_scale")) {
      scales = {1.0f, 1.0f, static_cast<float>(source.number("height_scale", 1)),
                static_cast<float>(source.number("width_scale", 1))};
    }
    if (scales.empty()) throw source.unsupported("Upsample without scales", "constant scales");
    inputs.emplace_back(Tensor::from_floats({static_cast<int64_t>(scales.size())}, scales));
  }
  return {.attributes = early_attributes(source), .inputs = std::move(inputs)};
}

ExampleInput floats(std::vector<double> values) {
  const auto count = static_cast<int64_t>(values.size());
  return {.shape = {count}, .constant = true, .values = std::move(values)};
}
ExampleInput sizes(std::vector<double> values) {
  ExampleInput input = floats(std::move(values));
  input.dtype = DType::kInt64;
  return input;
}
std::vector<ExampleInput> scaled(Shape x, std::vector<double> scales) {
  return {{std::move(x)}, {.absent = true}, floats(std::move(scales))};
}
std::vector<ExampleInput> sized(Shape x, std::vector<double> extents) {
  return {{std::move(x)}, {.absent = true}, {.absent = true}, sizes(std::move(extents))};
}

std::vector<Example> examples() {
  using A = ResizeAttributes;
  return {
      {"nearest_x2", A{.coordinates = "asymmetric", .nearest_mode = "floor"},
       scaled({1, 5, 4, 3}, {1, 1, 2, 2})},
      {"nearest_odd_batch2", A{}, scaled({2, 19, 5, 4}, {1, 1, 1.7, 2.3})},
      {"nearest_half_pixel_ceil", A{.coordinates = "half_pixel", .nearest_mode = "ceil"},
       sized({1, 3, 4, 5}, {1, 3, 7, 8})},
      {"nearest_prefer_ceil", A{.coordinates = "asymmetric", .nearest_mode = "round_prefer_ceil"},
       sized({1, 3, 4, 4}, {1, 3, 8, 8})},
      {"nearest_floor_align_corners", A{.coordinates = "align_corners", .nearest_mode = "floor"},
       sized({1, 3, 4, 4}, {1, 3, 8, 9})},
      {"nearest_shrink", A{}, scaled({1, 3, 7, 9}, {1, 1, 0.6, 0.5})},
      {"nearest_third_asymmetric", A{.coordinates = "asymmetric", .nearest_mode = "floor"},
       sized({1, 2, 9, 15}, {1, 2, 3, 5})},
      {"nearest_tf_half_pixel", A{.coordinates = "tf_half_pixel_for_nn"},
       sized({1, 2, 4, 5}, {1, 2, 3, 2})},
      {"nearest_simple_shrink", A{.coordinates = "asymmetric", .nearest_mode = "simple"},
       scaled({1, 2, 7, 8}, {1, 1, 0.6, 1.4})},
      {"linear_half_pixel", A{.mode = "linear"}, scaled({2, 5, 4, 3}, {1, 1, 2, 2})},
      {"linear_fractional", A{.mode = "linear"}, scaled({1, 3, 5, 7}, {1, 1, 1.6, 0.7})},
      {"linear_align_corners", A{.mode = "linear", .coordinates = "align_corners"},
       sized({1, 4, 5, 6}, {1, 4, 9, 8})},
      {"linear_asymmetric", A{.mode = "linear", .coordinates = "asymmetric"},
       sized({1, 3, 4, 5}, {1, 3, 7, 3})},
      {"linear_pytorch_to_one_row", A{.mode = "linear", .coordinates = "pytorch_half_pixel"},
       sized({1, 3, 4, 4}, {1, 3, 1, 3})},
      {"linear_symmetric", A{.mode = "linear", .coordinates = "half_pixel_symmetric"},
       scaled({1, 2, 4, 5}, {1, 1, 0.6, 2.3})},
      {"linear_crop",
       A{.mode = "linear", .coordinates = "tf_crop_and_resize", .extrapolation_value = 10},
       {{{1, 2, 5, 5}},
        floats({0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7}),
        {.absent = true},
        sizes({1, 2, 3, 4})}},
      {"linear_1d", A{.mode = "linear"}, scaled({2, 3, 11}, {1, 1, 1.5})},
      {"linear_3d", A{.mode = "linear"}, scaled({1, 2, 3, 4, 3}, {1, 1, 2, 1.5, 2})},
      {.name = "linear_every_axis",
       .attributes = A{.mode = "linear"},
       .inputs = scaled({2, 3, 4}, {2, 1.5, 0.5}),
       .batched = false},
      {"linear_antialias", A{.mode = "linear", .antialias = true},
       scaled({1, 3, 9, 11}, {1, 1, 0.4, 0.6})},
      {"cubic", A{.mode = "cubic"}, scaled({1, 3, 4, 5}, {1, 1, 2, 1.5})},
      {"cubic_exclude_outside", A{.mode = "cubic", .cubic_coeff_a = -0.5, .exclude_outside = true},
       scaled({2, 2, 4, 5}, {1, 1, 0.8, 2})},
      {"cubic_antialias", A{.mode = "cubic", .antialias = true},
       scaled({1, 2, 12, 10}, {1, 1, 0.4, 0.6})},
      {"axes_not_larger", A{.mode = "linear", .axes = {2, 3}, .aspect = "not_larger"},
       sized({1, 3, 4, 6}, {7, 8})},
      {"axes_not_smaller", A{.axes = {3, 2}, .aspect = "not_smaller"}, sized({1, 3, 4, 6}, {7, 8})},
  };
}

}  // namespace

void register_resize(Registry& registry) {
  LayerDef layer;
  layer.name = "Resize";
  layer.prototype = ResizeAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.is_identity = is_identity;
  layer.onnx = {{.name = "Resize", .first_opset = 11, .read = read_resize},
                {.name = "Resize", .first_opset = 10, .last_opset = 10, .read = read_resize_10},
                {.name = "Upsample", .first_opset = 1, .last_opset = 9, .read = read_upsample}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
