/// The checks of layer_harness.h on every example of every layer in this build.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "engine/registry.h"
#include "tests/layer_harness.h"

namespace camlucida {
namespace {

struct Parameter {
  const LayerDef* layer;
  const Example* example;
};

/// Names the example in GoogleTest's messages.
void PrintTo(const Parameter& parameter, std::ostream* out) {
  *out << parameter.layer->name << " '" << parameter.example->name << "' "
       << parameter.example->attributes.to_string();
}

std::vector<Parameter> all_examples() {
  std::vector<Parameter> result;
  for (const auto& layer : Registry::instance().layers()) {
    for (const Example& example : layer->examples) result.push_back({layer.get(), &example});
  }
  return result;
}

std::string test_name(const ::testing::TestParamInfo<Parameter>& info) {
  std::string name = info.param.layer->name + "_" + info.param.example->name;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

class LayerExamples : public ::testing::TestWithParam<Parameter> {
 protected:
  test::LayerCase layer_case() const {
    return test::LayerCase(*GetParam().layer, *GetParam().example);
  }
};

TEST_P(LayerExamples, Reference) { test::check_reference(layer_case()); }

TEST_P(LayerExamples, Gradient) { test::check_gradient(layer_case()); }

TEST_P(LayerExamples, Kernels) {
  RecordProperty("runs", test::check_kernels(Registry::instance(), layer_case()));
}

TEST_P(LayerExamples, Epilogues) {
  RecordProperty("runs", test::check_epilogues(Registry::instance(), layer_case()));
}

TEST_P(LayerExamples, Tails) {
  RecordProperty("runs", test::check_tails(Registry::instance(), layer_case()));
}

INSTANTIATE_TEST_SUITE_P(All, LayerExamples, ::testing::ValuesIn(all_examples()), test_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LayerExamples);

TEST(Layers, DoTheTailsOfConvolutionalNetworks) {
  for (const char* name : {"Conv", "BatchNormalization"}) {
    const LayerDef& layer = Registry::instance().require(name);
    int runs = 0;
    for (const Example& example : layer.examples) {
      runs += test::check_tails(Registry::instance(), test::LayerCase(layer, example));
    }
    EXPECT_GT(runs, 0) << name;
  }
}

TEST(Layers, EveryLayerHasExamplesWithDistinctNames) {
  for (const auto& layer : Registry::instance().layers()) {
    EXPECT_GE(layer->examples.size(), 2u) << layer->name;
    std::set<std::string> names;
    for (const Example& example : layer->examples) {
      EXPECT_TRUE(names.insert(example.name).second) << layer->name << ": " << example.name;
    }
  }
}

TEST(Layers, DescribeTheirRolesCompletely) {
  for (const auto& layer : Registry::instance().layers()) {
    EXPECT_TRUE(layer->infer) << layer->name;
    EXPECT_TRUE(layer->forward) << layer->name;
    EXPECT_TRUE(layer->unary || layer->epilogue != EpilogueRole::kUnary) << layer->name;
    // The reference of an attribute struct survives storage under its field names.
    const FieldList fields = layer->prototype.fields();
    EXPECT_EQ(layer->prototype.restore(fields).fields(), fields) << layer->name;
    for (const Example& example : layer->examples) {
      EXPECT_NO_THROW(layer->prototype.restore(example.attributes.fields()))
          << layer->name << ": " << example.name;
    }
  }
}

/// A kernel for a layer that does not exist is a misspelling: it would never run.
TEST(Layers, EveryKernelNamesLayersOfThisBuild) {
  for (const auto& kernel : Registry::instance().kernels()) {
    for (const std::string& name : kernel->layers) {
      EXPECT_NE(Registry::instance().find(name), nullptr) << kernel->name << " serves " << name;
    }
  }
}

/// The other way round: what a backward rule counts on exists.
TEST(Layers, EveryKernelOfABackwardRuleExists) {
  const auto& kernels = Registry::instance().kernels();
  for (const auto& layer : Registry::instance().layers()) {
    for (const auto& [rule, definition] : layer->rules) {
      for (const std::string& name : definition.kernels) {
        const bool exists = std::any_of(kernels.begin(), kernels.end(), [&](const auto& kernel) {
          return kernel->name == name && kernel->backward;
        });
        EXPECT_TRUE(exists) << layer->name << ", rule " << rule << ": " << name;
      }
    }
  }
}

}  // namespace
}  // namespace camlucida
