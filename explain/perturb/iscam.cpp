#include "explain/perturb/masking_common.h"

/// IS-CAM. Naidu, Ghosh, Maurya, Nayak, Kundu: "IS-CAM: Integrated Score-CAM for axiomatic-based
/// explanations", 2020, arXiv 2010.03023, in the form of torch-cam.
///
///     H_k  = U(mm(A_k))                               A [C, h, w], H_k [H, W]
///     w_k  = softmax_k(mean_j s(c_j x * H_k) - s(x))  c_j = (1 + 2 + ... + j) / n, j = 1 .. n
///     M(p) = [ sum_k w_k A_k(p) ]+                    M [h, w]
///
/// The factors c_j add up as they do in that program: the last of n = 10 is 5.5, the masked picture
/// at more than its own contrast.
namespace camlucida {
namespace {

using namespace perturb;

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const int64_t samples = settings.integer("samples", 10, 1, 100000);
  return sampled_masks(evidence, settings, samples,
                       {.kind = MaskChange::Kind::kContrast, .samples = samples});
}

}  // namespace

void register_iscam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "iscam",
       .aliases = {},
       .title = "IS-CAM",
       .formula = "sum_k softmax_k(mean_j score(c_j x * H_k)) A_k",
       .source = "Naidu et al. 2020, as in torch-cam",
       .forwards = "1 + samples C",
       .variants = {{"torch-cam", ""}},
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
