#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "tests/golden_maps.h"

/// Opti-CAM against the reference. Its search is chaotic (the first step of Adam is a sign, and
/// max-min routes gradient through single pixels), so it is tested in stages: the first gradient,
/// the first loss and step, the loss reached, and how the maps correlate.
namespace camlucida::test {
namespace {

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  double mean_a = 0;
  double mean_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    mean_a += a[i] / static_cast<double>(a.size());
    mean_b += b[i] / static_cast<double>(b.size());
  }
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return ab / std::sqrt(aa * bb);
}

class GoldenOptiCam : public GoldenMaps {
 protected:
  std::vector<double> golden(const std::string& entry, const std::string& artefact) {
    const Json& files = index_["methods"][entry]["files"];
    return read_npy(folder_ / files[artefact].get<std::string>()).to_doubles();
  }

  void check(const std::string& entry) {
    SCOPED_TRACE(GetParam() + " " + entry);
    const Json& golden_entry = index_["methods"][entry];
    const Explanation mine = explain(
        "opticam",
        {{"opticam.iterations", std::to_string(golden_entry["params"]["max_iter"].get<int64_t>())},
         {"opticam.learning_rate", to_text(golden_entry["params"]["lr"].get<double>())}});
    compare(entry, "grad_u0", mine.artefacts.at("grad_u0").to_doubles());

    const std::vector<double>& trajectory = mine.series.at("trajectory");
    const std::vector<double> objective = golden(entry, "objective");
    const double logit = std::abs(golden_entry["logit_original"].get<double>());
    EXPECT_NEAR(trajectory.front(), objective.front(), 1e-4 * logit);
    check_first_step(entry, mine.artefacts.at("u_early").to_doubles());

    const double gained = std::abs(objective.front() - objective.back());
    EXPECT_LE(trajectory.back(), objective.back() + 0.05 * gained);
    const double alike = correlation(mine.map.to_doubles(), golden_map(entry, mine.map.shape()));
    EXPECT_GE(alike, 0.95);
    std::printf(
        "[ MEASURED ] %s %s: first loss off by %.1e of |logit|, loss %.3f -> %.3f "
        "(reference %.3f -> %.3f), map correlation %.5f\n",
        GetParam().c_str(), entry.c_str(), std::abs(trajectory.front() - objective.front()) / logit,
        trajectory.front(), trajectory.back(), objective.front(), objective.back(), alike);
  }

  void check_first_step(const std::string& entry, const std::vector<double>& early) {
    const std::vector<double> gradient = golden(entry, "grad_u0");
    const std::vector<double> expected = golden(entry, "u_early");
    double peak = 0;
    for (const double g : gradient) peak = std::max(peak, std::abs(g));
    double worst = 0;
    for (size_t k = 0; k < gradient.size(); ++k) {
      if (std::abs(gradient[k]) > 1e-3 * peak) {
        worst = std::max(worst, std::abs(early.at(k) - expected.at(k)));
      }
    }
    EXPECT_LE(worst, 1e-4) << "u after one step";
  }

  std::vector<double> golden_map(const std::string& entry, const Shape& shape) {
    if (index_["methods"][entry]["files"].contains("map")) return golden(entry, "map");
    const Tensor raw =
        read_npy(folder_ / index_["methods"][entry]["files"]["raw"].get<std::string>());
    return finish_map(raw, static_cast<int>(shape[0]), static_cast<int>(shape[1]),
                      Tail::kResizedSigned)
        .to_doubles();
  }
};

TEST_P(GoldenOptiCam, InStages) {
  bool any = false;
  for (const char* entry : {"opticam_it50", "opticam_it100"}) {
    if (!index_["methods"].contains(entry)) continue;
    any = true;
    check(entry);
  }
  if (!any) GTEST_SKIP() << "no Opti-CAM stored here";
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenOptiCam, ::testing::ValuesIn(golden_folders()), test_name);

}  // namespace
}  // namespace camlucida::test
