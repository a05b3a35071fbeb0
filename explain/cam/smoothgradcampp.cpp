#include "explain/cam/gradcampp_common.h"
#include "explain/gradient/moments_common.h"

/// Smooth Grad-CAM++. Omeiza, Speakman, Cintas, Weldermariam: "Smooth Grad-CAM++: An Enhanced
/// Inference Level Visualization Technique for Deep Convolutional Neural Network Models", 2019,
/// arXiv 1908.01224, equations 4 to 6: Grad-CAM++ with the derivatives averaged over n noisy copies
/// of the picture,
///
///     D_j    = mean over m of G_m^j, j = 1, 2, 3       G_m [C, h, w] at x + N(0, sigma^2)
///     a_k(p) = D_2 / (2 D_2 + sum_q A_k(q) D_3)
///     w_k    = sum_p a_k(p) [D_1]+
///     M(p)   = [ sum_k w_k A_k(p) ]+                   A of the picture itself, M [h, w]
///
/// Sigma is in units of the network's input, after mean and deviation. Without noise it is
/// Grad-CAM++. Sample m of a seed has the same noise whatever the batch and the number of samples.
namespace camlucida {
namespace {

using gradient::gradient_powers;
using gradient::noisy_pictures;

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const int64_t samples = settings.integer("samples", 16, 1, 100'000);
  const double sigma = settings.number("sigma", 0.3, 0.0, 1e6);
  const Subject& subject = evidence.subject();
  const Tensor& activation = evidence.activation(subject.layer);
  const RowSource pictures = noisy_pictures(evidence.input(), sigma, settings.seed());
  std::vector<RawMap> maps;
  for (const std::vector<Tensor>& powers :
       gradient_powers(evidence, gradient_needs(subject), subject.layer, samples, pictures, 3)) {
    maps.push_back(map_of_weights(activation, plus_plus_weights(activation, powers, samples)));
  }
  return maps;
}

}  // namespace

void register_smoothgradcampp(ExplainerRegistry& registry) {
  registry.add(
      {.name = "smoothgradcam++",
       .aliases = {"smoothgradcampp", "smoothgradcamplusplus"},
       .title = "Smooth Grad-CAM++",
       .formula = "Grad-CAM++ with G, G^2, G^3 averaged over noisy pictures",
       .source = "Omeiza et al. 2019, eq. 4-6",
       .forwards = "1 + samples",
       .backwards = "samples",
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
