#include <algorithm>
#include <cmath>
#include <numbers>

#include "explain/cam/cam_common.h"
#include "explain/perturb/masking_common.h"

/// Score-CAM. Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu: "Score-CAM: Score-Weighted Visual
/// Explanations for Convolutional Neural Networks", CVPR workshops 2020, equations 3 to 6.
///
///     H_k  = mm(U(A_k))               A [C, h, w], H_k [H, W] in [0, 1]
///     f_k  = score of picture * H_k   one forward pass per channel
///     w_k  = softmax_k(f_k - f_0)     f_0 the score of the picture masked altogether
///     M(p) = [ sum_k w_k A_k(p) ]+    M [h, w]
///
/// The published programs differ in the score (logit or probability), in whether the weights pass a
/// softmax over the channels, in how maps are enlarged and in which of them are summed; every
/// difference is a setting, every program a variant. A softmax takes no notice of f_0.
///
/// Channels without any variation have the mask 0, all of them the same, which is run once.
namespace camlucida {
namespace {

using namespace perturb;

enum class Baseline { kNone, kMasked, kInput };

struct Form {
  ScoreKind score;
  bool channel_softmax;
  Baseline baseline;
  MaskForm masks;
  bool sum_enlarged;
  bool skip_constant;
  Backdrop backdrop;
  int64_t channels;  // evaluated at most, 0 = all
};

Form read_form(Settings& settings, const std::vector<Target>& targets) {
  const std::string& variant = settings.variant();
  const bool official = variant == "official";
  const bool aligned = variant == "pytorch-grad-cam";
  const bool torch_cam = variant == "torch-cam";
  Form form;
  form.score = read_score(settings, targets, official ? "probability" : "logit");
  form.channel_softmax = settings.flag("channel_softmax", !official);
  const std::string baseline = settings.choice("baseline",
                                               official || aligned ? "none"
                                               : torch_cam         ? "input"
                                                                   : "masked",
                                               {"none", "masked", "input"});
  form.baseline = baseline == "none"     ? Baseline::kNone
                  : baseline == "masked" ? Baseline::kMasked
                                         : Baseline::kInput;
  form.masks.corners =
      settings.flag("align_corners", aligned) ? Corners::kAligned : Corners::kHalfPixel;
  form.masks.scaling = settings.choice("normalise", torch_cam ? "layer" : "enlarged",
                                       {"layer", "enlarged"}) == "layer"
                           ? MaskScaling::kLayer
                           : MaskScaling::kEnlarged;
  form.masks.epsilon = settings.number("epsilon", aligned || torch_cam ? 1e-8 : 0.0, 0.0, 1.0);
  form.sum_enlarged =
      settings.choice("sum", official ? "enlarged" : "layer", {"layer", "enlarged"}) == "enlarged";
  form.skip_constant =
      settings.choice("constant_channels", official ? "skip" : "once", {"once", "skip"}) == "skip";
  form.backdrop = read_mask_space(settings, "normalised");
  form.channels = settings.integer("channels", 0, 0, 1 << 24);
  return form;
}

/// The `count` channels with the largest magnitudes, in channel order; ties go to the lower one.
std::vector<int64_t> strongest(const ChannelMasks& masks, int64_t count) {
  std::vector<int64_t> order = masks.varying();
  if (count == 0 || count >= static_cast<int64_t>(order.size())) return order;
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return masks.peak(a) > masks.peak(b); });
  order.resize(static_cast<size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

/// What the channels that were left out can have changed, where that is bounded: probabilities lie
/// in [0, 1], logits anywhere.
void record_loss(const Form& form, const ChannelMasks& masks, const std::vector<int64_t>& kept,
                 const Tensor& activation, Settings& settings) {
  const auto lost = static_cast<double>(masks.varying().size() - kept.size());
  if (lost == 0) return;
  settings.record("omitted_channels", lost);
  if (form.score != ScoreKind::kProbability) {
    settings.record("lost_weight_bound", "none: logits have no bounds");
    return;
  }
  if (form.channel_softmax) {
    // Every kept channel has a share of at least e^0 where an omitted one has at most e^1.
    const size_t constant = form.skip_constant ? 0 : masks.constant().size();
    const auto known = static_cast<double>(kept.size() + constant);
    settings.record("lost_weight_bound", lost * std::numbers::e / (lost * std::numbers::e + known));
    return;
  }
  std::vector<double> omitted(static_cast<size_t>(masks.channels()), 0.0);
  for (const int64_t k : masks.varying()) {
    const bool here = std::binary_search(kept.begin(), kept.end(), k);
    omitted[static_cast<size_t>(k)] = here ? 0.0 : 1.0;
  }
  const std::vector<double> sums =
      product_sum(Product::kActivation, activation, activation,
                  Tensor::from<double>(Shape{masks.channels()}, omitted))
          .to_doubles();
  settings.record("lost_map_bound", *std::max_element(sums.begin(), sums.end()));
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const std::vector<Target>& targets = evidence.targets();
  const Form form = read_form(settings, targets);
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const MaskedPicture picture(evidence.input(), evidence.subject().preprocessing, form.backdrop);
  const ChannelMasks masks(activation, picture.height(), picture.width(), form.masks);

  std::vector<int64_t> runs = strongest(masks, form.channels);
  record_loss(form, masks, runs, activation, settings);
  settings.record("constant_channels", static_cast<double>(masks.constant().size()));
  const bool with_constant = !form.skip_constant && !masks.constant().empty();
  const bool with_baseline = form.baseline == Baseline::kMasked;
  if (with_constant || with_baseline) runs.push_back(kEmptyMask);

  const auto results = probe_masks(evidence, picture, masks, runs, form.score);
  std::vector<RawMap> maps;
  for (size_t t = 0; t < targets.size(); ++t) {
    std::vector<std::optional<double>> gains = by_channel(masks, runs, results[t]);
    if (form.skip_constant) {
      for (const int64_t k : masks.constant()) gains[static_cast<size_t>(k)].reset();
    }
    const double baseline = with_baseline ? results[t].back()
                            : form.baseline == Baseline::kInput
                                ? score_of(targets[t], evidence.scores(), 0, form.score)
                                : 0.0;
    for (std::optional<double>& gain : gains) {
      if (gain) *gain -= baseline;
    }
    std::vector<double> weights;
    if (form.channel_softmax) {
      weights = softmax_of(gains);
    } else {
      for (const std::optional<double>& gain : gains) weights.push_back(gain.value_or(0.0));
    }
    RawMap map = weighted_map(activation, weights);
    if (form.sum_enlarged) {
      map.map = finish_map(map.raw, picture.height(), picture.width(), Tail::kResizedRectified);
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_scorecam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "scorecam",
       .aliases = {},
       .title = "Score-CAM",
       .formula = "sum_k softmax_k(score(x * mm(U(A_k)))) A_k",
       .source = "Wang et al. 2020, eq. 3-6",
       .forwards = "C + 2",
       .variants = {{"paper", ""},
                    {"official",
                     "weights are probabilities, no softmax over channels, constant "
                     "channels skipped, maps summed after enlarging"},
                    {"pytorch-grad-cam", "enlarged with aligned corners, no baseline"},
                    {"torch-cam",
                     "masks scaled before enlarging, compared with the whole picture"}},
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
