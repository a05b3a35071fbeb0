#pragma once

#include <cmath>
#include <cstdint>

#include "engine/cuda/launch.h"
#include "explain/cam/formulas.h"
#include "explain/embedding.h"
#include "explain/target.h"

/// Scores (explain/target.h) of one row of the score tensor, computed where it lies by one group of
/// threads: answer(group) gives the value, the same to all threads, and what slope(answer, i), the
/// derivative with respect to row[i], needs of the whole row. Sums in double.
namespace camlucida::gpu {

struct Larger {
  CAMLUCIDA_PORTABLE double operator()(double a, double b) const { return a < b ? b : a; }
};

/// offset + sum_i weights[i] row[i]: a logit, a margin, a region, one entry.
struct LinearScore {
  const float* row;
  const float* weights;
  int64_t count;
  double offset;

  struct Answer {
    double value;
  };
  template <class Group>
  CAMLUCIDA_PORTABLE Answer answer(const Group& group) const {
    // What has no weight does not take part, not even if it is infinite.
    const double sum = group.reduce(
        count, 0.0,
        [&](int64_t i) { return weights[i] != 0.0f ? double{weights[i]} * row[i] : 0.0; }, Add{});
    return {sum + offset};
  }
  CAMLUCIDA_PORTABLE double slope(const Answer&, int64_t i) const { return weights[i]; }
};

/// Target::SoftmaxForm of class `index`.
struct SoftmaxScore {
  const float* row;
  int64_t classes;
  int64_t index;
  Target::SoftmaxForm form;

  struct Answer {
    double value;
    double peak;
    double sum;  ///< of exp(row - peak)
    double own;  ///< probability of the class
  };
  template <class Group>
  CAMLUCIDA_PORTABLE Answer answer(const Group& group) const {
    const double peak = group.reduce(
        classes, static_cast<double>(-INFINITY), [&](int64_t i) { return double{row[i]}; },
        Larger{});
    const double sum = group.reduce(
        classes, 0.0, [&](int64_t i) { return std::exp(row[i] - peak); }, Add{});
    const double own = std::exp(row[index] - peak) / sum;
    double value = 0.0;
    if (form.logit != 0.0) value += form.logit * row[index];
    if (form.log_probability != 0.0) {
      value += form.log_probability * (row[index] - peak - std::log(sum));
    }
    if (form.probability != 0.0) value += form.probability * own;
    return {value, peak, sum, own};
  }
  CAMLUCIDA_PORTABLE double slope(const Answer& answer, int64_t i) const {
    const double here = i == index ? 1.0 : 0.0;
    const double p = std::exp(row[i] - answer.peak) / answer.sum;
    return form.logit * here + (form.log_probability + form.probability * answer.own) * (here - p);
  }
};

/// A Similarity of the row's embedding, which EmbedRow makes before.
struct SimilarityScore {
  const float* row;
  int64_t pixels;  // of one channel
  Pooling pooling;
  double scale;
  Measure measure;
  const double* pooled;     // [length]
  const double* embedding;  // [length], x
  const double* reference;  // [length], y
  int64_t length;

  struct Answer {
    double value;
    double x_norm;
    double y_norm;
  };
  template <class Group>
  CAMLUCIDA_PORTABLE Answer answer(const Group& group) const {
    if (measure == Measure::kEuclidean) {
      const double distance = group.reduce(
          length, 0.0,
          [&](int64_t k) {
            const double difference = embedding[k] - reference[k];
            return difference * difference;
          },
          Add{});
      return {-distance, 0.0, 0.0};
    }
    const auto dot = [&](const double* a, const double* b) {
      return group.reduce(
          length, 0.0, [&](int64_t k) { return a[k] * b[k]; }, Add{});
    };
    const double xx = dot(embedding, embedding);
    const double yy = dot(reference, reference);
    const double xy = dot(embedding, reference);
    const double norms = std::sqrt(xx * yy);
    return {norms > 0.0 ? xy / norms : 0.0, std::sqrt(xx), std::sqrt(yy)};
  }

  CAMLUCIDA_PORTABLE double slope(const Answer& answer, int64_t i) const {
    const int64_t k = pooling.kind == Pooling::Kind::kFlat ? i : i / pixels;
    return scale * pooling_slope(i, k) * embedding_slope(answer, k);
  }

 private:
  CAMLUCIDA_PORTABLE double embedding_slope(const Answer& answer, int64_t k) const {
    if (measure == Measure::kEuclidean) return -2 * (embedding[k] - reference[k]);
    if (!(answer.x_norm > 0.0) || !(answer.y_norm > 0.0)) return 0.0;
    return (reference[k] / answer.y_norm - answer.value * embedding[k] / answer.x_norm) /
           answer.x_norm;
  }
  CAMLUCIDA_PORTABLE double pooling_slope(int64_t i, int64_t k) const {
    if (pooling.kind == Pooling::Kind::kFlat) return 1.0;
    const auto area = static_cast<double>(pixels);
    if (pooling.kind == Pooling::Kind::kMean || (pooling.power == 1 && row[i] >= 0.0f)) {
      return 1.0 / area;
    }
    if (row[i] < 0.0f || pooled[k] <= 0.0) return 0.0;
    return std::pow(row[i] / pooled[k], pooling.power - 1) / area;
  }
};

/// The embedding of a row, one group for each of its entries.
struct EmbedRow {
  const float* row;
  int64_t pixels;
  Pooling pooling;
  double scale;
  const double* offset;  // null: zero
  double* pooled;
  double* embedding;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t k) const {
    double value = 0.0;
    if (pooling.kind == Pooling::Kind::kFlat) {
      value = row[k];
    } else {
      const bool gem = pooling.kind == Pooling::Kind::kGem;
      const float* plane = row + k * pixels;
      const double sum = group.reduce(
          pixels, 0.0,
          [&](int64_t p) {
            if (!gem) return double{plane[p]};
            return plane[p] > 0.0f ? std::pow(double{plane[p]}, pooling.power) : 0.0;
          },
          Add{});
      value = sum / static_cast<double>(pixels);
      if (gem) value = std::pow(value, 1 / pooling.power);
    }
    group.each(1, [&](int64_t) {
      pooled[k] = value;
      embedding[k] = scale * value + (offset == nullptr ? 0.0 : offset[k]);
    });
  }
};

/// A score that the host has computed, with its derivative.
struct GivenScore {
  const double* value;
  const float* slopes;

  struct Answer {
    double value;
  };
  template <class Group>
  CAMLUCIDA_PORTABLE Answer answer(const Group&) const {
    return {*value};
  }
  CAMLUCIDA_PORTABLE double slope(const Answer&, int64_t i) const { return slopes[i]; }
};

}  // namespace camlucida::gpu
