#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "engine/cuda/device_tensor.h"
#include "engine/image/resample.h"
#include "engine/passes/passes.h"
#include "explain/gpu/full_gradient.h"
#include "explain/gpu/pictures.h"
#include "explain/gradient/picture_common.h"

/// FullGrad. Srinivas and Fleuret: "Full-Gradient Representation for Neural Network Visualization",
/// NeurIPS 2019, equations 3 and 5, and the authors' code.
///
///     score = sum x * d score / d x + sum_l sum_(c,p) b_lc (d score / d y_l)(c, p)
///     M = sum_c psi(x * G_x)_c + sum_l sum_c U(psi(b_l * G_l)_c)          M [H, W]
///
/// l runs over the layers that add something: a convolution its bias, a batch norm (or a constant
/// sum) its shift beta - mean gamma / sqrt(variance + epsilon). y_l [C, h, w] is the output of l
/// and G_l the gradient there. psi takes absolute values and scales the whole tensor of the layer
/// to [0, 1]. Layers without pixels (the linear head) count in the decomposition but not in the
/// map.
///
/// The decomposition is exact where rectifiers are piecewise linear through 0 (ReLU, leaky ReLU); a
/// ReLU6 at its upper limit is a bias that it does not see. The series "completeness" has the share
/// of the input, that of the biases, the score, and the score minus both. Sums over channels come
/// before the resize U, which is linear.
namespace camlucida {
namespace {

/// A layer that adds a constant to each channel of its output.
struct BiasedLayer {
  std::string value;         ///< name of y_l
  std::vector<double> bias;  ///< [C], or one for all
};

double number_field(const Attributes& attributes, const std::string& name, double fallback) {
  for (const auto& [field, value] : attributes.fields()) {
    if (field == name && std::holds_alternative<double>(value)) return std::get<double>(value);
  }
  return fallback;
}

/// What `node` adds to each channel: the shift of an affine map, or the bias input of a product,
/// scaled by "beta" where the layer has that. Empty if it adds nothing.
std::vector<double> bias_of(const Graph& graph, const Node& node) {
  Graph::ContextStorage storage;
  const InferContext context = graph.context(node, storage);
  std::vector<double> bias;
  if (node.layer->channel_affine) {
    if (const auto affine = node.layer->channel_affine(context)) bias = affine->shift;
  } else if (node.layer->absorb && context.constant(2) != nullptr) {
    bias = context.constant(2)->to_doubles();
    const double beta = number_field(node.attributes, "beta", 1.0);
    for (double& value : bias) value *= beta;
  }
  const bool none = std::all_of(bias.begin(), bias.end(), [](double v) { return v == 0; });
  return none ? std::vector<double>() : bias;
}

/// Every such layer between the picture and the score.
std::vector<BiasedLayer> biased_layers(const Subject& subject) {
  const Graph& graph = *subject.graph;
  const std::vector<bool> between =
      values_between(graph, {graph.require(subject.input)}, graph.require(subject.score));
  std::vector<BiasedLayer> layers;
  for (const Node& node : graph.nodes()) {
    const ValueId output = node.outputs[0];
    if (output == kNone || !between[static_cast<size_t>(output)]) continue;
    std::vector<double> bias = bias_of(graph, node);
    const Shape& shape = graph.value(output).desc.shape;
    const auto count = static_cast<int64_t>(bias.size());
    if (count == 0 || shape.rank() < 2 || (count != 1 && count != shape[1])) continue;
    layers.push_back({graph.value(output).name, std::move(bias)});
  }
  return layers;
}

Needs needs(const Subject& subject, Settings&) {
  Needs needs = gradient::picture_needs(subject);
  for (const BiasedLayer& layer : biased_layers(subject)) needs.gradient_to.push_back(layer.value);
  return needs;
}

struct Form {
  bool per_channel;  ///< values are scaled channel by channel, else all of a layer together
  Corners corners;

  double epsilon() const { return per_channel ? 1e-7 : 1e-6; }  // as in the two programs
};

/// What the picture and the layers add to the map [H, W] of one target.
class FullMap {
 public:
  virtual ~FullMap() = default;
  /// psi(x * gradient) of the picture.
  virtual void add_picture(const Tensor& gradient, const Tensor& x) = 0;
  /// psi(bias * gradient) of a layer.
  virtual void add_layer(const Tensor& gradient, const std::vector<double>& bias) = 0;

  virtual Tensor map() = 0;
  /// Sums of x * gradient and of bias * gradient.
  virtual std::pair<double, double> shares() = 0;
};

class HostMap final : public FullMap {
 public:
  HostMap(const Form& form, int height, int width)
      : form_(form), height_(height), width_(width), map_(static_cast<size_t>(height * width)) {}

  void add_picture(const Tensor& gradient, const Tensor& x) override {
    std::vector<double> products = gradient.to_doubles();
    const std::span<const float> values = x.as<float>();
    for (size_t i = 0; i < products.size(); ++i) {
      products[i] *= values[i];
      input_share_ += products[i];
    }
    map_ = rescaled_sum(products, map_.size());
  }

