#include <chrono>

#include "tests/golden_maps.h"

/// Relevance-CAM against the golden maps.
namespace camlucida::test {
namespace {

TEST_P(GoldenMaps, RelevanceCam) {
  if (!index_["methods"].contains("relevancecam")) GTEST_SKIP() << "no entry here";
  check_method("relevancecam", "relevancecam");
  EXPECT_GE(compared_, 2);
}

TEST_P(GoldenMaps, RelevanceCamOfAnInnerLayer) {
  if (!index_["methods"].contains("relevancecam_conv10")) GTEST_SKIP() << "no entry here";
  layer_ = index_["methods"]["relevancecam_conv10"]["params"]["onnx_value"].get<std::string>();
  check_method("relevancecam_conv10", "relevancecam");
  EXPECT_GE(compared_, 2);
}

TEST_P(GoldenMaps, RelevanceArrivesAsInTheGolden) {
  if (!index_["methods"].contains("relevancecam")) GTEST_SKIP() << "no entry here";
  const Json& entry = index_["methods"]["relevancecam"];
  const std::vector<double> sums =
      explain("relevancecam").series.at("relevance_at_scores_and_layer");
  EXPECT_NEAR(sums[0], entry["relevance_in"].get<double>(), 1e-6);
  EXPECT_NEAR(sums[1], entry["relevance_out"].get<double>(), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenMaps,
                         ::testing::ValuesIn(golden_folders_of("GoldenMaps", __FILE__)),
                         golden_test_name);

}  // namespace
}  // namespace camlucida::test
