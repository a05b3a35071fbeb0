#include <algorithm>
#include <cmath>

#include "explain/perturb/masking_common.h"

namespace camlucida::perturb {

Backdrop read_mask_space(Settings& settings, const std::string& fallback) {
  const bool black = settings.choice("mask_space", fallback, {"normalised", "black"}) == "black";
  return black ? Backdrop::kBlack : Backdrop::kMean;
}

MaskedPicture::MaskedPicture(const Tensor& input, const Preprocessing& recipe, Backdrop backdrop)
    : input_(input), colour_(static_cast<size_t>(input.shape()[1]), 0.0f) {
  if (backdrop == Backdrop::kMean) return;
  if (input.shape()[1] != recipe.channels()) {
    throw Error(ErrorKind::kUsage,
                "an input of " + std::to_string(input.shape()[1]) +
                    " channels has no black: the preprocessing is for " +
                    std::to_string(recipe.channels()),
                "mask the normalised input instead");
  }
  for (size_t c = 0; c < colour_.size(); ++c) {
    colour_[c] = recipe.normalise(static_cast<int>(c), 0.0f);
  }
}

void MaskedPicture::apply(const float* mask, float* row) const {
  const int64_t count = pixels();
  for (int64_t c = 0; c < channels(); ++c) {
    const float* from = input_.floats() + c * count;
    float* to = row + c * count;
    if (behind_.defined()) {
      const float* behind = behind_.floats() + c * count;
      for (int64_t p = 0; p < count; ++p) to[p] = behind[p] + mask[p] * (from[p] - behind[p]);
    } else {
      const float behind = colour_[static_cast<size_t>(c)];
      for (int64_t p = 0; p < count; ++p) to[p] = behind + mask[p] * (from[p] - behind);
    }
  }
}

ScoreKind read_score(Settings& settings, const std::vector<Target>& targets,
                     const std::string& fallback) {
  const auto classless = std::find_if(targets.begin(), targets.end(), [](const Target& target) {
    return target.class_index() < 0;
  });
  const bool possible = classless == targets.end();
  const std::string kind =
      settings.choice("score", possible ? fallback : "logit", {"logit", "probability"});
  if (kind == "logit") return ScoreKind::kTarget;
  if (!possible) {
    throw Error(ErrorKind::kUsage,
                "the target '" + classless->describe() + "' is no class and has no probability",
                "use " + settings.owner() + ".score=logit");
  }
  return ScoreKind::kProbability;
}

double score_of(const Target& target, const Tensor& scores, int64_t row, ScoreKind kind) {
  if (kind == ScoreKind::kTarget) return target.score(scores, row);
  return softmax(scores, row)[static_cast<size_t>(target.class_index())];
}

std::vector<double> softmax_of(const std::vector<std::optional<double>>& values) {
  double peak = -INFINITY;
  for (const std::optional<double>& value : values) peak = std::max(peak, value.value_or(peak));
  std::vector<double> shares;
  double sum = 0;
  for (const std::optional<double>& value : values) {
    sum += shares.emplace_back(value ? std::exp(*value - peak) : 0.0);
  }
  for (double& share : shares) share /= sum;
  return shares;
}

Range range_of(const float* values, int64_t count) {
  // Comparisons in independent lanes, for the compiler to put side by side.
  constexpr int64_t kLanes = 16;
  float low[kLanes];
  float high[kLanes];
  std::fill_n(low, kLanes, INFINITY);
  std::fill_n(high, kLanes, -INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      low[lane] = value < low[lane] ? value : low[lane];
      high[lane] = value > high[lane] ? value : high[lane];
    }
  }
  for (; i < count; ++i) {
    low[0] = values[i] < low[0] ? values[i] : low[0];
    high[0] = values[i] > high[0] ? values[i] : high[0];
  }
  Range range{low[0], high[0]};
  for (int64_t lane = 1; lane < kLanes; ++lane) {
    range.low = std::min(range.low, low[lane]);
    range.high = std::max(range.high, high[lane]);
  }
  if (range.low > range.high) return {NAN, NAN};
  return range;
}

namespace {

/// mm(z) in place; zeros if all values are the same.
void scale(float* values, int64_t count, double epsilon) {
  const Range range = range_of(values, count);
  const float span = range.high - range.low;
  if (!(span > 0.0f)) {
    std::fill_n(values, count, 0.0f);
    return;
  }
  const float denominator = static_cast<float>(span + epsilon);
  for (int64_t i = 0; i < count; ++i) values[i] = (values[i] - range.low) / denominator;
}

}  // namespace

