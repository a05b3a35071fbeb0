#include <cmath>

#include "engine/image/blur.h"
#include "explain/decompose/decom_common.h"
#include "tests/golden_maps.h"

namespace camlucida::test {
namespace {

using namespace decompose;

class GoldenDecompose : public GoldenMaps {
 protected:
  /// Methods whose golden sign is whatever the reference's solver returned: `sign_to_umax` turns it
  /// to the rule that the engine follows.
  void check_component(const std::string& entry, const std::string& method) {
    if (!index_["methods"].contains(entry)) return;
    SCOPED_TRACE(GetParam() + " " + entry);
    const Json& golden = index_["methods"][entry];
    const double sign = golden["sign_to_umax"].get<double>();
    const Explanation explanation = explain(method);
    std::vector<double> raw = explanation.raw.to_doubles();
    for (double& v : raw) v *= sign;
    compare(entry, "raw", raw);
    const std::string map = sign < 0 ? "umax_map" : "map";
    compare(entry, map, explanation.map.to_doubles());
  }
};

TEST_P(GoldenDecompose, FirstComponents) {
  check_component("eigencam", "eigencam@pytorch-grad-cam");
  check_component("eigengradcam", "eigengradcam");
  check_component("segeigencam", "segeigencam");
  check_component("kpcacam", "kpcacam");
  EXPECT_GE(compared_, 4);
}

/// DecomCAM as its authors' program computes it, whole where the choice of channels is unambiguous,
/// and from the golden's channels on everywhere.
class GoldenDecomCam : public GoldenDecompose {
 protected:
  static constexpr int64_t kComponents = 10;

  std::vector<double> stored(const std::string& entry, const std::string& artefact) {
    const Json& files = index_["methods"][entry]["files"];
    return read_npy(folder_ / files[artefact].get<std::string>()).to_doubles();
  }

  /// Components of nearly equal variance rotate into each other by rounding over the gap, and what
  /// follows from one of them alone moves with it. Of those the golden's value is put in place of
  /// `mine`: check_stages compares what follows from the golden's components.
  std::vector<double> unless_mixing(const std::string& entry, const std::string& artefact,
                                    std::vector<double> mine) {
    constexpr double kGap = 0.03;
    const std::vector<double> golden = stored(entry, artefact);
    const std::vector<double> variance = stored(entry, "explained_variance_ratio");
    for (size_t i = 0; i + 1 < variance.size(); ++i) {
      if (variance[i] - variance[i + 1] > kGap * variance[i]) continue;
      std::printf("[ MEASURED ] %s %s %s: %zu and %zu mix, not compared\n", GetParam().c_str(),
                  entry.c_str(), artefact.c_str(), i, i + 1);
      mine.at(i) = golden[i];
      mine.at(i + 1) = golden[i + 1];
    }
    return mine;
  }

  void check_whole(const std::string& entry, const std::string& p) {
    const Explanation found = explain("decomcam@official", {{"decomcam.p", p}});
    compare(entry, "components", found.artefacts.at("components").to_doubles());
    compare(entry, "masked_logits",
            unless_mixing(entry, "masked_logits", found.series.at("masked_scores")));
    compare(entry, "component_weights",
            unless_mixing(entry, "component_weights", found.series.at("component_weights")));
    compare(entry, "explained_variance_ratio", found.series.at("explained_variance_ratio"));
    compare(entry, "map", found.map.to_doubles());
    EXPECT_EQ(found.artefacts.at("channels").to_doubles(), stored(entry, "channels"));
  }

  /// The stages one by one, on the golden's channels.
  void check_stages(const std::string& entry) {
    const Subject subject = model_->subject(layer_);
    const std::vector<Target> targets = {Target::of_class(class_index_)};
    const auto session = model_->sessions().lend(input_.shape(), gradient_needs(subject));
    session->forward(input_);
    Evidence evidence(model_->sessions(), *session, input_, subject, targets);
    const std::vector<double> alpha = mean_gradient(evidence.gradient(layer_, 0));
    std::vector<int64_t> channels;
    for (double k : stored(entry, "channels")) channels.push_back(static_cast<int64_t>(k));
    const auto height = static_cast<int>(input_.shape()[2]);
    const auto width = static_cast<int>(input_.shape()[3]);
    const SubSaliency mine = sub_saliency(evidence.activation(layer_), alpha, channels, kComponents,
                                          SignRule::kUMax, height, width);
    compare(entry, "components", mine.components.to_doubles());
    compare(entry, "explained_variance_ratio", mine.parts.explained_variance_ratio);
    const Json& files = index_["methods"][entry]["files"];
    const Tensor components = read_npy(folder_ / files["components"].get<std::string>());
    const std::vector<SubSaliency> golden = {scaled_up(components, height, width)};
    const MaskedScores scores =
        score_masked(evidence, targets, golden, input_, gaussian_blur(input_, 10.0), false, {});
    compare(entry, "masked_logits", scores.masked[0]);
    const RawMap map = integrate(golden[0], stored(entry, "component_weights"), alpha, channels);
    compare(entry, "map", finish_map(map.raw, height, width).to_doubles());
  }
};

TEST_P(GoldenDecomCam, Version25) {
  for (const std::string p : {"100", "500"}) {
    const std::string entry = "decomcam25_p" + p;
    SCOPED_TRACE(GetParam() + " " + entry);
    const Json& golden = index_["methods"][entry];
    if (golden["channels_with_weight_equal_to_the_last_chosen"].get<int>() == 1) {
      check_whole(entry, p);
    }
    check_stages(entry);
  }
  EXPECT_GE(compared_, 6);
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto n = static_cast<double>(a.size());
  double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sa += a[i];
    sb += b[i];
    saa += a[i] * a[i];
    sbb += b[i] * b[i];
    sab += a[i] * b[i];
  }
  return (sab - sa * sb / n) / std::sqrt((saa - sa * sa / n) * (sbb - sb * sb / n));
}

/// The reference runs in float32 and truncates to bytes; its tolerances stand in the README.
TEST_P(GoldenDecomCam, Version1) {
  const std::string entry = "decomcam1";
  const Explanation found = explain("decomcam1@official");
  const double components = relative_deviation(found.artefacts.at("components").to_doubles(),
                                               stored(entry, "components"));
  const std::vector<double> expected = stored(entry, "component_scores");
  const std::vector<double>& scores = found.series.at("component_scores");
  ASSERT_EQ(scores.size(), expected.size());
  double worst = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    worst = std::max(worst, std::abs(scores[i] - expected[i]));
  }
  std::printf("[ MEASURED ] %s decomcam1 components: %.1e, component_scores: %.1e\n",
              GetParam().c_str(), components, worst);
  EXPECT_LE(components, 1e-4);
  EXPECT_LE(worst, 1e-3);
  if (index_["methods"][entry]["files"].contains("map")) {
    const std::vector<double> golden = stored(entry, "map");
    if (*std::max_element(golden.begin(), golden.end()) == 0.0) {  // every weight is negative
      EXPECT_EQ(found.map.to_doubles(), golden);
      return;
    }
    const double agreement = correlation(found.map.to_doubles(), golden);
    std::printf("[ MEASURED ] %s decomcam1 map: 1 - correlation %.1e\n", GetParam().c_str(),
                1 - agreement);
    EXPECT_GE(agreement, 0.99);
  }
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenDecompose, ::testing::ValuesIn(golden_folders()), test_name);
INSTANTIATE_TEST_SUITE_P(Zoo, GoldenDecomCam, ::testing::ValuesIn(golden_folders()), test_name);

}  // namespace
}  // namespace camlucida::test
