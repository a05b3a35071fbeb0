#include "explain/cam/gradcampp_common.h"

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/planes.h"

namespace camlucida {

std::vector<ExplainerDef::Variant> plus_plus_variants() {
  return {{"paper", "the formula as printed"},
          {"official", "the authors' program: the a_k of a channel are scaled to sum to 1"},
          {"pytorch-grad-cam", "1e-6 is added to the denominator of a_k"}};
}

PlusPlusWeight plus_plus_weight(Settings& settings) {
  const double usual = settings.variant() == "pytorch-grad-cam" ? 1e-6 : 0.0;
  return {.epsilon = settings.number("epsilon", usual, 0.0, 1.0),
          .normalise = settings.flag("normalise", settings.variant() == "official")};
}

Tensor plus_plus_weights(const Tensor& activation, std::span<const Tensor> powers,
                         int64_t samples) {
  if (on_device(activation)) return gpu::plus_plus_weights(activation, powers, samples);
  const int64_t pixels = activation.shape().count(2, 4);
  Tensor weights(Shape{activation.shape()[1]}, DType::kFloat64);
  for (int64_t k = 0; k < weights.count(); ++k) {
    const auto of_channel = [&](const Tensor& d) { return d.as<double>().data() + k * pixels; };
    const PlanePair plane{nullptr, activation.floats() + k * pixels, pixels};
    const MeanDerivatives means{of_channel(powers[0]), of_channel(powers[1]), of_channel(powers[2]),
                                static_cast<double>(samples)};
    weights.as<double>()[static_cast<size_t>(k)] =
        PlusPlusWeight{}.from(SerialGroup{}, PlaneSum{}(SerialGroup{}, plane), pixels, means);
  }
  return weights;
}

}  // namespace camlucida