ChannelMasks::ChannelMasks(const Tensor& activation, int height, int width, const Options& options)
    : activation_(activation), height_(height), width_(width), options_(options) {
  const int64_t pixels = activation.shape()[2] * activation.shape()[3];
  for (int64_t k = 0; k < channels(); ++k) {
    const Range range = range_of(activation.floats() + k * pixels, pixels);
    (range.low < range.high ? varying_ : constant_).push_back(k);
    peaks_.push_back(std::max(std::abs(range.low), std::abs(range.high)));
  }
}

Tensor ChannelMasks::plane(int64_t channel) const {
  const Shape shape{activation_.shape()[2], activation_.shape()[3]};
  return Tensor({DType::kFloat32, shape}, activation_.floats() + channel * shape.count(), nullptr);
}

Tensor ChannelMasks::enlarged(int64_t channel) const {
  return resize_bilinear(plane(channel), height_, width_, options_.corners);
}

void ChannelMasks::mask(int64_t channel, float* values) const {
  const int64_t count = int64_t{height_} * width_;
  Tensor low = plane(channel);
  if (options_.scale_first) {
    low = low.clone();
    scale(low.floats(), low.count(), options_.epsilon);
  }
  const Tensor large = resize_bilinear(low, height_, width_, options_.corners);
  std::copy_n(large.floats(), count, values);
  if (!options_.scale_first) scale(values, count, options_.epsilon);
}

std::vector<std::vector<double>> probe_masks(Evidence& evidence, const MaskedPicture& picture,
                                             const ChannelMasks& masks,
                                             const std::vector<int64_t>& runs, ScoreKind kind,
                                             int64_t samples, const ChangeMask& change) {
  const auto count = static_cast<int64_t>(runs.size());
  std::vector<float> mask(static_cast<size_t>(picture.pixels()));
  const Tensor scores = evidence.probe(count * samples, [&](int64_t row, float* values) {
    const int64_t channel = runs[static_cast<size_t>(row / samples)];
    if (channel == kEmptyMask) {
      std::fill(mask.begin(), mask.end(), 0.0f);
    } else {
      masks.mask(channel, mask.data());
    }
    if (change) change(channel, row % samples, mask);
    picture.apply(mask.data(), values);
  });
  std::vector<std::vector<double>> means;
  for (const Target& target : evidence.targets()) {
    std::vector<double>& results = means.emplace_back();
    for (int64_t run = 0; run < count; ++run) {
      double sum = 0;
      for (int64_t i = 0; i < samples; ++i) {
        sum += score_of(target, scores, run * samples + i, kind);
      }
      results.push_back(sum / static_cast<double>(samples));
    }
  }
  return means;
}

std::vector<int64_t> all_channels(const ChannelMasks& masks) {
  std::vector<int64_t> runs = masks.varying();
  if (!masks.constant().empty()) runs.push_back(kEmptyMask);
  return runs;
}

std::vector<std::optional<double>> by_channel(const ChannelMasks& masks,
                                              const std::vector<int64_t>& runs,
                                              const std::vector<double>& results) {
  std::vector<std::optional<double>> values(static_cast<size_t>(masks.channels()));
  for (size_t run = 0; run < runs.size(); ++run) {
    if (runs[run] != kEmptyMask) {
      values[static_cast<size_t>(runs[run])] = results[run];
      continue;
    }
    for (const int64_t k : masks.constant()) values[static_cast<size_t>(k)] = results[run];
  }
  return values;
}

RawMap weighted_map(const Tensor& activation, const std::vector<double>& weights) {
  const Shape shape{activation.shape()[1]};
  return {.raw = weighted_sum(activation, weights),
          .artefacts = {{"weights", Tensor::from<double>(shape, weights)}}};
}

std::vector<RawMap> sampled_masks(Evidence& evidence, Settings& settings, int64_t samples,
                                  const ChangeMask& change) {
  const ScoreKind kind = read_score(settings, evidence.targets(), "logit");
  const Backdrop backdrop = read_mask_space(settings, "normalised");
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const MaskedPicture picture(evidence.input(), evidence.subject().preprocessing, backdrop);
  const ChannelMasks masks(activation, picture.height(), picture.width(),
                           {.scale_first = true, .epsilon = 1e-8});
  const std::vector<int64_t> runs = all_channels(masks);
  std::vector<RawMap> maps;
  for (const std::vector<double>& scores :
       probe_masks(evidence, picture, masks, runs, kind, samples, change)) {
    // The score of the whole picture shifts every exponent alike.
    maps.push_back(weighted_map(activation, softmax_of(by_channel(masks, runs, scores))));
  }
  return maps;
}

}  // namespace camlucida::perturb
