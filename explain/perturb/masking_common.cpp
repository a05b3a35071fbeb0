#include "explain/perturb/masking_common.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/masks.h"
#include "explain/gpu/pictures.h"

namespace camlucida::perturb {

Backdrop read_mask_space(Settings& settings, const std::string& fallback) {
  const bool black = settings.choice("mask_space", fallback, {"normalised", "black"}) == "black";
  return black ? Backdrop::kBlack : Backdrop::kMean;
}

MaskedPicture::MaskedPicture(const Tensor& input, const Preprocessing& recipe, Backdrop backdrop)
    : input_(input), behind_(Shape{input.shape()[1]}) {
  if (backdrop == Backdrop::kMean) return;
  if (channels() != recipe.channels()) {
    throw Error(ErrorKind::kUsage,
                "an input of " + std::to_string(channels()) +
                    " channels has no black: the preprocessing is for " +
                    std::to_string(recipe.channels()),
                "mask the normalised input instead");
  }
  for (int64_t c = 0; c < channels(); ++c) {
    behind_.floats()[c] = recipe.normalise(static_cast<int>(c), 0.0f);
  }
}

void MaskedPicture::apply(const float* mask, float* row) const {
  const int64_t count = pixels();
  const bool colour = behind_.count() == channels();
  for (int64_t c = 0; c < channels(); ++c) {
    const float* from = input_.floats() + c * count;
    float* to = row + c * count;
    if (colour) {
      const float behind = behind_.floats()[c];
      for (int64_t p = 0; p < count; ++p) to[p] = behind + mask[p] * (from[p] - behind);
    } else {
      const float* behind = behind_.floats() + c * count;
      for (int64_t p = 0; p < count; ++p) to[p] = behind[p] + mask[p] * (from[p] - behind[p]);
    }
  }
}

Tensor MaskedPicture::hidden() const {
  if (behind_.count() == input_.count()) return behind_;
  if (on_device(input_)) {
    return gpu::of_colour(behind_.as<float>(), input_.shape(), stream_of(input_));
  }
  const std::vector<float> nothing(static_cast<size_t>(pixels()), 0.0f);
  Tensor result(input_.shape());
  apply(nothing.data(), result.floats());
  return result;
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

void MaskChange::apply(int64_t channel, int64_t sample, std::span<float> mask) const {
  if (kind == Kind::kContrast) {
    for (float& value : mask) value *= factor(sample);
  } else if (kind == Kind::kNoise) {
    Random random = noise(channel, sample);
    for (size_t p = 0; p < mask.size(); p += 2) {
      const auto [first, second] = random.normal_pair();
      mask[p] += static_cast<float>(deviation * first);
      if (p + 1 < mask.size()) mask[p + 1] += static_cast<float>(deviation * second);
    }
  }
}

ChannelMasks::ChannelMasks(const Tensor& activation, int height, int width, const MaskForm& form)
    : activation_(activation), height_(height), width_(width), form_(form) {
  Tensor layer;  // [C, 2] on a GPU
  if (on_device(activation_)) {
    layer = gpu::plane_ranges(activation_);
    ranges_ = form.scaling == MaskScaling::kEnlarged
                  ? gpu::enlarged_ranges(activation_, height, width, form.corners)
                  : layer;
  }
  const int64_t pixels = activation.shape()[2] * activation.shape()[3];
  for (int64_t k = 0; k < channels(); ++k) {
    const float* known = layer.defined() ? std::as_const(layer).floats() + 2 * k : nullptr;
    const Range range = known != nullptr ? Range{known[0], known[1]}
                                         : range_of(activation_.floats() + k * pixels, pixels);
    (range.low < range.high ? varying_ : constant_).push_back(k);
    peaks_.push_back(std::max(std::abs(range.low), std::abs(range.high)));
  }
}

Tensor ChannelMasks::plane(int64_t channel) const {
  const Shape shape{activation_.shape()[2], activation_.shape()[3]};
  return Tensor({DType::kFloat32, shape}, activation_.floats() + channel * shape.count(), nullptr);
}

void ChannelMasks::mask(int64_t channel, float* values) const {
  const int64_t count = int64_t{height_} * width_;
  Tensor low = plane(channel);
  if (form_.scaling == MaskScaling::kLayer) {
    low = low.clone();
    scale(low.floats(), low.count(), form_.epsilon);
  }
  const Tensor large = resize_bilinear(low, height_, width_, form_.corners);
  std::copy_n(large.floats(), count, values);
  if (form_.scaling == MaskScaling::kEnlarged) scale(values, count, form_.epsilon);
  if (form_.scaling == MaskScaling::kGate) {
    for (int64_t p = 0; p < count; ++p) values[p] = std::tanh(values[p]);
  }
}

Tensor ChannelMasks::sum(const std::vector<int64_t>& runs,
                         const std::vector<double>& weights) const {
  if (on_device(activation_)) {
    return gpu::mask_sum({activation_, ranges_, height_, width_, form_}, runs, weights);
  }
  std::vector<double> sums(static_cast<size_t>(height_) * static_cast<size_t>(width_), 0.0);
  std::vector<float> values(sums.size());
  for (size_t run = 0; run < runs.size(); ++run) {
    if (runs[run] == kEmptyMask) continue;
    mask(runs[run], values.data());
    for (size_t p = 0; p < sums.size(); ++p) sums[p] += weights[run] * values[p];
  }
  Tensor result(Shape{height_, width_});
  from_double(DType::kFloat32, sums.data(), result.raw(), result.count());
  return result;
}

RowSource ChannelMasks::masked(const MaskedPicture& picture, const std::vector<int64_t>& runs,
                               int64_t samples, const MaskChange& change) const {
  RowSource source;
  source.on_host = [&, samples, mask = std::vector<float>(static_cast<size_t>(picture.pixels()))](
                       int64_t row, float* values) mutable {
    const int64_t channel = runs[static_cast<size_t>(row / samples)];
    if (channel == kEmptyMask) {
      std::fill(mask.begin(), mask.end(), 0.0f);
    } else {
      this->mask(channel, mask.data());
    }
    change.apply(channel, row % samples, mask);
    picture.apply(mask.data(), values);
  };
  if (on_device(activation_)) {
    source.on_device = [&, samples](Stream& stream, int64_t first, int64_t rows, float* values) {
      gpu::masked_rows(stream, picture.input(), picture.behind(),
                       {activation_, ranges_, height_, width_, form_}, runs, samples, change, first,
                       rows, values);
    };
  }
  return source;
}

std::vector<std::vector<double>> probe_masks(Evidence& evidence, const MaskedPicture& picture,
                                             const ChannelMasks& masks,
                                             const std::vector<int64_t>& runs, ScoreKind kind,
                                             int64_t samples, const MaskChange& change) {
  const auto count = static_cast<int64_t>(runs.size());
  const Tensor scores =
      evidence.probe(count * samples, masks.masked(picture, runs, samples, change));
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
                                  const MaskChange& change) {
  const ScoreKind kind = read_score(settings, evidence.targets(), "logit");
  const Backdrop backdrop = read_mask_space(settings, "normalised");
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const MaskedPicture picture(evidence.input(), evidence.subject().preprocessing, backdrop);
  const ChannelMasks masks(activation, picture.height(), picture.width(),
                           {.scaling = MaskScaling::kLayer, .epsilon = 1e-8});
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
