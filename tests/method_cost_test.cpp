#include <gtest/gtest.h>

#include <cctype>

#include "explain/model.h"
#include "tests/shared.h"

/// Every method costs what `camlucida methods` says, on the network that comes with the project.
namespace camlucida {
namespace {

const std::filesystem::path kShapes =
    std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";

/// "1, to the picture" → 1; nothing for a formula such as "C + 2".
std::optional<int64_t> plain_number(const std::string& cost) {
  size_t digits = 0;
  while (digits < cost.size() && std::isdigit(static_cast<unsigned char>(cost[digits])) != 0) {
    ++digits;
  }
  if (digits == 0 || (digits < cost.size() && cost[digits] != ',')) return {};
  return std::stoll(cost.substr(0, digits));
}

TEST(MethodCost, PassesAreTheOnesDeclared) {
  const Model model = Model::load(kShapes / "shapes.onnx");
  const Tensor input = model.prepare(Image::load(kShapes / "examples" / "two_objects.png")).tensor;
  int compared = 0;
  for (const auto& method : ExplainerRegistry::instance().all()) {
    const auto forwards = plain_number(method->forwards);
    const auto backwards = plain_number(method->backwards);
    if (!forwards || !backwards || method->forwards.find("layer") != std::string::npos) continue;
    SCOPED_TRACE(method->name);
    Answer answer;
    try {
      answer = model.explain(input, {.method = method->name});
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kUsage) << error.what();  // needs a second picture
      continue;
    }
    const Explanation& explanation = answer.explanations.at(0);
    EXPECT_EQ(explanation.passes.forwards, *forwards);
    const auto weights = explanation.parameters.find("weights");
    if (weights != explanation.parameters.end() && weights->second == "closed form") {
      EXPECT_EQ(explanation.passes.backwards, 0);
    } else {
      EXPECT_EQ(explanation.passes.backwards, *backwards);
    }
    ++compared;
  }
  EXPECT_GE(compared, 15);
}

}  // namespace
}  // namespace camlucida
