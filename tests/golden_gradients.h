#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/exact_run.h"
#include "engine/passes/passes.h"
#include "engine/session.h"
#include "tests/golden_maps.h"

namespace camlucida::test {

/// Sums of [1, C, h, w] over channels ([h, w]) and means over pixels ([C]): what is stored of
/// tensors too big to store.
inline std::vector<double> over_channels(const std::vector<double>& values, const Shape& shape) {
  const auto pixels = static_cast<size_t>(shape[2] * shape[3]);
  std::vector<double> sums(pixels, 0.0);
  for (size_t i = 0; i < values.size(); ++i) sums[i % pixels] += values[i];
  return sums;
}

inline std::vector<double> over_pixels(const std::vector<double>& values, const Shape& shape) {
  const auto pixels = static_cast<size_t>(shape[2] * shape[3]);
  std::vector<double> means(static_cast<size_t>(shape[1]), 0.0);
  for (size_t i = 0; i < values.size(); ++i) {
    means[i / pixels] += values[i] / static_cast<double>(pixels);
  }
  return means;
}

/// A gradient against the entry: whole if it is stored, else its two projections.
struct GradientEntry {
  std::string method;
  std::string value;
  std::string rule;
};

/// Gradients of a piecewise linear network jump where a rectifier's input passes 0 or two values of
/// a pooling window tie, and rounding may put a float32 run on the other side of a jump that lies
/// within rounding of the picture. So three things are asked:
///   1. the exact run (double from end to end) agrees with the golden at the entry's tolerance,
///   2. the engine's gradient is the exact one at the engine's own activations,
///   3. the engine agrees with the golden at the entry's tolerance, unless the exact gradients at
///      the two points differ by more than that themselves; then in relative L2 norm.
class GoldenGradients : public GoldenMaps {
 protected:
  static constexpr double kOwnPoint = 2e-5;  // of the peak, the README's floor for gradients
  static constexpr double kAcrossAJump = 0.02;

  void check(const std::vector<GradientEntry>& entries) {
    const std::string& score = model_->score_name();
    const std::map<std::string, Shape> shapes = {{model_->input_name(), input_.shape()}};
    const Graph bound = bind_shapes(model_->graph(), shapes);
    Needs needs{.outputs = {score}, .score = score, .rule = entries[0].rule};
    for (const GradientEntry& entry : entries) needs.gradient_to.push_back(entry.value);
    Session session(Plan::compile(model_->graph(), shapes, needs,
                                  {.gpu = model_->options().gpu, .retain_all = true}));
    session.forward(input_);
    session.backward(seed(session.activation(score)));

    ExactRun exact(bound);
    exact.forward({{model_->input_name(), input_}});
    const std::vector<double> one = seed(session.activation(score)).to_doubles();
    exact.backward(score, one, needs.gradient_to, needs.rule);
    ExactRun own = exact;
    for (const std::string& name : session.plan().readable()) {
      own.value(name) = session.activation(name).to_doubles();
    }
    own.backward(score, one, needs.gradient_to, needs.rule);

    for (const GradientEntry& entry : entries) {
      const Shape& shape = bound.value(bound.require(entry.value)).desc.shape;
      const std::vector<double> mine = session.gradient(entry.value).to_doubles();
      const std::vector<double>& at_golden = exact.gradient(entry.value);
      const std::vector<double>& at_mine = own.gradient(entry.value);
      EXPECT_LE(relative_deviation(mine, at_mine), kOwnPoint) << entry.method << " at own point";
      compare_all(entry.method, at_golden, shape);
      const bool jump = relative_deviation(at_mine, at_golden) > kOwnPoint;
      if (jump) {
        EXPECT_LE(relative_l2(mine, at_golden), kAcrossAJump) << entry.method;
      } else {
        compare_all(entry.method, mine, shape);
      }
      engine_gradients_[entry.method] = session.gradient(entry.value);
      const std::vector<double> activation = session.activation(entry.value).to_doubles();
      compare(entry.method, "act_sum_over_channels", over_channels(activation, shape));
      compare(entry.method, "act_mean_over_pixels", over_pixels(activation, shape));
    }
  }

  void compare_all(const std::string& method, const std::vector<double>& gradient,
                   const Shape& shape) {
    const std::vector<double> sums = over_channels(gradient, shape);
    const auto by_rows = [&](bool rows) {
      std::vector<double> result(static_cast<size_t>(shape[rows ? 2 : 3]), 0.0);
      const auto width = static_cast<size_t>(shape[3]);
      for (size_t p = 0; p < sums.size(); ++p) result[rows ? p / width : p % width] += sums[p];
      return result;
    };
    const std::pair<const char*, std::vector<double>> artefacts[] = {
        {"grad", gradient},
        {"grad_channelsum", sums},
        {"grad_channelsum_rows", by_rows(true)},
        {"grad_channelsum_cols", by_rows(false)}};
    for (const auto& [artefact, mine] : artefacts) compare(method, artefact, mine);
    compare(method, "grad_sum_over_channels", sums);
    compare(method, "grad_mean_over_pixels", over_pixels(gradient, shape));
  }

  std::map<std::string, Tensor> engine_gradients_;  ///< by method of the entries checked
};

}  // namespace camlucida::test
