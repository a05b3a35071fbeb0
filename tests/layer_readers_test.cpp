/// How operators of different opsets become one canonical layer.
#include <gtest/gtest.h>

#include "engine/registry.h"
#include "tests/layer_harness.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

NodeSource source(const std::string& operation, int opset, size_t inputs,
                  std::map<std::string, NodeSource::Value> attributes = {}) {
  NodeSource node;
  node.operation = operation;
  node.name = "node";
  node.opset = opset;
  node.inputs.assign(inputs, true);
  node.constants.assign(inputs, nullptr);
  node.attributes = std::move(attributes);
  return node;
}

Reading read(const NodeSource& node) {
  for (const auto& entry : Registry::instance().onnx("", node.operation)) {
    if (entry.op->first_opset <= node.opset && node.opset <= entry.op->last_opset) {
      return entry.op->read(node);
    }
  }
  ADD_FAILURE() << "no entry for " << node.operation << " at opset " << node.opset;
  return {};
}

std::string attributes_of(const NodeSource& node) { return read(node).attributes.to_string(); }

TEST(Readers, ClipBoundsBecomeInputs) {
  const Reading old = read(source("Clip", 6, 1, {{"min", 0.0}, {"max", 6.0}}));
  ASSERT_TRUE(old.inputs);
  ASSERT_EQ(old.inputs->size(), 3u);
  EXPECT_EQ((*old.inputs)[0].index, 0);
  EXPECT_EQ((*old.inputs)[1].constant.to_doubles(), std::vector<double>{0});
  EXPECT_EQ((*old.inputs)[2].constant.to_doubles(), std::vector<double>{6});
  const Reading half = read(source("Clip", 10, 1, {{"max", 1.0}}));
  EXPECT_FALSE((*half.inputs)[1].constant.defined());
  EXPECT_EQ((*half.inputs)[1].index, -1);
  EXPECT_FALSE(read(source("Clip", 13, 3)).inputs);
}

