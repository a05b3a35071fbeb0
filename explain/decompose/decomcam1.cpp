#include <algorithm>
#include <cmath>

#include "engine/cuda/device_tensor.h"
#include "engine/error.h"
#include "explain/blurring.h"
#include "explain/cam/cam_common.h"
#include "explain/decompose/decom_common.h"
#include "explain/decompose/projection_common.h"
#include "explain/gpu/decompose.h"

/// Decom-CAM, the first version. Yang, Guo, et al.: "Decom-CAM: Tell Me What You See, In Details!
/// Feature-Level Interpretation via Decomposition Class Activation Map", 2023 (arXiv 2306.04644).
///
///     alpha_k = mean_p G_k(p)                          G = d s / d A, A and G [C, h, w]
///     X_j     = alpha_j A_j for the K largest alpha    [Z, K], centred over the pixels
///     t_i     = X v_i, i < Q                           principal component scores [h, w]
///     H_i     = bicubic([t_i]+)                        [H, W]
///     w_i     = s(max(I m_i, blur(I) (1 - m_i))) - s(blur(I))      m_i = min-max(H_i)
///     M       = [ sum_i w_i softmax(w)_i H_i ]+        [H, W]
///
/// It was made for CLIP: s is the cosine of the picture's embedding with that of a text. A
/// classifier's embedding is its row of scores and the text that of one class, so s = y_c / |y|;
/// targets that are no class are taken as they are. The masks act on the picture I before mean and
/// deviation, blurred by a Gaussian of 10 pixels. The variant truncates every masked picture to
/// bytes as the authors' program does.
namespace camlucida {
namespace {

using namespace decompose;

/// Cosine with the embedding of a class, for targets that are one.
std::vector<Target> cosines(Evidence& evidence) {
  std::vector<Target> targets;
  for (const Target& target : evidence.targets()) {
    if (target.class_index() < 0) {
      targets.push_back(target);
      continue;
    }
    const Tensor& scores = evidence.scores();
    Tensor class_only(Shape{scores.count() / scores.shape()[0]});
    class_only.floats()[target.class_index()] = 1.0f;
    targets.push_back(Target::cosine(class_only, target.describe()));
  }
  return targets;
}

/// alpha of Grad-CAM, or of Grad-CAM++ on exp(s) as the authors' second program has it:
/// alpha_k = sum_p a_k(p) [d exp(s) / d A]+, a = g^2 / (2 g^2 + sum_q A_k(q) g^3 + 1e-6).
std::vector<double> channel_weights(const Tensor& layer, const Tensor& gradient, double score,
                                    bool plus_plus) {
  if (!plus_plus) return mean_gradient(gradient);
  std::vector<double> alpha =
      plane_weights(PlusPlusWeight{.epsilon = 1e-6}, layer, gradient).to_doubles();
  for (double& value : alpha) {
    if (value != 0.0) value *= std::exp(score);
  }
  return alpha;
}

/// The picture before mean and deviation, in units of a byte. Throws Error(kUsage) if the recipe
/// does not say what it was.
Tensor as_bytes(const Tensor& input, const Preprocessing& recipe, bool rounded) {
  if (input.shape()[1] != recipe.channels()) {
    throw Error(
        ErrorKind::kUsage,
        "method decomcam1 masks the picture, and an input of " + std::to_string(input.shape()[1]) +
            " channels is none: the preprocessing is for " + std::to_string(recipe.channels()),
        "use decomcam, which masks the network's input");
  }
  if (on_device(input)) return gpu::as_bytes(input, recipe, rounded);
  Tensor picture(input.shape());
  const int64_t pixels = input.shape()[2] * input.shape()[3];
  for (int64_t i = 0; i < input.count(); ++i) {
    const float byte = recipe.denormalise(static_cast<int>(i / pixels), input.floats()[i]);
    picture.floats()[i] = rounded ? std::clamp(std::nearbyint(byte), 0.0f, 255.0f) : byte;
  }
  return picture;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const bool truncate = settings.flag("truncate_to_bytes", settings.variant() == "official");
  const int64_t channel_count = settings.integer("p", 100, 1, 1 << 20);
  const int64_t components = settings.integer("q", 10, 1, 1000);
  const SignRule sign = sign_setting(settings);
  const bool plus_plus =
      settings.choice("channel_weights", "gradcam", {"gradcam", "gradcam++"}) == "gradcam++";
  const Subject& subject = evidence.subject();
  const Shape& shape = evidence.input().shape();
  const auto height = static_cast<int>(shape[2]);
  const auto width = static_cast<int>(shape[3]);

  // Gradients of other scores than the run's own: a pass of their own.
  const std::vector<Target> targets = cosines(evidence);
  Needs needs = gradient_needs(subject);
  needs.seeds_per_image = static_cast<int>(targets.size());
  std::vector<std::vector<double>> alpha;
  std::vector<std::vector<int64_t>> channels;
  std::vector<SubSaliency> parts;
  {
    const SessionPool::Lease session = evidence.pool().lend(shape, needs);
    session->forward(evidence.input());
    Evidence own(evidence.pool(), *session, evidence.input(), subject, targets);
    evidence.count({.forwards = 1, .backwards = 1});
    for (size_t t = 0; t < targets.size(); ++t) {
      const Tensor layer = evidence.keep(own.activation(subject.layer));
      alpha.push_back(
          channel_weights(layer, own.gradient(subject.layer, t), own.score(t), plus_plus));
      channels.push_back(strongest_channels(alpha[t], channel_count));
      parts.push_back(sub_saliency(layer, alpha[t], channels[t], components, sign, height, width));
    }
  }
  const Tensor picture = as_bytes(evidence.input(), subject.preprocessing, truncate);
  const MaskedScores scores =
      score_masked(evidence, targets, parts, picture, gaussian_blurred(picture, 10.0), true,
                   {.recipe = &subject.preprocessing, .truncate = truncate});
  std::vector<RawMap> maps;
  for (size_t t = 0; t < targets.size(); ++t) {
    std::vector<double> gains = scores.masked[t];
    for (double& s : gains) s -= scores.blurred[t];
    RawMap map = integrate(parts[t], softmax_gated(gains), alpha[t], channels[t]);
    map.series["component_scores"] = gains;
    map.series["blurred_score"] = {scores.blurred[t]};
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_decomcam1(ExplainerRegistry& registry) {
  registry.add(
      {.name = "decomcam1",
       .aliases = {"decomcamv1"},
       .title = "Decom-CAM (version 1)",
       .formula = "sum_i w_i softmax(w)_i [t_i]+, t_i principal components of the alpha_k A_k",
       .source = "Yang et al. 2023",
       .forwards = "Q + 3",
       .backwards = "2",
       .uses_gradient = true,
       .host_part = decompose::kEigenHostPart,
       .variants = {{"paper", "masked pictures as they are"},
                    {"official", "masked pictures truncated to bytes"}},
       .tail = Tail::kResizedRectified,
       .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
