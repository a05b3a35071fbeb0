#include "explain/cam/cam_common.h"

/// Grad-CAM. Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: "Grad-CAM: Visual Explanations from
/// Deep Networks via Gradient-based Localization", ICCV 2017, equations 1 and 2.
///
///     alpha_k = mean_p G_k(p)        G = d score / d A, A and G [C, h, w]
///     M(p)    = [ sum_k alpha_k A_k(p) ]+                       M [h, w]
///
/// The raw map is the sum before the ReLU. With a mean-and-linear head alpha_k = W_ck / (h w), so
/// that the raw map is CAM / (h w); for any function of the scores with derivative t' it is
/// (W^T t')_k / (h w). That closed form is taken where the head allows it ("closed_form"), and no
/// backward pass is made.
namespace camlucida {
namespace {

bool closed_form(const Subject& subject, Settings& settings) {
  const bool wanted = settings.choice("closed_form", "auto", {"auto", "never"}) == "auto";
  const bool taken = wanted && exact_head(subject).has_value();
  settings.record("weights", taken ? "closed form" : "backward pass");
  return taken;
}

Needs needs(const Subject& subject, Settings& settings) {
  return closed_form(subject, settings) ? activation_needs(subject) : gradient_needs(subject);
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Subject& subject = evidence.subject();
  if (!closed_form(subject, settings)) return maps_of_weights(evidence, mean_gradient);
  const LinearHead head = *exact_head(subject);
  const Tensor& activation = evidence.activation(subject.layer);
  const double pixels = static_cast<double>(activation.shape()[2] * activation.shape()[3]);
  std::vector<RawMap> maps;
  for (const Target& target : evidence.targets()) {
    std::vector<double> weights = head_weights(head, target.seed(evidence.scores()).to_doubles());
    for (double& weight : weights) weight /= pixels;
    maps.push_back(map_of_weights(activation, std::move(weights)));
  }
  return maps;
}

}  // namespace

void register_gradcam(ExplainerRegistry& registry) {
  registry.add({.name = "gradcam",
                .aliases = {},
                .title = "Grad-CAM",
                .formula = "sum_k mean_p(G_k) A_k",
                .source = "Selvaraju et al. 2017, eq. 1-2",
                .backwards = "1",
                .uses_gradient = true,
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
