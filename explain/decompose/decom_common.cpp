#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/cuda/device_tensor.h"
#include "engine/error.h"
#include "engine/image/resample.h"
#include "explain/cam/cam_common.h"
#include "explain/decompose/decom_common.h"
#include "explain/decompose/projection_common.h"
#include "explain/gpu/decompose.h"
#include "explain/gpu/maps.h"

namespace camlucida::decompose {
namespace {

/// One map scaled to [0, 1]: less its minimum, over what is then its maximum unless that is 0.
void scale_to_unit(const float* map, int64_t count, float* mask) {
  const auto [low, high] = std::minmax_element(map, map + count);
  const float min = *low;
  const float range = *high - min;
  for (int64_t i = 0; i < count; ++i) mask[i] = range > 0.0f ? (map[i] - min) / range : 0.0f;
}

/// max(x * m, b * (1 - m)) for the C planes of one picture.
void blend(const Tensor& picture, const Tensor& blurred, const float* mask, float* to) {
  const Shape& shape = picture.shape();
  const int64_t pixels = shape[2] * shape[3];
  for (int64_t c = 0; c < shape[1]; ++c) {
    const float* x = picture.floats() + c * pixels;
    const float* b = blurred.floats() + c * pixels;
    for (int64_t p = 0; p < pixels; ++p) {
      to[c * pixels + p] = std::max(x[p] * mask[p], b[p] * (1.0f - mask[p]));
    }
  }
}

std::string count_remark(int64_t asked, const PrincipalComponents& found, const Shape& layer) {
  if (found.count == asked) return "";
  return "Only " + std::to_string(found.count) + " of " + std::to_string(asked) +
         " components exist: the layer has " + std::to_string(layer[2] * layer[3]) +
         " pixels and " + std::to_string(found.rank) + " independent channels among the chosen.";
}

}  // namespace

std::vector<int64_t> strongest_channels(std::span<const double> weights, int64_t count) {
  std::vector<int64_t> order(weights.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto key = [&](int64_t k) {
    const double weight = weights[static_cast<size_t>(k)];
    return std::isnan(weight) ? -INFINITY : weight;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return key(a) > key(b); });
  order.resize(static_cast<size_t>(std::min<int64_t>(count, std::ssize(order))));
  return order;
}

SubSaliency scaled_up(const Tensor& components, int height, int width) {
  SubSaliency result{.components = components};
  const int64_t count = components.shape()[0];
  result.maps = Tensor(Shape{count, height, width});
  result.masks = Tensor(result.maps.shape());
  if (count == 0) return result;
  if (on_device(components)) {
    result.maps = gpu::enlarged(components, height, width, {.rectify = true, .cubic = true});
    result.masks = gpu::each_to_unit(result.maps);
    return result;
  }
  Tensor lobes = components.clone();
  for (float& v : lobes.as<float>()) v = std::max(v, 0.0f);
  result.maps = resize_bicubic(lobes, height, width);
  const int64_t pixels = int64_t{height} * width;
  for (int64_t i = 0; i < count; ++i) {
    scale_to_unit(result.maps.floats() + i * pixels, pixels, result.masks.floats() + i * pixels);
  }
  return result;
}

SubSaliency sub_saliency(const Tensor& layer, std::span<const double> weights,
                         std::span<const int64_t> channels, int64_t count, SignRule sign,
                         int height, int width) {
  const Shape& shape = layer.shape();
  check_layer(layer);
  if (std::ssize(weights) != shape[1]) {
    throw Error(ErrorKind::kUsage, std::to_string(weights.size()) +
                                       " weights do not fit a layer of shape " + shape.to_string());
  }
  std::vector<double> factors;
  for (const int64_t k : channels) {
    if (k < 0 || k >= shape[1]) {
      throw Error(ErrorKind::kUsage, "the layer of shape " + shape.to_string() +
                                         " has no channel " + std::to_string(k));
    }
    factors.push_back(weights[static_cast<size_t>(k)]);
  }
  const ChannelChoice choice{channels, factors};
  const PrincipalComponents parts = principal_components(
      *layer_matrix(layer, true, &choice), {.count = count, .centre = true, .sign = sign});
  Tensor components(Shape{parts.count, shape[2], shape[3]});
  from_double(DType::kFloat32, parts.scores.data(), components.raw(), components.count());
  if (on_device(layer) && parts.count > 0) components = to_device(components, stream_of(layer));
  SubSaliency result = scaled_up(components, height, width);
  result.parts = parts;
  result.remark = nonfinite_remark(parts.nonfinite);
  const std::string missing = count_remark(count, parts, shape);
  if (!missing.empty()) result.remark += (result.remark.empty() ? "" : " ") + missing;
  return result;
}

namespace {

/// Turns a picture in the space of the masks [C, H, W] into the network's input, in place.
void to_input(const MaskSpace& space, int64_t channels, int64_t pixels, float* values) {
  if (space.recipe == nullptr) return;
  for (int64_t i = 0; i < channels * pixels; ++i) {
    const float byte = space.truncate ? std::floor(values[i]) : values[i];
    values[i] = space.recipe->normalise(static_cast<int>(i / pixels), byte);
  }
}

}  // namespace

MaskedScores score_masked(Evidence& evidence, std::span<const Target> targets,
                          std::span<const SubSaliency> parts, const Tensor& picture,
                          const Tensor& blurred, bool score_blurred, const MaskSpace& space) {
  const Shape& shape = picture.shape();
  const int64_t pixels = shape[2] * shape[3];
  std::vector<Tensor> masks;  // of all targets; an undefined one stands for the blurred picture
  for (const SubSaliency& one : parts) {
    for (int64_t i = 0; i < one.count(); ++i) masks.push_back(one.masks.rows(i, 1));
  }
  if (score_blurred) masks.emplace_back();
  MaskedScores result;
  if (masks.empty()) {
    result.masked.resize(targets.size());
    return result;
  }
  const RowSource variants{.on_host =
                               [&](int64_t row, float* values) {
                                 const Tensor& mask = masks[static_cast<size_t>(row)];
                                 if (mask.defined()) {
                                   blend(picture, blurred, mask.floats(), values);
                                 } else {
                                   std::copy_n(blurred.floats(), blurred.count(), values);
                                 }
                                 to_input(space, shape[1], pixels, values);
                               },
                           .on_device =
                               [&](Stream& stream, int64_t first, int64_t rows, float* values) {
                                 gpu::blended_rows(stream, picture, blurred, masks,
                                                   {space.recipe, space.truncate}, first, rows,
                                                   values);
                               }};
  const Tensor scores = evidence.probe(std::ssize(masks), variants);
  int64_t row = 0;
  for (size_t t = 0; t < targets.size(); ++t) {
    std::vector<double> masked;
    for (int64_t i = 0; i < parts[t].count(); ++i)
      masked.push_back(targets[t].score(scores, row++));
    result.masked.push_back(std::move(masked));
  }
  for (size_t t = 0; score_blurred && t < targets.size(); ++t) {
    result.blurred.push_back(targets[t].score(scores, row));
  }
  return result;
}

std::vector<double> softmax_gated(std::span<const double> weights) {
  std::vector<double> gated(weights.begin(), weights.end());
  if (gated.empty()) return gated;
  const double peak = *std::max_element(gated.begin(), gated.end());
  double sum = 0.0;
  for (double w : weights) sum += std::exp(w - peak);
  for (double& w : gated) w *= std::exp(w - peak) / sum;
  return gated;
}

RawMap integrate(const SubSaliency& parts, std::span<const double> weights,
                 std::span<const double> channel_weights, std::span<const int64_t> channels) {
  const Shape& shape = parts.maps.shape();
  RawMap map{.raw = Tensor(Shape{shape[1], shape[2]}), .remark = parts.remark};
  if (parts.count() > 0) {
    map.raw = weighted_sum(parts.maps.reshaped(Shape{1, shape[0], shape[1], shape[2]}), weights);
  }
  if (parts.count() > 0) {
    map.artefacts["components"] = parts.components;
    map.artefacts["component_maps"] = parts.masks;
  }
  map.artefacts["weights"] =
      Tensor::from<double>(Shape{std::ssize(channel_weights)}, channel_weights);
  const std::vector<double> chosen(channels.begin(), channels.end());
  map.artefacts["channels"] = Tensor::from<double>(Shape{std::ssize(chosen)}, chosen);
  map.series["component_weights"] = {weights.begin(), weights.end()};
  map.series["explained_variance_ratio"] = parts.parts.explained_variance_ratio;
  return map;
}

std::vector<double> mean_gradient(const Tensor& gradient) { return channel_means(gradient); }

}  // namespace camlucida::decompose
