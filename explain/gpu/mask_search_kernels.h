#pragma once

#include "explain/gpu/channel_sum.h"
#include "explain/gpu/sampling.h"
#include "explain/gpu/score_forms.h"
#include "explain/optimise/search.h"

/// The kernels of one step of Opti-CAM, in the order in which they run. The formulas are those of
/// ChannelMask (explain/optimise/channel_mask_common.h).
namespace camlucida::gpu {

/// [A_k]+, [C, h * w].
struct Rectify {
  const float* from;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const { to[i] = from[i] < 0.0f ? 0.0f : from[i]; }
};

struct Start {
  double* u;
  double value;
  CAMLUCIDA_PORTABLE void operator()(int64_t k) const { u[k] = value; }
};

/// alpha = softmax(u), by one group.
struct Softmax {
  const double* u;
  int64_t count;
  double* alpha;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t) const {
    const double peak = group.reduce(
        count, static_cast<double>(-INFINITY), [&](int64_t k) { return u[k]; }, Larger{});
    const double sum = group.reduce(
        count, 0.0, [&](int64_t k) { return std::exp(u[k] - peak); }, Add{});
    group.each(count, [&](int64_t k) { alpha[k] = std::exp(u[k] - peak) / sum; });
  }
};

struct CombinedTerm {
  const float* rectified;
  const double* alpha;
  int64_t pixels;
  CAMLUCIDA_PORTABLE double operator()(int64_t k, int64_t p) const {
    return alpha[k] * rectified[k * pixels + p];
  }
};

/// The first pixels with the extremes of s.
struct Peaks {
  float low;
  float high;
  int64_t low_at;
  int64_t high_at;
};

struct FirstPeaks {
  CAMLUCIDA_PORTABLE Peaks operator()(const Peaks& a, const Peaks& b) const {
    const bool low = b.low < a.low || (b.low == a.low && b.low_at < a.low_at);
    const bool high = b.high > a.high || (b.high == a.high && b.high_at < a.high_at);
    return {low ? b.low : a.low, high ? b.high : a.high, low ? b.low_at : a.low_at,
            high ? b.high_at : a.high_at};
  }
};

/// Rows of s = bilinear(S) with their peaks, one group for each.
struct EnlargedRow {
  const float* saliency;
  Bilinear geometry;
  int64_t width;
  float* s;
  Peaks* peaks;  // by row
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t y) const {
    const auto value = [&](int64_t x) {
      return geometry([&](int64_t i) { return saliency[i]; }, y, x);
    };
    const Peaks found = group.reduce(
        width, Peaks{INFINITY, -INFINITY, 0, 0},
        [&](int64_t x) {
          const float here = value(x);
          const int64_t p = y * width + x;
          s[p] = here;
          return Peaks{here, here, p, p};
        },
        FirstPeaks{});
    group.each(1, [&](int64_t) { peaks[y] = found; });
  }
};

struct AllPeaks {
  const Peaks* rows;
  int64_t count;
  Peaks* all;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t) const {
    const Peaks found = group.reduce(
        count, Peaks{INFINITY, -INFINITY, 0, 0}, [&](int64_t y) { return rows[y]; }, FirstPeaks{});
    group.each(1, [&](int64_t) { *all = found; });
  }
};

/// What the normaliser divides by and subtracts; a sigmoid does neither.
struct Normaliser {
  MaskNormaliser kind;
  const Peaks* peaks;

  CAMLUCIDA_PORTABLE double low() const {
    return kind == MaskNormaliser::kMaxMin ? double{peaks->low} : 0.0;
  }
  CAMLUCIDA_PORTABLE double range() const { return double{peaks->high} - low(); }
  CAMLUCIDA_PORTABLE bool defined() const {
    return kind == MaskNormaliser::kSigmoid || range() > 0.0;
  }
  CAMLUCIDA_PORTABLE float operator()(float s) const {
    if (kind == MaskNormaliser::kSigmoid) {
      return static_cast<float>(0.5 * (std::tanh(0.5 * double{s}) + 1.0));
    }
    return defined() ? static_cast<float>((s - low()) / range()) : 0.0f;
  }
};

/// m = n(s), and the picture under it.
struct MaskPicture {
  const float* s;
  Normaliser normaliser;
  const float* picture;
  const float* black;  // [channels]
  int64_t channels;
  int64_t pixels;
  float* mask;
  float* masked;
  CAMLUCIDA_PORTABLE void operator()(int64_t p) const {
    const float m = normaliser(s[p]);
    mask[p] = m;
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = c * pixels + p;
      masked[i] = black[c] + m * (picture[i] - black[c]);
    }
  }
};

/// Whether the picture was masked, the score, the loss and the state of the search, by one group;
/// and d loss / d scores.
template <class Score>
struct Judge {
  Score score;
  Normaliser normaliser;
  Objective objective;
  int64_t count;  // of scores
  SearchState* state;
  double* losses;
  float* seed;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t) const {
    const typename Score::Answer answer = score.answer(group);
    group.each(
        1, [&](int64_t) { state->judge(objective, normaliser.defined(), answer.value, losses); });
    group.sync();
    const auto factor = static_cast<float>(state->slope);
    group.each(count,
               [&](int64_t i) { seed[i] = static_cast<float>(score.slope(answer, i)) * factor; });
  }
};

