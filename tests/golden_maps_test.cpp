#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "engine/exact_run.h"
#include "engine/passes/passes.h"
#include "engine/session.h"
#include "tests/golden_maps.h"

/// CAM, Grad-CAM and gradients to inner layers and to the picture against the golden maps.
namespace camlucida::test {
namespace {

TEST_P(GoldenMaps, CamAndGradCam) {
  check_method("cam", "cam");
  check_method("gradcam", "gradcam");
  EXPECT_GE(compared_, 1);
}

/// Sums of [1, C, h, w] over channels ([h, w]) and means over pixels ([C]): what is stored of
/// tensors too big to store.
std::vector<double> over_channels(const std::vector<double>& values, const Shape& shape) {
  const auto pixels = static_cast<size_t>(shape[2] * shape[3]);
  std::vector<double> sums(pixels, 0.0);
  for (size_t i = 0; i < values.size(); ++i) sums[i % pixels] += values[i];
  return sums;
}

std::vector<double> over_pixels(const std::vector<double>& values, const Shape& shape) {
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
    Needs needs{.score = score, .rule = entries[0].rule};
    for (const GradientEntry& entry : entries) needs.gradient_to.push_back(entry.value);
    Session session(Plan::compile(model_->graph(), shapes, needs, {.retain_all = true}));
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
      const std::vector<double> activation = session.activation(entry.value).to_doubles();
      compare(entry.method, "act_sum_over_channels", over_channels(activation, shape));
      compare(entry.method, "act_mean_over_pixels", over_pixels(activation, shape));
    }
  }

  void compare_all(const std::string& method, const std::vector<double>& gradient,
                   const Shape& shape) {
    const Json& entry = index_["methods"][method];
    const std::vector<double> sums = over_channels(gradient, shape);
    if (entry.contains("tolerance_note") && entry["files"].contains("grad")) {
      // Exact ties in a pooling window of this picture: the reference asks for the L2 norm.
      const Tensor golden = read_npy(folder_ / entry["files"]["grad"].get<std::string>());
      EXPECT_LE(relative_l2(gradient, golden.to_doubles()), 0.02) << method;
      ++compared_;
      return;
    }
    compare(method, "grad", gradient);
    compare(method, "grad_channelsum", sums);
    compare(method, "grad_sum_over_channels", sums);
    compare(method, "grad_mean_over_pixels", over_pixels(gradient, shape));
  }
};

TEST_P(GoldenGradients, OfInnerLayers) {
  std::vector<GradientEntry> entries;
  for (const auto& [name, entry] : index_["methods"].items()) {
    if (name.rfind("tap", 0) != 0) continue;
    entries.push_back({name, entry["params"]["onnx_value"].get<std::string>(), "plain"});
  }
  if (entries.empty()) GTEST_SKIP() << "no tap gradients stored here";
  check(entries);
  EXPECT_GE(compared_, 4 * static_cast<int>(entries.size()));
}

TEST_P(GoldenGradients, OfThePicture) {
  if (!index_["methods"].contains("saliency")) {
    GTEST_SKIP() << "no gradient to the picture stored here";
  }
  check({{"saliency", model_->input_name(), "plain"}});
  check({{"guidedbp_all", model_->input_name(), "guided"}});
  EXPECT_GE(compared_, 1);
}

/// Mean-and-linear heads: mean_p CAM = logit - bias, and Grad-CAM = CAM / Z before the ReLU.
TEST_P(GoldenMaps, HeadIdentities) {
  if (index_["head"] != "gap_fc" || !index_["methods"].contains("cam")) {
    GTEST_SKIP() << "no mean-and-linear head behind this layer";
  }
  const Explanation cam = explain("cam");
  const Explanation gradcam = explain("gradcam");
  const auto pixels = static_cast<double>(cam.raw.count());
  const double bias = index_["methods"]["cam"]["params"]["bias_c"].get<double>();
  EXPECT_NEAR(cam.statistics.mean + bias, cam.target.logit, 1e-4 * std::abs(cam.target.logit));
  std::vector<double> scaled = cam.raw.to_doubles();
  for (double& v : scaled) v /= pixels;
  EXPECT_LE(relative_deviation(gradcam.raw.to_doubles(), scaled), 1e-5);
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenMaps, ::testing::ValuesIn(golden_folders()), test_name);
INSTANTIATE_TEST_SUITE_P(Zoo, GoldenGradients, ::testing::ValuesIn(golden_folders()), test_name);

}  // namespace
}  // namespace camlucida::test
