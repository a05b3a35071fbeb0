/// The layer that CONTRIBUTING.md shows as an example passes what every layer has to pass, and the
/// text there is the text that is built here.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "engine/registry.h"
#include "tests/layer_harness.h"

namespace camlucida {

void register_squareplus(Registry& registry);

namespace {

std::string text_of(const std::string& path) {
  std::ifstream stream(std::string(CAMLUCIDA_SOURCE_DIR) + "/" + path);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

TEST(WorkedExample, PassesTheGenericLayerTests) {
  Registry registry;
  register_squareplus(registry);
  const LayerDef& layer = registry.require("Squareplus");
  for (const Example& example : layer.examples) {
    const test::LayerCase layer_case(layer, example);
    test::check_reference(layer_case);
    test::check_gradient(layer_case);
  }
  EXPECT_EQ(registry.onnx("example", "Squareplus").size(), 1u);
}

TEST(WorkedExample, IsWhatTheGuideShows) {
  const std::string guide = text_of("CONTRIBUTING.md");
  const std::string source = text_of("tests/worked_example/squareplus.cpp");
  ASSERT_FALSE(source.empty());
  EXPECT_NE(guide.find("```cpp\n" + source + "```"), std::string::npos);
}

}  // namespace
}  // namespace camlucida
