#include "tests/golden_maps.h"

/// Methods that perturb the picture or the layer against the golden maps.
namespace camlucida::test {
namespace {

TEST_P(GoldenMaps, ScoreCam) {
  check_method("scorecam_official", "scorecam@official");
  check_method("scorecam_jacobgil", "scorecam@pytorch-grad-cam");
  EXPECT_GE(compared_, 2);
}

TEST_P(GoldenMaps, AblationCam) {
  for (const char* entry : {"ablationcam", "ablationcam_zero"}) {
    if (!index_["methods"].contains(entry)) continue;
    check_method(entry, "ablationcam");
    compare(entry, "weights_double", explain("ablationcam").artefacts.at("weights").to_doubles());
    check_method(entry, "ablationcam", {{"ablationcam.closed_form", "false"}});
  }
  EXPECT_GE(compared_, 2);
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

}  // namespace
}  // namespace camlucida::test
