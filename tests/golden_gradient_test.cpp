#include "tests/golden_gradients.h"

/// Gradients of the picture and the methods made of them against the golden maps.
namespace camlucida::test {
namespace {

TEST_P(GoldenGradients, OfThePicture) {
  if (!index_["methods"].contains("saliency")) {
    GTEST_SKIP() << "no gradient to the picture stored here";
  }
  check({{"saliency", model_->input_name(), "plain"}});
  check({{"guidedbp_all", model_->input_name(), "guided"}});
  EXPECT_GE(compared_, 1);
  // The methods show that very gradient.
  const auto expect_shown = [&](const char* method, const char* entry) {
    const std::vector<double> gradient = engine_gradients_.at(entry).to_doubles();
    const Explanation explanation =
        explain(method, {{std::string(method) + ".channels", "signed-sum"}});
    EXPECT_EQ(explanation.artefacts.at("gradient").to_doubles(), gradient) << method;
    EXPECT_LE(
        relative_deviation(explanation.raw.to_doubles(), over_channels(gradient, input_.shape())),
        1e-6)
        << method;
  };
  expect_shown("saliency", "saliency");
  expect_shown("guidedbackprop", "guidedbp_all");
}

TEST_P(GoldenMaps, InputTimesGradient) {
  if (index_["methods"]["inputxgradient"]["files"].empty()) GTEST_SKIP() << "nothing stored here";
  compare_with_ties("inputxgradient", "raw", explain("inputxgradient").raw.to_doubles());
}

TEST_P(GoldenMaps, IntegratedGradients) {
  if (!index_["methods"].contains("integratedgradients")) GTEST_SKIP() << "no entry here";
  const Explanation explanation = explain("ig");
  compare("integratedgradients", "grad", explanation.artefacts.at("attribution").to_doubles());
  compare("integratedgradients", "grad_channelsum", explanation.raw.to_doubles());
  EXPECT_GE(compared_, 1);
  const Json& entry = index_["methods"]["integratedgradients"];
  const std::vector<double> completeness = explanation.series.at("completeness");
  const double rise = entry["logit_minus_baseline"].get<double>();
  EXPECT_NEAR(completeness[1], rise, 1e-4 * std::abs(rise));
  // The reference's own float32 run is that uncertain about the attributions.
  EXPECT_NEAR(completeness[0], entry["sum"].get<double>(), 0.05 * std::abs(rise));
}

TEST_P(GoldenMaps, FullGrad) {
  if (!index_["methods"].contains("fullgrad_official")) GTEST_SKIP() << "no entry here";
  for (const auto& [name, method] : {std::pair("fullgrad_official", "fullgrad"),
                                     std::pair("fullgrad_jacobgil", "fullgrad@pytorch-grad-cam")}) {
    const Explanation explanation = explain(method);
    compare_with_ties(name, "raw", explanation.raw.to_doubles());
    compare_with_ties(name, "map", explanation.map.to_doubles());
  }
  EXPECT_GE(compared_, 2);
  const Json& entry = index_["methods"]["fullgrad_official"];
  const std::vector<double> shares = explain("fullgrad").series.at("completeness");
  const double size = std::abs(entry["sum_input_x_grad"].get<double>()) +
                      std::abs(entry["sum_bias_grad"].get<double>());
  EXPECT_NEAR(shares[0], entry["sum_input_x_grad"].get<double>(), 1e-4 * size);
  EXPECT_NEAR(shares[1], entry["sum_bias_grad"].get<double>(), 1e-4 * size);
  EXPECT_NEAR(shares[2], entry["logit"].get<double>(), 1e-4 * size);
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenMaps,
                         ::testing::ValuesIn(golden_folders_of("GoldenMaps", __FILE__)),
                         golden_test_name);
INSTANTIATE_TEST_SUITE_P(Zoo, GoldenGradients,
                         ::testing::ValuesIn(golden_folders_of("GoldenGradients", __FILE__)),
                         golden_test_name);

}  // namespace
}  // namespace camlucida::test
