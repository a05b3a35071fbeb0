#include "explain/explainer.h"
#include "explain/linear_head.h"

/// Class activation mapping. Zhou, Khosla, Lapedriza, Oliva, Torralba: "Learning Deep Features for
/// Discriminative Localization", CVPR 2016, equation 2.
///
///     M_c(p) = sum_k W_ck A_k(p)            A [C, h, w], W [classes, C], M [h, w]
///
/// Bias ignored, no ReLU. With the mean-and-linear head, mean_p M_c(p) = score_c - b_c exactly.
namespace camlucida {
namespace {

LinearHead require_head(const Subject& subject) {
  const auto head = find_linear_head(*subject.graph, subject.graph->require(subject.layer),
                                     subject.graph->require(subject.score));
  if (const auto* reason = std::get_if<std::string>(&head)) {
    throw Error(ErrorKind::kUsage,
                "CAM does not apply to layer '" + subject.layer + "': " + *reason,
                "use gradcam, which equals CAM where CAM applies");
  }
  return std::get<LinearHead>(head);
}

Needs needs(const Subject& subject) {
  require_head(subject);
  return Needs{.outputs = {subject.score}, .taps = {subject.layer}, .score = subject.score};
}

std::vector<RawMap> explain(Evidence& evidence) {
  const LinearHead head = require_head(evidence.subject());
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const Shape& shape = activation.shape();
  const int64_t channels = shape[1];
  const int64_t pixels = shape[2] * shape[3];
  std::vector<RawMap> maps;
  for (const Target& target : evidence.targets()) {
    RawMap map{Tensor(Shape{shape[2], shape[3]}), {}, ""};
    const float* weights = head.weight.floats() + target.class_index() * channels;
    std::vector<double> sums(static_cast<size_t>(pixels), 0.0);
    for (int64_t k = 0; k < channels; ++k) {
      const float* plane = activation.floats() + k * pixels;
      for (int64_t p = 0; p < pixels; ++p) {
        sums[static_cast<size_t>(p)] += static_cast<double>(weights[k]) * plane[p];
      }
    }
    from_double(DType::kFloat32, sums.data(), map.raw.raw(), pixels);
    if (!head.exact) {
      map.remark = "an activation follows the class convolution: the map is not exactly the score";
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_cam(ExplainerRegistry& registry) {
  registry.add({.name = "cam",
                .title = "CAM",
                .formula = "sum_k W_ck A_k",
                .source = "Zhou et al. 2016, eq. 2",
                .tail = Tail::kSigned,
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
