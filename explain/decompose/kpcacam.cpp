#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/error.h"
#include "explain/decompose/projection_common.h"
#include "explain/linalg/symmetric_eigen.h"

/// KPCA-CAM. Karmani, Sivakaran, Prasad, Ali, Yang, Tang: "KPCA-CAM: Visual Explainability of Deep
/// Computer Vision Models Using Kernel PCA", 2024: EigenCAM with the similarity of two pixels
/// measured by a kernel instead of a scalar product.
///
///     x_p  [C]    the activations at pixel p, the mean over pixels removed from every channel
///     K_pq = k(x_p, x_q), centred in feature space: the means of rows and columns removed  [Z, Z]
///     M    = sqrt(lambda_1) u_1, the first eigenvector of K                                [h, w]
///
/// Kernels: sigmoid tanh(gamma x.y + coef0), rbf exp(-gamma |x - y|^2), poly (gamma x.y +
/// coef0)^degree, linear x.y (which is EigenCAM of the centred layer). The sigmoid is not positive
/// definite; only its largest eigenvalue is used.
namespace camlucida {
namespace {

using namespace decompose;

struct Kernel {
  std::string name;
  double gamma = 0;
  double coef0 = 0;
  int64_t degree = 0;

  double operator()(double product, double square_x, double square_y) const {
    if (name == "linear") return product;
    if (name == "rbf") return std::exp(-gamma * (square_x + square_y - 2.0 * product));
    const double argument = gamma * product + coef0;
    return name == "poly" ? std::pow(argument, static_cast<double>(degree)) : std::tanh(argument);
  }
};

Kernel kernel_setting(Settings& settings, int64_t channels) {
  Kernel kernel{settings.choice("kernel", "sigmoid", {"sigmoid", "rbf", "poly", "linear"})};
  if (kernel.name == "linear") return kernel;
  kernel.gamma = settings.number("gamma", 1.0 / static_cast<double>(channels), 0.0, 1e9);
  if (kernel.name == "rbf") return kernel;
  kernel.coef0 = settings.number("coef0", 1.0, -1e9, 1e9);
  if (kernel.name == "poly") kernel.degree = settings.integer("degree", 3, 1, 16);
  return kernel;
}

/// K [Z, Z], centred in feature space, and the largest magnitude it had before.
std::pair<std::vector<double>, double> kernel_matrix(const LayerMatrix& x, const Kernel& kernel) {
  const auto order = static_cast<size_t>(x.pixels());
  std::vector<double> matrix = x.gram(true);
  std::vector<double> squares(order);
  for (size_t p = 0; p < order; ++p) squares[p] = matrix[p * order + p];
  std::vector<double> means(order, 0.0);
  double peak = 0.0;
  for (size_t p = 0; p < order; ++p) {
    for (size_t q = 0; q <= p; ++q) {
      const double value = kernel(matrix[p * order + q], squares[p], squares[q]);
      matrix[p * order + q] = matrix[q * order + p] = value;
      peak = std::isfinite(value) ? std::max(peak, std::abs(value)) : INFINITY;
    }
  }
  double total = 0.0;
  for (size_t p = 0; p < order; ++p) {
    for (size_t q = 0; q < order; ++q) means[p] += matrix[p * order + q];
    means[p] /= static_cast<double>(order);
    total += means[p] / static_cast<double>(order);
  }
  for (size_t p = 0; p < order; ++p) {
    for (size_t q = 0; q < order; ++q) matrix[p * order + q] += total - means[p] - means[q];
  }
  return {matrix, peak};
}

RawMap first_component(const Tensor& layer, const Kernel& kernel) {
  const Shape& shape = layer.shape();
  const int64_t pixels = shape[2] * shape[3];
  if (pixels > kMaxEigenOrder) leading_eigenpair({}, pixels);  // refuses
  const std::unique_ptr<LayerMatrix> x = layer_matrix(layer, true);
  RawMap map{.raw = Tensor(Shape{shape[2], shape[3]}), .remark = nonfinite_remark(x->nonfinite())};
  const auto [matrix, peak] = kernel_matrix(*x, kernel);
  if (!std::isfinite(peak)) {
    throw Error(ErrorKind::kUsage, "the kernel overflows on this layer",
                "use a smaller gamma or degree, or another kernel");
  }
  const LeadingEigenpair first = leading_eigenpair(matrix, pixels);
  constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
  if (first.value <= peak * static_cast<double>(pixels) * kEpsilon) {
    map.remark = "All pixels of the layer look alike to the kernel: there is no component.";
    return map;
  }
  double extremum = 0.0;
  for (double v : first.vector) {
    if (std::abs(v) > std::abs(extremum)) extremum = v;
  }
  const double scale = std::copysign(std::sqrt(first.value), extremum);
  std::transform(first.vector.begin(), first.vector.end(), map.raw.floats(),
                 [&](double v) { return static_cast<float>(scale * v); });
  return map;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Tensor& layer = evidence.activation(evidence.subject().layer);
  const RawMap map = first_component(layer, kernel_setting(settings, layer.shape()[1]));
  return std::vector<RawMap>(evidence.targets().size(), map);
}

}  // namespace

void register_kpcacam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "kpcacam",
       .aliases = {},
       .title = "KPCA-CAM",
       .formula = "first kernel principal component of the pixels of A, sigmoid kernel",
       .source = "Karmani et al. 2024",
       .class_agnostic = true,
       .host_part = "the kernel matrix of the pixels and its eigenvector",
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
