#include "explain/perturb/masking_common.h"

/// SS-CAM. Wang, Naidu, Michael, Kundu: "SS-CAM: Smoothed Score-CAM for Sharper Visual Feature
/// Localization", 2020, arXiv 2006.14255, in the form of torch-cam (noise on the masks).
///
///     H_k  = U(mm(A_k))                                     A [C, h, w], H_k [H, W]
///     w_k  = softmax_k(mean_j s(x * (H_k + n_kj)) - s(x))   n_kj [H, W] ~ N(0, std^2), j < samples
///     M(p) = [ sum_k w_k A_k(p) ]+                          M [h, w]
///
/// The noise of sample j of channel k is a random stream of its own, so that it depends on the seed
/// alone. Channels without variation share the samples of one of them, which has the stream C.
namespace camlucida {
namespace {

using namespace perturb;

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const int64_t samples = settings.integer("samples", 35, 1, 100000);
  const double deviation = settings.number("std", 2.0, 0.0, 1e6);
  const uint64_t seed = settings.seed();
  const int64_t channels = evidence.activation(evidence.subject().layer).shape()[1];
  return sampled_masks(evidence, settings, samples,
                       {.kind = MaskChange::Kind::kNoise,
                        .samples = samples,
                        .deviation = deviation,
                        .seed = seed,
                        .channels = channels});
}

}  // namespace

void register_sscam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "sscam",
       .aliases = {},
       .title = "SS-CAM",
       .formula = "sum_k softmax_k(mean_j score(x * (H_k + noise_j))) A_k",
       .source = "Wang et al. 2020 (SS-CAM), as in torch-cam",
       .forwards = "1 + samples C",
       .variants = {{"torch-cam", ""}},
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
