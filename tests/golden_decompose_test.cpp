#include <cmath>

#include "explain/decompose/projection.h"
#include "tests/golden_maps.h"

namespace camlucida::test {
namespace {

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

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenDecompose, ::testing::ValuesIn(golden_folders()), test_name);

}  // namespace
}  // namespace camlucida::test
