#include <algorithm>
#include <cmath>

#include "engine/image/resample.h"
#include "explain/cam/cam_common.h"

/// FM-G-CAM. Silva and Bilgin: "FM-G-CAM: A Holistic Approach for Explainable AI in Computer
/// Vision", 2023, arXiv 2312.05975: the K best classes compete for every pixel.
///
///     T_r(p) = mean_k alpha^r_k A_k(p)             Grad-CAM of class r over C, T [K, h, w]
///     F_r(p) = T_r(p) if r = arg max_q T_q(p), else 0
///     F      = relu(F / |F|_2), then one minimum and maximum for all classes
///     M      = F resized (cubic, a = -0.75)        [K, H, W]
///
/// This is the method as its authors describe it. Their program scales the shared activation in
/// place from class to class and normalises along rows only; that form is not offered. The raw map
/// is T_r. The final maps of all classes share one scale and are not clipped after the cubic
/// resize, so that they overshoot [0, 1] a little. With one class it is Grad-CAM up to scale.
namespace camlucida {
namespace {

double gelu(double x) { return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))); }

double activate(const std::string& activation, double x) {
  if (activation == "gelu") return gelu(x);
  if (activation == "elu") return x > 0 ? x : std::expm1(x);
  return std::max(x, 0.0);
}

/// F [K, h, w] of T; what is not finite counts as 0.
std::vector<std::vector<double>> compete(std::vector<std::vector<double>> maps,
                                         const std::string& activation) {
  for (auto& map : maps) {
    for (double& value : map) value = std::isfinite(value) ? value : 0.0;
  }
  double squares = 0.0;
  for (size_t p = 0; p < maps[0].size(); ++p) {
    size_t winner = 0;
    for (size_t r = 1; r < maps.size(); ++r) {
      if (maps[r][p] > maps[winner][p]) winner = r;
    }
    for (size_t r = 0; r < maps.size(); ++r) {
      if (r != winner) maps[r][p] = 0.0;
    }
    squares += maps[winner][p] * maps[winner][p];
  }
  const double norm = squares > 0 ? std::sqrt(squares) : 1.0;
  double low = INFINITY;
  double high = -INFINITY;
  for (auto& map : maps) {
    for (double& value : map) {
      value = activate(activation, value / norm);
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  for (auto& map : maps) {
    for (double& value : map) value = high > low ? (value - low) / (high - low) : 0.0;
  }
  return maps;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const std::string activation = settings.choice("activation", "relu", {"relu", "gelu", "elu"});
  std::vector<RawMap> maps = maps_of_weights(evidence, [](const Tensor& a, const Tensor& g) {
    std::vector<double> weights = mean_gradient(a, g).to_doubles();
    for (double& weight : weights) weight /= static_cast<double>(weights.size());
    return Tensor::from<double>(Shape{std::ssize(weights)}, weights);
  });
  std::vector<std::vector<double>> raw;
  for (const RawMap& map : maps) raw.push_back(map.raw.to_doubles());
  const std::vector<std::vector<double>> fused = compete(std::move(raw), activation);
  const Shape& picture = evidence.input().shape();
  for (size_t r = 0; r < maps.size(); ++r) {
    Tensor map(maps[r].raw.shape());
    from_double(DType::kFloat32, fused[r].data(), map.raw(), map.count());
    maps[r].map = resize_bicubic(map, static_cast<int>(picture[2]), static_cast<int>(picture[3]));
    maps[r].artefacts["fused"] = std::move(map);
  }
  return maps;
}

}  // namespace

void register_fmgcam(ExplainerRegistry& registry) {
  registry.add({.name = "fmgcam",
                .aliases = {},
                .title = "FM-G-CAM",
                .formula = "mean_k(mean_p(G_k) A_k) where the class beats the others",
                .source = "Silva and Bilgin 2023",
                .backwards = "1",
                .uses_gradient = true,
                .joint = true,
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain = explain});
}

}  // namespace camlucida
