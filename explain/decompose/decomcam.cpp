#include <algorithm>
#include <cmath>

#include "explain/blurring.h"
#include "explain/decompose/decom_common.h"
#include "explain/decompose/projection_common.h"

/// DecomCAM. Yang, Guo, et al.: "DecomCAM: Advancing Beyond Saliency Maps through Decomposition and
/// Integration", Neurocomputing 610, 2024 (arXiv 2405.18882).
///
///     alpha_k = mean_p G_k(p)                          G = d score / d A, A and G [C, h, w]
///     X_j     = alpha_j A_j for the P largest alpha    [Z, P], centred over the pixels
///     t_i     = X v_i, i < Q                           principal component scores [h, w]
///     O_i     = bicubic([t_i]+)                        orthogonal sub-saliency maps [H, W]
///     s_i     = score(max(x m_i, blur(x) (1 - m_i)))   m_i = min-max(O_i); x the network's input
///     w_i     = min-max over i of s_i - score(blur(x))
///     M       = [ sum_i w_i O_i ]+                     [H, W]
///
/// The blur is a Gaussian of 10 pixels. The variant is what the authors' program (version 2.5)
/// does: nothing is subtracted from s_i, scores below a threshold count as 0, the rest is divided
/// by the largest. Where that program takes approximations (randomised or incremental components of
/// large layers or more than 500 channels) the exact components are taken here.
namespace camlucida {
namespace {

using namespace decompose;

struct Parameters {
  int64_t channels;
  int64_t components;
  SignRule sign;
  bool subtract_blurred;
  std::string norm;
  double threshold = 0;
};

Parameters read(Settings& settings) {
  const bool official = settings.variant() == "official";
  Parameters parameters;
  parameters.channels = settings.integer("p", 500, 1, 1 << 20);
  parameters.components = settings.integer("q", 10, 1, 1000);
  parameters.sign = sign_setting(settings);
  parameters.subtract_blurred =
      settings.choice("baseline", official ? "none" : "blur", {"none", "blur"}) == "blur";
  parameters.norm =
      settings.choice("weight_norm", official ? "max" : "minmax", {"max", "minmax", "softmax"});
  if (parameters.norm == "max") {
    parameters.threshold = settings.number("threshold", 0.001, 0.0, 1e30);
  }
  return parameters;
}

/// Integration weights of score differences. A single one, or all equal ones, weigh 1 each.
std::vector<double> normalised(std::vector<double> scores, const Parameters& parameters) {
  if (scores.empty()) return scores;
  if (parameters.norm == "softmax") return softmax_gated(scores);
  const double high = *std::max_element(scores.begin(), scores.end());
  const double low = *std::min_element(scores.begin(), scores.end());
  for (double& s : scores) {
    if (parameters.norm == "minmax") {
      s = high > low ? (s - low) / (high - low) : 1.0;
    } else {
      s = s < parameters.threshold || high <= 0.0 ? 0.0 : s / high;
    }
  }
  return scores;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Parameters parameters = read(settings);
  const std::string& layer = evidence.subject().layer;
  const Tensor& picture = evidence.input();
  const auto height = static_cast<int>(picture.shape()[2]);
  const auto width = static_cast<int>(picture.shape()[3]);
  const std::vector<Target>& targets = evidence.targets();

  std::vector<std::vector<double>> alpha;
  std::vector<std::vector<int64_t>> channels;
  std::vector<SubSaliency> parts;
  for (size_t t = 0; t < targets.size(); ++t) {
    alpha.push_back(mean_gradient(evidence.gradient(layer, t)));
    channels.push_back(strongest_channels(alpha[t], parameters.channels));
    parts.push_back(sub_saliency(evidence.activation(layer), alpha[t], channels[t],
                                 parameters.components, parameters.sign, height, width));
  }
  const MaskedScores scores =
      score_masked(evidence, targets, parts, picture, gaussian_blurred(picture, 10.0),
                   parameters.subtract_blurred, {});
  std::vector<RawMap> maps;
  for (size_t t = 0; t < targets.size(); ++t) {
    std::vector<double> differences = scores.masked[t];
    if (parameters.subtract_blurred) {
      for (double& s : differences) s -= scores.blurred[t];
    }
    const std::vector<double> weights = normalised(differences, parameters);
    RawMap map = integrate(parts[t], weights, alpha[t], channels[t]);
    map.series["masked_scores"] = scores.masked[t];
    if (parameters.subtract_blurred) map.series["blurred_score"] = {scores.blurred[t]};
    if (std::all_of(weights.begin(), weights.end(), [](double w) { return w == 0.0; }) &&
        !weights.empty()) {
      map.remark += (map.remark.empty() ? "" : " ") +
                    std::string("No component reaches the threshold: the map is zero.");
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_decomcam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "decomcam",
       .aliases = {"decomcam2", "decomcam25"},
       .title = "DecomCAM",
       .formula = "sum_i w_i [t_i]+, t_i principal components of the alpha_k A_k",
       .source = "Yang et al. 2024",
       .forwards = "Q + 2",
       .backwards = "1",
       .uses_gradient = true,
       .host_part = decompose::kEigenHostPart,
       .variants = {{"paper", "weights: min-max of the score gain over the blurred picture"},
                    {"official", "weights: score over the largest, cut below a threshold"}},
       .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
