#include "explain/cam/cam_common.h"

/// Class activation mapping. Zhou, Khosla, Lapedriza, Oliva, Torralba: "Learning Deep Features for
/// Discriminative Localization", CVPR 2016, equation 2.
///
///     M_c(p) = sum_k W_ck A_k(p)            A [C, h, w], W [classes, C], M [h, w]
///
/// Bias ignored, no ReLU. With the mean-and-linear head, mean_p M_c(p) = score_c - b_c exactly.
namespace camlucida {
namespace {

LinearHead require_head(const Subject& subject) {
  const auto head = find_head(subject);
  if (const auto* reason = std::get_if<std::string>(&head)) {
    throw Error(ErrorKind::kUsage,
                "CAM does not apply to layer '" + subject.layer + "': " + *reason,
                "use gradcam, which equals CAM where CAM applies");
  }
  return std::get<LinearHead>(head);
}

Needs needs(const Subject& subject, Settings&) {
  require_head(subject);
  return activation_needs(subject);
}

std::vector<RawMap> explain(Evidence& evidence, Settings&) {
  const LinearHead head = require_head(evidence.subject());
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  std::vector<RawMap> maps;
  for (const Target& target : evidence.targets()) {
    // For a class the seed picks one row of W; any other target mixes rows.
    RawMap map =
        map_of_weights(activation, head_weights(head, target.seed(evidence.scores()).to_doubles()));
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
                .aliases = {},
                .title = "CAM",
                .formula = "sum_k W_ck A_k",
                .source = "Zhou et al. 2016, eq. 2",
                .tail = Tail::kSigned,
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
