#pragma once

#include <span>
#include <string>
#include <vector>

#include "explain/explainer.h"
#include "explain/linalg/principal_components.h"

/// The stages that both versions of DecomCAM are made of: choose channels, decompose them into
/// orthogonal sub-saliency maps, score the picture seen through each of them.
namespace camlucida::decompose {

/// The `count` channels with the largest weights (signed), best first; equal weights in the order
/// of their index, NaN last. All channels if there are fewer.
std::vector<int64_t> strongest_channels(std::span<const double> weights, int64_t count);

/// Orthogonal sub-saliency maps ("OSSM") of one target, Q of them. Its tensors lie where the layer
/// does.
struct SubSaliency {
  PrincipalComponents parts;  ///< of X [Z, P], X_j = weights[channels[j]] A_channels[j], centred
  Tensor components;          ///< [Q, h, w], the signed scores t_i
  Tensor maps;         ///< [Q, H, W], [t_i]+ scaled up bicubically; overshoots may be negative
  Tensor masks;        ///< [Q, H, W], maps scaled to [0, 1]; zero where a map is constant
  std::string remark;  ///< fewer components than asked, or values that counted as 0

  int64_t count() const { return components.shape()[0]; }
};

/// `components` [Q, h, w] with their maps and masks at height x width, where they lie.
SubSaliency scaled_up(const Tensor& components, int height, int width);

/// Decomposes `channels` of `layer` [1, C, h, w], each multiplied by its entry of `weights` [C],
/// into at most `count` components, and scales them to height x width. Throws Error(kUsage) for a
/// channel that does not exist and what principal_components throws.
SubSaliency sub_saliency(const Tensor& layer, std::span<const double> weights,
                         std::span<const int64_t> channels, int64_t count, SignRule sign,
                         int height, int width);

/// Scores of the picture seen through the masks: for target t and its component i, `masked[t][i]`
/// is the score of max(x * m_i, b * (1 - m_i)), element by element over picture x and its blurred
/// copy b; `blurred[t]` that of b alone.
struct MaskedScores {
  std::vector<std::vector<double>> masked;
  std::vector<double> blurred;  ///< empty if not asked for
};

/// What the masks act on: the network's input, or the picture before mean and deviation in units of
/// a byte (`recipe` not null), which may be cut to whole bytes before it becomes the input.
struct MaskSpace {
  const Preprocessing* recipe = nullptr;
  bool truncate = false;
};

/// One forward pass per component, and one more with `score_blurred`. `picture` [1, C, H, W] and
/// `blurred` lie in the space where the masks act.
MaskedScores score_masked(Evidence& evidence, std::span<const Target> targets,
                          std::span<const SubSaliency> parts, const Tensor& picture,
                          const Tensor& blurred, bool score_blurred, const MaskSpace& space);

/// v_i = w_i softmax(w)_i: the gate of Decom-CAM v1.
std::vector<double> softmax_gated(std::span<const double> weights);

/// sum_i weights[i] maps_i as raw map [H, W] with "components", "component_maps" (the masks),
/// "channels" and "weights" (of all channels) as artefacts and the explained variance as series.
RawMap integrate(const SubSaliency& parts, std::span<const double> weights,
                 std::span<const double> channel_weights, std::span<const int64_t> channels);

/// mean_p G_k(p) of a gradient [1, C, h, w]: the channel weights of Grad-CAM.
std::vector<double> mean_gradient(const Tensor& gradient);

}  // namespace camlucida::decompose