  void add_layer(const Tensor& gradient, const std::vector<double>& bias) override {
    const Shape& shape = gradient.shape();
    std::vector<double> terms = gradient.to_doubles();
    const size_t run = terms.size() / static_cast<size_t>(shape[1]);
    for (size_t i = 0; i < terms.size(); ++i) {
      terms[i] *= bias[bias.size() == 1 ? 0 : i / run];
      bias_share_ += terms[i];
    }
    if (shape.rank() != 4) return;
    const std::vector<double> sum = rescaled_sum(terms, run);
    Tensor small(Shape{shape[2], shape[3]});
    from_double(DType::kFloat32, sum.data(), small.raw(), small.count());
    const Tensor large = resize_bilinear(small, height_, width_, form_.corners);
    for (size_t p = 0; p < map_.size(); ++p) map_[p] += large.floats()[p];
  }

  Tensor map() override {
    Tensor raw(Shape{height_, width_});
    from_double(DType::kFloat32, map_.data(), raw.raw(), raw.count());
    return raw;
  }
  std::pair<double, double> shares() override { return {input_share_, bias_share_}; }

 private:
  /// Absolute values scaled to [0, 1], summed over channels. `values` [C, h, w], `pixels` = h w;
  /// they become their absolute values.
  std::vector<double> rescaled_sum(std::vector<double>& values, size_t pixels) const {
    for (double& value : values) value = std::abs(value);
    std::vector<double> total(pixels, 0.0);
    const size_t group = form_.per_channel ? pixels : values.size();
    for (size_t first = 0; first < values.size(); first += group) {
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first);
      const auto [low, high] =
          std::minmax_element(begin, begin + static_cast<std::ptrdiff_t>(group));
      const double minimum = *low;
      const double scale = 1.0 / (*high - minimum + form_.epsilon());
      for (size_t i = first; i < first + group; ++i) {
        total[i % pixels] += (values[i] - minimum) * scale;
      }
    }
    return total;
  }

  Form form_;
  int height_;
  int width_;
  std::vector<double> map_;
  double input_share_ = 0;
  double bias_share_ = 0;
};

class DeviceMap final : public FullMap {
 public:
  DeviceMap(const Form& form, int height, int width, const std::shared_ptr<Stream>& stream)
      : form_{form.per_channel, form.epsilon(), form.corners},
        map_(gpu::zeros({DType::kFloat64, {1, height, width}}, stream)),
        shares_(gpu::zeros({DType::kFloat64, {2}}, stream)) {}

  void add_picture(const Tensor& gradient, const Tensor& x) override {
    gpu::add_rescaled(form_, gradient, x, &map_, &shares_, 0);
  }
  void add_layer(const Tensor& gradient, const std::vector<double>& bias) override {
    const Tensor factors = Tensor::from<double>(Shape{std::ssize(bias)}, bias);
    gpu::add_rescaled(form_, gradient, factors, &map_, &shares_, 1);
  }
  Tensor map() override { return gpu::over_channels(map_, gradient::ChannelRule::kSignedSum); }
  std::pair<double, double> shares() override {
    const std::vector<double> both = shares_.to_doubles();
    return {both[0], both[1]};
  }

 private:
  gpu::RescaleForm form_;
  Tensor map_;
  Tensor shares_;
};

std::unique_ptr<FullMap> new_map(const Form& form, const Tensor& x) {
  const auto height = static_cast<int>(x.shape()[2]);
  const auto width = static_cast<int>(x.shape()[3]);
  if (on_device(x)) return std::make_unique<DeviceMap>(form, height, width, stream_of(x));
  return std::make_unique<HostMap>(form, height, width);
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const bool per_channel =
      settings.choice("scale", settings.variant() == "official" ? "layer" : "channel",
                      {"layer", "channel"}) == "channel";
  const Corners corners =
      settings.choice("corners", settings.variant() == "official" ? "aligned" : "half-pixel",
                      {"aligned", "half-pixel"}) == "aligned"
          ? Corners::kAligned
          : Corners::kHalfPixel;
  const Tensor& x = evidence.input();
  const std::vector<BiasedLayer> layers = biased_layers(evidence.subject());
  settings.record("layers", static_cast<double>(layers.size()));

  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const std::unique_ptr<FullMap> map = new_map({per_channel, corners}, x);
    map->add_picture(evidence.gradient(evidence.subject().input, t), x);
    for (const BiasedLayer& layer : layers) {
      map->add_layer(evidence.gradient(layer.value, t), layer.bias);
    }
    RawMap result{.raw = map->map()};
    const double score = evidence.score(t);
    const auto [input_share, bias_share] = map->shares();
    result.series["completeness"] = {input_share, bias_share, score,
                                     score - input_share - bias_share};
    maps.push_back(std::move(result));
  }
  return maps;
}

}  // namespace

void register_fullgrad(ExplainerRegistry& registry) {
  registry.add({.name = "fullgrad",
                .aliases = {},
                .title = "FullGrad",
                .formula = "sum psi(x G_x) + sum_l psi(b_l G_l), psi: |.| scaled to [0, 1]",
                .source = "Srinivas and Fleuret 2019, eq. 3 and 5",
                .backwards = "1, to the picture",
                .uses_layer = false,
                .variants = {{"official", "absolute values scaled over a whole layer"},
                             {"pytorch-grad-cam", "scaled channel by channel, half-pixel resize"}},
                .tail = Tail::kResizedSigned,
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
