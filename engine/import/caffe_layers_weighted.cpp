// Layers with trained blobs: convolutions, dense layers, normalisations, slopes.
#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/import/caffe_layers.h"

namespace camlucida {
namespace {

constexpr int64_t kAny = Shape::kUnknown;
constexpr int kMaxSpatialAxes = 3;

using Extents = google::protobuf::RepeatedField<int64_t>;

/// One value per spatial axis from a repeated field (one value stands for all axes; none for
/// `fallback`) or from the pair of _h and _w.
std::vector<int64_t> per_axis(const Extents& field, bool has_h, int64_t h, bool has_w, int64_t w,
                              int64_t fallback, size_t axes, const char* what) {
  if (has_h || has_w) {
    if (!field.empty() || axes != 2) {
      throw caffe_malformed(std::string(what) + " is given twice, or as a pair for " +
                            std::to_string(axes) + " axes");
    }
    return {has_h ? h : fallback, has_w ? w : fallback};
  }
  if (field.empty()) return std::vector<int64_t>(axes, fallback);
  if (field.size() == 1) return std::vector<int64_t>(axes, field[0]);
  if (static_cast<size_t>(field.size()) != axes) {
    throw caffe_malformed(std::string(what) + " has " + std::to_string(field.size()) +
                          " values for " + std::to_string(axes) + " axes");
  }
  return {field.begin(), field.end()};
}

/// Spatial axes that the parameters speak of: as many as any list is long, two otherwise.
size_t spatial_axes(const caffe::ConvolutionParameter& p) {
  int longest = 1;
  for (const Extents* field : {&p.kernel_size(), &p.stride(), &p.pad(), &p.dilation()}) {
    longest = std::max(longest, field->size());
  }
  if (longest > kMaxSpatialAxes) {
    throw caffe_unsupported(std::to_string(longest) + " spatial axes", "1 to 3 spatial axes");
  }
  return longest == 1 ? 2 : static_cast<size_t>(longest);
}

void convolution(CaffeLayer& layer, bool transposed, bool depthwise) {
  const caffe::ConvolutionParameter& p = layer.definition().convolution_param();
  if (p.axis() != 1 && !(p.axis() < 0 && layer.rank(layer.bottom(0)) + p.axis() == 1)) {
    throw caffe_unsupported("channels along axis " + std::to_string(p.axis()), "axis 1");
  }
  const size_t axes = spatial_axes(p);
  const std::vector<int64_t> kernel =
      per_axis(p.kernel_size(), p.has_kernel_h(), p.kernel_h(), p.has_kernel_w(), p.kernel_w(), 0,
               axes, "kernel_size");
  const std::vector<int64_t> stride = per_axis(p.stride(), p.has_stride_h(), p.stride_h(),
                                               p.has_stride_w(), p.stride_w(), 1, axes, "stride");
  const std::vector<int64_t> pad =
      per_axis(p.pad(), p.has_pad_h(), p.pad_h(), p.has_pad_w(), p.pad_w(), 0, axes, "pad");
  const std::vector<int64_t> dilation =
      per_axis(p.dilation(), false, 0, false, 0, 1, axes, "dilation");
  const int64_t outputs = p.num_output();
  const int64_t group = depthwise ? outputs : p.group();
  if (outputs < 1 || group < 1 || outputs % group != 0) {
    throw caffe_malformed("num_output " + std::to_string(outputs) + " in " + std::to_string(group) +
                          " groups");
  }
  for (const int64_t extent : kernel) {
    if (extent < 1) throw caffe_malformed("kernel_size is missing or below 1");
  }

  std::vector<int64_t> expected = {transposed ? kAny : outputs,
                                   transposed ? outputs / group : kAny};
  expected.insert(expected.end(), kernel.begin(), kernel.end());
  std::vector<int64_t> pads = pad;
  pads.insert(pads.end(), pad.begin(), pad.end());
  std::vector<ValueId> trained = {
      layer.constant("weight", layer.blob(0, "weight", Shape(std::move(expected))))};
  if (p.bias_term()) {
    trained.push_back(layer.constant("bias", layer.blob(1, "bias", Shape{outputs})));
  }
  const CaffeLayer::Attributes attributes = {{"kernel_shape", kernel},
                                             {"strides", stride},
                                             {"pads", pads},
                                             {"dilations", dilation},
                                             {"group", group}};
  // The same filters may run over several bottoms.
  for (int i = 0; i < layer.bottoms(); ++i) {
    std::vector<ValueId> inputs = {layer.bottom(i)};
    inputs.insert(inputs.end(), trained.begin(), trained.end());
    layer.finish_top(i, transposed ? "ConvTranspose" : "Conv", inputs, attributes);
  }
}

void inner_product(CaffeLayer& layer) {
  const caffe::InnerProductParameter& p = layer.definition().inner_product_param();
  const int64_t outputs = p.num_output();
  if (outputs < 1) throw caffe_malformed("num_output is missing or below 1");
  const Shape expected = p.transpose() ? Shape{kAny, outputs} : Shape{outputs, kAny};
  Tensor weight = layer.blob(0, "weight", expected);
  Tensor bias = p.bias_term() ? layer.blob(1, "bias", Shape{outputs}) : Tensor();
  const int64_t axis = p.axis() < 0 ? p.axis() + layer.rank(layer.bottom(0)) : int64_t{p.axis()};
  if (axis == 1) {
    const ValueId rows = layer.step("Flatten", {layer.bottom(0)}, {{"axis", int64_t{1}}});
    std::vector<ValueId> inputs = {rows, layer.constant("weight", std::move(weight))};
    if (p.bias_term()) inputs.push_back(layer.constant("bias", std::move(bias)));
    layer.finish("Gemm", inputs, {{"transB", int64_t{p.transpose() ? 0 : 1}}});
    return;
  }
  if (axis < 0 || axis > 8) throw caffe_malformed("axis " + std::to_string(p.axis()));
  // [outer axes, the rest in one] times the matrix keeps the outer axes.
  std::vector<int64_t> rows(static_cast<size_t>(axis), 0);
  rows.push_back(-1);
  const ValueId flat =
      layer.step("Reshape", {layer.bottom(0), layer.constant("shape", Tensor::from_ints(rows))});
  ValueId matrix = layer.constant("weight", std::move(weight));
  if (!p.transpose()) {
    matrix = layer.step("Transpose", {matrix}, {{"perm", std::vector<int64_t>{1, 0}}});
  }
  if (!p.bias_term()) return layer.finish("MatMul", {flat, matrix});
  const ValueId product = layer.step("MatMul", {flat, matrix});
  layer.finish("Add", {product, layer.constant("bias", std::move(bias))});
}

Tensor filled(const Shape& shape, float value) {
  Tensor tensor(shape);
  std::fill_n(tensor.floats(), tensor.count(), value);
  return tensor;
}

/// scale * (x - mean) / sqrt(variance + epsilon) + bias, channel by channel.
void affine(CaffeLayer& layer, Tensor scale, Tensor bias, Tensor mean, Tensor variance,
            double epsilon) {
  layer.finish("BatchNormalization",
               {layer.bottom(0), layer.constant("scale", std::move(scale)),
                layer.constant("bias", std::move(bias)), layer.constant("mean", std::move(mean)),
                layer.constant("variance", std::move(variance))},
               {{"epsilon", epsilon}});
}

/// The blobs hold sums over the training; the third one says by what to divide.
void batch_norm(CaffeLayer& layer) {
  const caffe::BatchNormParameter& p = layer.definition().batch_norm_param();
  if (!p.use_global_stats()) {
    throw caffe_unsupported("statistics of the batch (use_global_stats: false)",
                            "use_global_stats: true");
  }
  if (layer.blobs() > 3) {
    throw caffe_unsupported(std::to_string(layer.blobs()) + " blobs",
                            "BatchNorm with mean, variance and their factor, then Scale");
  }
  const Tensor means = layer.blob(0, "mean", Shape{kAny});
  const Shape channels = means.shape();
  const Tensor variances = layer.blob(1, "variance", channels);
  const float divisor = layer.blob(2, "factor", Shape{1}).floats()[0];
  const float factor = divisor == 0 ? 0 : 1 / divisor;
  const auto scaled = [factor](const Tensor& from) {
    Tensor to(from.shape());
    std::transform(from.floats(), from.floats() + from.count(), to.floats(),
                   [factor](float value) { return value * factor; });
    return to;
  };
  affine(layer, filled(channels, 1), filled(channels, 0), scaled(means), scaled(variances),
         double{p.eps()});
}

/// `value` of shape `extents` at `axis` of bottom 0, with ones behind so that it broadcasts.
ValueId aligned(CaffeLayer& layer, ValueId value, int64_t axis, int extents) {
  const int rank = layer.rank(layer.bottom(0));
  const int64_t first = axis < 0 ? axis + rank : axis;
  const int64_t behind = rank - first - extents;
  if (first < 0 || behind < 0) {
    throw caffe_malformed("axis " + std::to_string(axis) + " and a second bottom or blob of " +
                          std::to_string(extents) + " axes for a first of " + std::to_string(rank));
  }
  if (behind == 0) return value;
  std::vector<int64_t> shape(static_cast<size_t>(extents), 0);
  shape.insert(shape.end(), static_cast<size_t>(behind), 1);
  return layer.step("Reshape", {value, layer.constant("shape", Tensor::from_ints(shape))});
}

/// Shape of a trained blob that covers `axes` axes of bottom 0 from `axis` on, as far as known.
Shape covered(const CaffeLayer& layer, int64_t axis, int64_t axes) {
  if (axes >= 0 && axes <= 8) return Shape(std::vector<int64_t>(static_cast<size_t>(axes), kAny));
  const int rank = layer.rank(layer.bottom(0));
  const int64_t first = axis < 0 ? axis + rank : axis;
  if (axes != -1 || first < 0 || first > rank) {
    throw caffe_malformed("axis " + std::to_string(axis) + ", num_axes " + std::to_string(axes));
  }
  return Shape(std::vector<int64_t>(static_cast<size_t>(rank - first), kAny));
}

/// y = x * scale (+ bias), the factor a trained blob or the second bottom.
void scale(CaffeLayer& layer) {
  const caffe::ScaleParameter& p = layer.definition().scale_param();
  const bool second = layer.bottoms() == 2;
  if (!second && p.axis() == 1 && p.num_axes() == 1) {
    Tensor factor = layer.blob(0, "scale", Shape{kAny});
    const Shape channels = factor.shape();
    Tensor bias = p.bias_term() ? layer.blob(1, "bias", channels) : filled(channels, 0);
    return affine(layer, std::move(factor), std::move(bias), filled(channels, 0),
                  filled(channels, 1), 0);
  }
  ValueId factor;
  int axes;
  if (second) {
    factor = layer.bottom(1);
    axes = layer.rank(factor);
  } else {
    Tensor tensor = layer.blob(0, "scale", covered(layer, p.axis(), p.num_axes()));
    axes = tensor.shape().rank();
    factor = layer.constant("scale", std::move(tensor));
  }
  factor = aligned(layer, factor, p.axis(), axes);
  if (!p.bias_term()) return layer.finish("Mul", {layer.bottom(0), factor});
  const ValueId product = layer.step("Mul", {layer.bottom(0), factor});
  Tensor bias = layer.blob(second ? 0 : 1, "bias",
                           Shape(std::vector<int64_t>(static_cast<size_t>(axes), kAny)));
  layer.finish("Add",
               {product, aligned(layer, layer.constant("bias", std::move(bias)), p.axis(), axes)});
}

void bias(CaffeLayer& layer) {
  const caffe::BiasParameter& p = layer.definition().bias_param();
  ValueId addend;
  int axes;
  if (layer.bottoms() == 2) {
    addend = layer.bottom(1);
    axes = layer.rank(addend);
  } else {
    Tensor tensor = layer.blob(0, "bias", covered(layer, p.axis(), p.num_axes()));
    axes = tensor.shape().rank();
    addend = layer.constant("bias", std::move(tensor));
  }
  layer.finish("Add", {layer.bottom(0), aligned(layer, addend, p.axis(), axes)});
}

void prelu(CaffeLayer& layer) {
  const bool shared = layer.definition().prelu_param().channel_shared();
  Tensor slope = layer.blob(0, "slope", shared ? Shape{1} : Shape{kAny});
  if (!shared) {
    // One slope per channel, with ones behind for the spatial axes.
    std::vector<int64_t> dims = {slope.count()};
    dims.insert(dims.end(), static_cast<size_t>(std::max(0, layer.rank(layer.bottom(0)) - 2)), 1);
    slope = slope.reshaped(Shape(std::move(dims)));
  }
  layer.finish("PRelu", {layer.bottom(0), layer.constant("slope", std::move(slope))});
}

}  // namespace

std::vector<CaffeOperator> caffe_weighted_operators() {
  constexpr int kMany = 1 << 20;
  const auto conv = [](CaffeLayer& layer) { convolution(layer, false, false); };
  const auto depthwise = [](CaffeLayer& layer) { convolution(layer, false, true); };
  const auto deconvolution = [](CaffeLayer& layer) { convolution(layer, true, false); };
  return {
      {"Convolution", 1, kMany, conv, true},
      // Two forks' names of a convolution with one group per channel.
      {"ConvolutionDepthwise", 1, kMany, depthwise, true},
      {"DepthwiseConvolution", 1, kMany, depthwise, true},
      {"Deconvolution", 1, kMany, deconvolution, true},
      {"InnerProduct", 1, 1, inner_product, true},
      {"BatchNorm", 1, 1, batch_norm, true},
      {"Scale", 1, 2, scale, true},
      {"Bias", 1, 2, bias, true},
      {"PReLU", 1, 1, prelu, true},
  };
}

}  // namespace camlucida
