#include "explain/gradient/picture_common.h"

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/pictures.h"

namespace camlucida::gradient {

Needs picture_needs(const Subject& subject, const std::string& rule) {
  Needs needs{.outputs = {subject.score}, .score = subject.score};
  needs.gradient_to = {subject.input};
  needs.rule = rule;
  return needs;
}

ChannelRule read_channels(Settings& settings, const std::string& fallback) {
  const std::string rule =
      settings.choice("channels", fallback, {"signed-sum", "abs-sum", "max-abs"});
  return rule == "signed-sum" ? ChannelRule::kSignedSum
         : rule == "abs-sum"  ? ChannelRule::kAbsSum
                              : ChannelRule::kMaxAbs;
}

Tensor over_channels(const Tensor& values, ChannelRule rule) {
  if (on_device(values)) return gpu::over_channels(values, rule);
  const Shape& shape = values.shape();
  const int64_t height = shape[shape.rank() - 2];
  const int64_t width = shape[shape.rank() - 1];
  const int64_t pixels = height * width;
  const std::vector<double> all = values.to_doubles();
  std::vector<double> map(static_cast<size_t>(pixels), 0.0);
  for (size_t i = 0; i < all.size(); ++i) {
    double& pixel = map[i % static_cast<size_t>(pixels)];
    pixel = with_channel(rule, pixel, all[i]);
  }
  Tensor result(Shape{height, width});
  from_double(DType::kFloat32, map.data(), result.raw(), pixels);
  return result;
}

Tensor attribution(const Tensor& x, const Tensor& origin, const Tensor& values, double divisor) {
  if (on_device(x)) return without_batch(gpu::attribution(x, origin, values, divisor));
  Tensor result(x.shape(), DType::kFloat64);
  const std::vector<double> factors = values.to_doubles();
  const float* from = origin.defined() ? origin.floats() : nullptr;
  const float* to = x.floats();
  const std::span<double> a = result.as<double>();
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = (to[i] - (from == nullptr ? 0.0 : from[i])) * factors[i] / divisor;
  }
  return without_batch(result);
}

double sum_of(const Tensor& values) {
  if (on_device(values)) return gpu::sum(values);
  double sum = 0;
  for (const double value : values.to_doubles()) sum += value;
  return sum;
}

Tensor without_batch(const Tensor& values) {
  const std::vector<int64_t>& dims = values.shape().dims();
  return values.reshaped(Shape(std::vector<int64_t>(dims.begin() + 1, dims.end())));
}

std::vector<RawMap> picture_gradients(Evidence& evidence, ChannelRule rule) {
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Tensor gradient = evidence.gradient(evidence.subject().input, t);
    maps.push_back({.raw = over_channels(gradient, rule),
                    .artefacts = {{"gradient", without_batch(gradient)}}});
  }
  return maps;
}

}  // namespace camlucida::gradient
