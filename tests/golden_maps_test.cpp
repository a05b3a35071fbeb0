#include <gtest/gtest.h>

#include "tests/golden_gradients.h"

/// CAM, Grad-CAM and gradients to inner layers against the golden maps.
namespace camlucida::test {
namespace {

TEST_P(GoldenMaps, CamAndGradCam) {
  check_method("cam", "cam");
  check_method("gradcam", "gradcam");
  EXPECT_GE(compared_, 1);
}

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

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenMaps,
                         ::testing::ValuesIn(golden_folders_of("GoldenMaps", __FILE__)), test_name);
INSTANTIATE_TEST_SUITE_P(Zoo, GoldenGradients,
                         ::testing::ValuesIn(golden_folders_of("GoldenGradients", __FILE__)),
                         test_name);

}  // namespace
}  // namespace camlucida::test
