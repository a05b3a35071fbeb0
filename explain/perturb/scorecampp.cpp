#include <cmath>

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/planes.h"
#include "explain/perturb/masking_common.h"

/// ScoreCAM++. Mitra, Sukul, Roy, Singh, Verma: "Reliable or Deceptive? Investigating Gated
/// Features for Smooth Visual Explanations in CNNs", 2024, arXiv 2404.19341.
///
///     H_k  = tanh(U(A_k))                    A [C, h, w], H_k [H, W], not scaled by min and max
///     w_k  = probability of picture * H_k
///     M(q) = [ sum_k w_k tanh(U(A_k)(q)) ]+  M [H, W]
///
/// This is the form with tanh in both places of the authors' program, which holds several. The
/// paper writes w_k as a change of confidence and gates before enlarging: variant "paper", a
/// reconstruction from its formula.
///
/// Channels that are 0 everywhere have the mask 0, all of them the same, which is run once.
namespace camlucida {
namespace {

using namespace perturb;

/// tanh of every value of the layer.
Tensor gated(const Tensor& activation) {
  if (on_device(activation)) return gpu::hyperbolic_tangent(activation);
  Tensor gates = activation.clone();
  for (float& value : gates.as<float>()) value = std::tanh(value);
  return gates;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const bool paper = settings.variant() == "paper";
  const std::vector<Target>& targets = evidence.targets();
  const ScoreKind kind = read_score(settings, targets, "probability");
  const bool baseline =
      settings.choice("baseline", paper ? "masked" : "none", {"none", "masked"}) == "masked";
  const bool gate_first =
      settings.choice("gate", paper ? "layer" : "enlarged", {"layer", "enlarged"}) == "layer";
  const Backdrop backdrop = read_mask_space(settings, "normalised");

  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const MaskedPicture picture(evidence.input(), evidence.subject().preprocessing, backdrop);
  const ChannelMasks masks(activation, picture.height(), picture.width(),
                           {.scaling = MaskScaling::kGate});
  std::vector<int64_t> runs;
  for (int64_t k = 0; k < masks.channels(); ++k) {
    if (masks.peak(k) != 0.0f) runs.push_back(k);
  }
  const bool dead = static_cast<int64_t>(runs.size()) < masks.channels();
  if (dead || baseline) runs.push_back(kEmptyMask);

  const Tensor gates = gate_first ? gated(activation) : activation;
  std::vector<RawMap> maps;
  for (std::vector<double>& gains : probe_masks(evidence, picture, masks, runs, kind)) {
    const double before = baseline ? gains.back() : 0.0;
    for (double& gain : gains) gain -= before;
    std::vector<double> weights(static_cast<size_t>(masks.channels()), dead ? gains.back() : 0.0);
    for (size_t run = 0; run < runs.size(); ++run) {
      if (runs[run] != kEmptyMask) weights[static_cast<size_t>(runs[run])] = gains[run];
    }
    RawMap map = weighted_map(gates, weights);
    if (!gate_first) map.raw = masks.sum(runs, gains);
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_scorecampp(ExplainerRegistry& registry) {
  registry.add(
      {.name = "scorecam++",
       .aliases = {"scorecampp", "scorecam_plus_plus"},
       .title = "ScoreCAM++",
       .formula = "sum_k p(x * tanh(U(A_k))) tanh(U(A_k))",
       .source = "Mitra et al. 2024 (reconstructed)",
       .forwards = "C + 2",
       .variants = {{"official", ""},
                    {"paper",
                     "weights are changes of confidence, gated before enlarging: "
                     "a reconstruction from the formula"}},
       .tail = Tail::kResizedRectified,
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