/// The same without a step, by one group.
template <class Score>
struct WriteAnswer {
  Score score;
  Normaliser normaliser;
  MaskSearch::Answer* to;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t) const {
    const typename Score::Answer answer = score.answer(group);
    group.each(1, [&](int64_t) { *to = {normaliser.defined(), answer.value}; });
  }
};

/// Sums of d L / d m times 1 - m and times m: what the smallest and the largest s take part in.
struct Toward {
  double low;
  double high;
};

struct AddToward {
  CAMLUCIDA_PORTABLE Toward operator()(const Toward& a, const Toward& b) const {
    return {a.low + b.low, a.high + b.high};
  }
};

/// Rows of d L / d m with their sums, one group for each.
struct MaskGradientRow {
  const float* gradient;  // at the picture
  const float* picture;
  const float* black;
  const float* mask;
  int64_t channels;
  int64_t pixels;
  int64_t width;
  double* mask_gradient;
  Toward* sums;  // by row
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t y) const {
    const Toward found = group.reduce(
        width, Toward{0.0, 0.0},
        [&](int64_t x) {
          const int64_t p = y * width + x;
          double sum = 0.0;
          for (int64_t c = 0; c < channels; ++c) {
            const int64_t i = c * pixels + p;
            sum += double{gradient[i]} * (picture[i] - double{black[c]});
          }
          mask_gradient[p] = sum;
          return Toward{sum * (1.0 - mask[p]), sum * mask[p]};
        },
        AddToward{});
    group.each(1, [&](int64_t) { sums[y] = found; });
  }
};

struct AllToward {
  const Toward* rows;
  int64_t count;
  Toward* all;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t) const {
    const Toward found = group.reduce(
        count, Toward{0.0, 0.0}, [&](int64_t y) { return rows[y]; }, AddToward{});
    group.each(1, [&](int64_t) { *all = found; });
  }
};

/// d L / d s from d L / d m.
struct NormaliserGradient {
  Normaliser normaliser;
  const double* mask_gradient;
  const float* mask;
  const Toward* toward;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t p) const {
    if (normaliser.kind == MaskNormaliser::kSigmoid) {
      to[p] = static_cast<float>(mask_gradient[p] * mask[p] * (1.0 - mask[p]));
      return;
    }
    const double range = normaliser.range();
    float value = static_cast<float>(mask_gradient[p] / range);
    if (p == normaliser.peaks->high_at) value -= static_cast<float>(toward->high / range);
    if (normaliser.kind == MaskNormaliser::kMaxMin && p == normaliser.peaks->low_at) {
      value -= static_cast<float>(toward->low / range);
    }
    to[p] = value;
  }
};

/// The transposed resize along y: [H, W] to [h, W], a group for each entry.
struct GatherColumns {
  const float* from;
  LinearAxis rows;
  int64_t width;
  double* to;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t i) const {
    const int64_t y = i / width;
    const int64_t x = i % width;
    const LinearAxis::Span span = rows.around(y);
    const double sum = group.reduce(
        span.end - span.begin, 0.0,
        [&](int64_t j) {
          const int64_t large = span.begin + j;
          return rows.weight(y, large) * from[large * width + x];
        },
        Add{});
    group.each(1, [&](int64_t) { to[i] = sum; });
  }
};

/// Then along x: [h, W] to [h, w].
struct GatherRows {
  const double* from;
  LinearAxis columns;
  float* to;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t i) const {
    const int64_t x = i % columns.from_size;
    const double* line = from + i / columns.from_size * columns.to_size;
    const LinearAxis::Span span = columns.around(x);
    const double sum = group.reduce(
        span.end - span.begin, 0.0,
        [&](int64_t j) { return columns.weight(x, span.begin + j) * line[span.begin + j]; }, Add{});
    group.each(1, [&](int64_t) { to[i] = static_cast<float>(sum); });
  }
};

/// q_k = <[A_k]+, d L / d S>, one group for each channel.
struct ChannelProduct {
  const float* rectified;
  const float* gradient;
  int64_t pixels;
  double* q;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t k) const {
    const double product = ProductSum{}(group, PlanePair{rectified + k * pixels, gradient, pixels});
    group.each(1, [&](int64_t) { q[k] = product; });
  }
};

/// d L / d u = alpha (q - <alpha, q>), by one group; q becomes it.
struct SoftmaxGradient {
  const double* alpha;
  int64_t count;
  double* q;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t) const {
    const double mean = group.reduce(
        count, 0.0, [&](int64_t k) { return alpha[k] * q[k]; }, Add{});
    group.each(count, [&](int64_t k) { q[k] = alpha[k] * (q[k] - mean); });
  }
};

/// One entry of u, unless the search has ended; what is reported of the way is put aside.
struct AdamStep {
  Adam adam;
  const SearchState* state;
  const double* gradient;
  int64_t channels;
  double* mean;
  double* square;
  double* u;
  double* first_gradient;
  double* early;  // [kEarlyCount, channels]
  CAMLUCIDA_PORTABLE void operator()(int64_t k) const {
    if (state->end != SearchState::End::kRunning) return;
    if (state->steps == 1) first_gradient[k] = gradient[k];
    adam.step(gradient[k], state->first, state->second, mean + k, square + k, u + k);
    for (int i = 0; i < kEarlyCount; ++i) {
      if (state->steps == early_step(i)) early[i * channels + k] = u[k];
    }
  }
};

}  // namespace camlucida::gpu