TEST(Readers, ReductionAxesBecomeAnInput) {
  const Reading mean = read(source(
      "ReduceMean", 13, 1, {{"axes", std::vector<int64_t>{2, 3}}, {"keepdims", int64_t{0}}}));
  ASSERT_TRUE(mean.inputs);
  EXPECT_EQ((*mean.inputs)[1].constant.to_ints(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(mean.attributes.to_string(), "keepdims=0 noop_with_empty_axes=0");
  EXPECT_FALSE(read(source("ReduceMean", 18, 2)).inputs);
  EXPECT_FALSE(read(source("ReduceSum", 13, 2)).inputs);
  EXPECT_TRUE(read(source("ReduceSum", 11, 1)).inputs);
  EXPECT_EQ((*read(source("ReduceSum", 11, 1)).inputs)[1].index, -1);
  EXPECT_EQ(attributes_of(source("ReduceMax", 18, 2, {{"noop_with_empty_axes", int64_t{1}}})),
            "keepdims=1 noop_with_empty_axes=1");
}

TEST(Readers, SoftmaxFlattensUpToOpset12) {
  EXPECT_EQ(attributes_of(source("Softmax", 12, 1)), "axis=1 flatten=1");
  EXPECT_EQ(attributes_of(source("Softmax", 13, 1)), "axis=-1 flatten=0");
  EXPECT_EQ(attributes_of(source("LogSoftmax", 9, 1, {{"axis", int64_t{2}}})), "axis=2 flatten=1");
}

TEST(Readers, BinaryOperandsAlignByAxisUpToOpset6) {
  EXPECT_EQ(attributes_of(source("Add", 6, 2, {{"broadcast", int64_t{1}}, {"axis", int64_t{1}}})),
            "axis=1");
  EXPECT_EQ(attributes_of(source("Mul", 6, 2, {{"broadcast", int64_t{1}}})), "axis=-1");
  EXPECT_EQ(attributes_of(source("Div", 7, 2)), "axis=-1");
}

TEST(Readers, Activations) {
  EXPECT_EQ(attributes_of(source("LeakyRelu", 6, 1)), "alpha=0.01");
  EXPECT_EQ(attributes_of(source("HardSigmoid", 6, 1)), "alpha=0.2 beta=0.5");
  EXPECT_EQ(attributes_of(source("Gelu", 20, 1)), "tanh=0");
  EXPECT_EQ(attributes_of(source("Gelu", 20, 1, {{"approximate", std::string("tanh")}})), "tanh=1");
  EXPECT_ERROR(read(source("Gelu", 20, 1, {{"approximate", std::string("fast")}})), kUnsupported,
               "fast");
  EXPECT_EQ(attributes_of(source("PRelu", 6, 2)), "per_channel=1");
  EXPECT_EQ(attributes_of(source("PRelu", 16, 2)), "per_channel=0");
}

TEST(Readers, ANegativeSlopeIsRefused) {
  const LayerDef& leaky = Registry::instance().require("LeakyRelu");
  const Attributes negative = leaky.prototype.restore({{"alpha", -0.5}});
  const TensorDesc data{DType::kFloat32, {2, 3}};
  const TensorDesc* descs[] = {&data};
  const Tensor* constants[] = {nullptr};
  EXPECT_ERROR(leaky.infer(InferContext{negative, descs, constants, 1}), kUnsupported, "alpha");
}

/// Runs `layer` on given inputs; a pair of values and constness each.
struct Given {
  Shape shape;
  std::vector<double> values;
  bool constant = false;
};
test::LayerCase make_case(const std::string& layer, Attributes attributes,
                          const std::vector<Given>& given) {
  Example example{.name = "given", .attributes = std::move(attributes)};
  for (const Given& g : given) {
    example.inputs.push_back(
        ExampleInput{.shape = g.shape, .constant = g.constant, .values = g.values});
  }
  return test::LayerCase(Registry::instance().require(layer), example);
}

// Independent of the layers' own reference functions: worked out by hand.
TEST(LayerValues, WorkedOutByHand) {
  const auto value = [](const std::string& layer, const Attributes& attributes,
                        const std::vector<Given>& given) {
    const test::LayerCase c = make_case(layer, attributes, given);
    return test::reference_forward(c, c.inputs)[0];
  };
  const auto prototype = [](const char* name) {
    return Registry::instance().require(name).prototype;
  };
  using Values = std::vector<double>;
  const Given pair{{1, 2}, {3, 4}};
  EXPECT_EQ(value("Sub", prototype("Sub"), {{{2, 1}, {10, 20}}, pair}), (Values{7, 6, 17, 16}));
  EXPECT_EQ(value("Div", prototype("Div"), {{{2}, {3, 4}}, {{2}, {2, 8}}}), (Values{1.5, 0.5}));
  EXPECT_EQ(value("Mean", prototype("Mean"), {pair, {{1, 2}, {5, 8}}, {{1, 1}, {1}}}),
            (Values{3, 13.0 / 3}));
  EXPECT_EQ(value("Max", prototype("Max"), {pair, {{1, 2}, {5, 1}}}), (Values{5, 4}));
  const Attributes at_axis_1 = prototype("Add").restore({{"axis", int64_t{1}}});
  EXPECT_EQ(value("Add", at_axis_1, {{{1, 2, 2}, {0, 0, 0, 0}}, {{2}, {1, 2}}}),
            (Values{1, 1, 2, 2}));
  const Attributes keep = prototype("ReduceMean");
  EXPECT_EQ(value("ReduceMean", keep, {{{1, 2, 2}, {1, 2, 3, 6}}, {{1}, {2}, true}}),
            (Values{1.5, 4.5}));
  EXPECT_EQ(value("ReduceL2", keep, {{{1, 2}, {3, 4}}, {{1}, {1}, true}}), (Values{5}));
  EXPECT_EQ(value("ReduceProd", keep, {{{1, 3}, {2, 3, 4}}, {{1}, {1}, true}}), (Values{24}));
  EXPECT_EQ(value("ReduceL1", keep, {{{1, 2}, {-3, 4}}, {{1}, {1}, true}}), (Values{7}));
  EXPECT_NEAR(value("ReduceLogSumExp", keep, {{{1, 2}, {0, 0}}, {{1}, {1}, true}})[0],
              0.69314718055994531, 1e-15);
  EXPECT_EQ(value("Softmax", prototype("Softmax"), {{{1, 2}, {0, 0}}}), (Values{0.5, 0.5}));
  EXPECT_NEAR(value("LogSoftmax", prototype("Softmax"), {{{1, 2}, {0, 0}}})[0],
              -0.69314718055994531, 1e-15);
  EXPECT_EQ(value("PRelu", prototype("PRelu"), {{{1, 2, 1}, {-1, -1}}, {{2, 1}, {0.5, 2}, true}}),
            (Values{-0.5, -2}));
}

TEST(ChannelAffine, OfConstantOperands) {
  const auto affine = [](const std::string& layer, const std::vector<Given>& given) {
    const test::LayerCase c =
        make_case(layer, Registry::instance().require(layer).prototype, given);
    std::vector<const TensorDesc*> descs;
    std::vector<const Tensor*> constants;
    for (size_t i = 0; i < given.size(); ++i) {
      descs.push_back(&c.input_descs[i]);
      constants.push_back(c.constants[i].defined() ? &c.constants[i] : nullptr);
    }
    return c.layer->channel_affine(InferContext{c.example.attributes, descs, constants, 1});
  };
  using Values = std::vector<double>;
  const Given data{{1, 2, 1, 2}, {1, 2, 3, 4}};
  const Given constant{{2, 1, 1}, {4, 8}, true};
  EXPECT_EQ(affine("Mul", {data, constant})->scale, (Values{4, 8}));
  EXPECT_EQ(affine("Div", {data, constant})->scale, (Values{0.25, 0.125}));
  EXPECT_FALSE(affine("Div", {constant, data}));
  EXPECT_EQ(affine("Sub", {data, constant})->shift, (Values{-4, -8}));
  EXPECT_EQ(affine("Sub", {constant, data})->scale, (Values{-1, -1}));
  EXPECT_EQ(affine("Sub", {constant, data})->shift, (Values{4, 8}));
  EXPECT_EQ(affine("Add", {data, {{}, {5}, true}})->shift, (Values{5, 5}));
  // Along the last axis: not per channel.
  EXPECT_FALSE(affine("Add", {data, {{2}, {1, 2}, true}}));
  EXPECT_FALSE(affine("Add", {data, {{1, 2, 1, 2}, {1, 2, 3, 4}}}));
}

TEST(Head, SpatialMeanIsRecognised) {
  const LayerDef& mean = Registry::instance().require("ReduceMean");
  const auto is_head = [&](const std::vector<double>& axes) {
    const test::LayerCase c = make_case(
        "ReduceMean", mean.prototype,
        {{{1, 2, 1, 2}, {1, 2, 3, 4}}, {{static_cast<int64_t>(axes.size())}, axes, true}});
    const TensorDesc* descs[] = {&c.input_descs[0], &c.input_descs[1]};
    const Tensor* constants[] = {nullptr, &c.constants[1]};
    return mean.head(InferContext{mean.prototype, descs, constants, 1}).has_value();
  };
  EXPECT_TRUE(is_head({2, 3}));
  EXPECT_TRUE(is_head({-1, -2}));
  EXPECT_FALSE(is_head({1}));
  EXPECT_FALSE(is_head({1, 2, 3}));
}

}  // namespace
}  // namespace camlucida
