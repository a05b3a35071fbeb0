#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "explain/explainer.h"
#include "explain/perturb/mask_forms.h"

/// What methods share that change the picture or the layer and look at the score again. Where the
/// network runs on a GPU, masks and masked pictures are made there.
namespace camlucida::perturb {

/// The colour that shows where a mask is 0: the mean colour of the data set, which is 0 after the
/// preprocessing, or the picture's black.
enum class Backdrop { kMean, kBlack };

/// Reads the setting "mask_space": "normalised" (masks multiply the network input, so that the mean
/// colour shows) or "black" (they multiply the picture before mean and deviation).
Backdrop read_mask_space(Settings& settings, const std::string& fallback);

/// A picture under masks: 1 shows the picture, 0 what stands behind it.
class MaskedPicture {
 public:
  /// `input` [1, C, H, W]. Throws Error(kUsage) if `recipe` has no black for it.
  MaskedPicture(const Tensor& input, const Preprocessing& recipe, Backdrop backdrop);
  /// Another picture of the same shape behind it.
  MaskedPicture(const Tensor& input, Tensor behind) : input_(input), behind_(std::move(behind)) {}

  const Tensor& input() const { return input_; }
  /// What stands behind it: a colour [C], or a picture of its shape.
  const Tensor& behind() const { return behind_; }

  int height() const { return static_cast<int>(input_.shape()[2]); }
  int width() const { return static_cast<int>(input_.shape()[3]); }
  int64_t pixels() const { return input_.shape()[2] * input_.shape()[3]; }
  int64_t channels() const { return input_.shape()[1]; }

  /// row = behind + mask * (picture - behind); `mask` [H, W], any values; `row` [C, H, W], on the
  /// host.
  void apply(const float* mask, float* row) const;
  /// The picture under the mask that is 0 everywhere, [1, C, H, W].
  Tensor hidden() const;

 private:
  Tensor input_;
  Tensor behind_;
};

/// Which number a method looks at: the score of the target as it was asked for (the logit of a
/// class unless the target says otherwise), or the softmax probability of the target's class.
enum class ScoreKind { kTarget, kProbability };

/// Reads the setting "score", "logit" (kTarget) or "probability". A fallback of "probability"
/// gives way to "logit" if a target is no class. Throws Error(kUsage) if such a target meets
/// "probability" that was asked for.
ScoreKind read_score(Settings& settings, const std::vector<Target>& targets,
                     const std::string& fallback);
/// That number of row `row` of `scores`.
double score_of(const Target& target, const Tensor& scores, int64_t row, ScoreKind kind);

/// Softmax in double over the values there are; 0 for the others.
std::vector<double> softmax_of(const std::vector<std::optional<double>>& values);

/// Smallest and largest of `count` >= 1 values; NaN are passed over unless all are.
struct Range {
  float low;
  float high;
};
Range range_of(const float* values, int64_t count);

/// The masks that the channels of a layer are for the picture: each enlarged and scaled to [0, 1],
/// or as MaskForm says.
class ChannelMasks {
 public:
  /// `activation` [1, C, h, w]; masks are [height, width].
  ChannelMasks(const Tensor& activation, int height, int width, const MaskForm& form);

  int64_t channels() const { return activation_.shape()[1]; }
  /// Channels that have the same value everywhere, and so no mask.
  const std::vector<int64_t>& constant() const { return constant_; }
  /// The others, in order.
  const std::vector<int64_t>& varying() const { return varying_; }
  /// max_p |A_k(p)|.
  float peak(int64_t channel) const { return peaks_[static_cast<size_t>(channel)]; }

  /// The mask, on the host; 0 for a constant channel. May be called from several threads.
  void mask(int64_t channel, float* values) const;
  /// sum_r weights[r] times the mask of channel runs[r], [height, width]; kEmptyMask adds nothing.
  Tensor sum(const std::vector<int64_t>& runs, const std::vector<double>& weights) const;

  /// The picture under the mask of every run, `samples` changed ones each, one after the other.
  /// All arguments and this outlive the source.
  RowSource masked(const MaskedPicture& picture, const std::vector<int64_t>& runs, int64_t samples,
                   const MaskChange& change) const;

 private:
  Tensor plane(int64_t channel) const;

  Tensor activation_;
  int height_;
  int width_;
  MaskForm form_;
  std::vector<int64_t> constant_;
  std::vector<int64_t> varying_;
  std::vector<float> peaks_;
  Tensor ranges_;  // on a GPU: what mm divides by, [C, 2]
};

/// Shows the network the picture under the mask of every run, `samples` times each, and returns the
/// mean score by [target][run]. `change` alters the mask of a sample.
std::vector<std::vector<double>> probe_masks(Evidence& evidence, const MaskedPicture& picture,
                                             const ChannelMasks& masks,
                                             const std::vector<int64_t>& runs, ScoreKind kind,
                                             int64_t samples = 1, const MaskChange& change = {});

/// All channels, constant ones represented by one run of the empty mask.
std::vector<int64_t> all_channels(const ChannelMasks& masks);
/// The results of `runs` by channel: constant channels have that of the empty mask; nothing for
/// channels that were not run.
std::vector<std::optional<double>> by_channel(const ChannelMasks& masks,
                                              const std::vector<int64_t>& runs,
                                              const std::vector<double>& results);

/// The map of sum_k weights[k] A_k with the weights as an artefact.
RawMap weighted_map(const Tensor& activation, const std::vector<double>& weights);

/// Score-CAM over changed masks, as torch-cam has it: the weights are a softmax over channels of
/// the mean score of `samples` changes of each mask. Reads the settings "score" and "mask_space".
std::vector<RawMap> sampled_masks(Evidence& evidence, Settings& settings, int64_t samples,
                                  const MaskChange& change);

}  // namespace camlucida::perturb
