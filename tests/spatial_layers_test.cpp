/// What the generic checks do not see of convolution, linear, pooling, normalisation and resize
/// layers: the roles they play for passes, their readers, and the corners of their definitions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/pool/pool.h"
#include "layers/resize/resize.h"
#include "tests/layer_harness.h"

namespace camlucida {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;

const LayerDef& layer(const std::string& name) { return Registry::instance().require(name); }

/// Inference context of a case, with the storage it points into.
struct Context {
  explicit Context(const test::LayerCase& c) {
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      descs.push_back(c.example.inputs[i].absent ? nullptr : &c.input_descs[i]);
      constants.push_back(c.constants[i].defined() ? &c.constants[i] : nullptr);
    }
    context.emplace(InferContext{c.example.attributes, descs, constants, c.example.output_count});
  }
  std::vector<const TensorDesc*> descs;
  std::vector<const Tensor*> constants;
  std::optional<InferContext> context;
};

std::vector<double> forward(const LayerDef& def, const Example& example) {
  const test::LayerCase c(def, example);
  return test::reference_forward(c, c.inputs)[0];
}

ChannelAffine some_map(int64_t channels) {
  ChannelAffine map;
  for (int64_t c = 0; c < channels; ++c) {
    map.scale.push_back(0.5 + 0.25 * static_cast<double>(c));
    map.shift.push_back(1.0 - 0.5 * static_cast<double>(c));
  }
  return map;
}

void apply(const ChannelAffine& map, const Shape& shape, std::vector<double>& values) {
  const int64_t pixels = shape.count(2, shape.rank());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto c = static_cast<size_t>(static_cast<int64_t>(i) / pixels % shape[1]);
    values[i] = map.scale[c] * values[i] + map.shift[c];
  }
}

double largest(const std::vector<double>& values) {
  double result = 0;
  for (const double v : values) result = std::max(result, std::abs(v));
  return result;
}

/// Every layer that absorbs, on every example where it does: the layer with the new constants
/// equals the layer followed by the map.
TEST(SpatialLayers, AbsorbingAChannelMapEqualsApplyingIt) {
  int absorbed = 0;
  for (const auto& def : Registry::instance().layers()) {
    if (!def->absorb) continue;
    for (const Example& example : def->examples) {
      SCOPED_TRACE(def->name + " " + example.name);
      const test::LayerCase c(*def, example);
      const Shape& shape = c.output_descs[0].shape;
      if (shape.rank() < 2) continue;
      const ChannelAffine map = some_map(shape[1]);
      const Context context(c);
      const auto constants = def->absorb(*context.context, map);
      const bool weights_constant = c.inputs.size() > 1 && c.constants[1].defined();
      if (!constants) continue;
      EXPECT_TRUE(weights_constant);
      ++absorbed;
      test::LayerCase after = c;
      after.example.inputs.resize(constants->size());
      after.input_descs.resize(constants->size());
      after.inputs.resize(constants->size());
      after.constants = *constants;
      for (size_t i = 0; i < constants->size(); ++i) {
        if (!(*constants)[i].defined()) continue;
        after.example.inputs[i] = ExampleInput{.shape = (*constants)[i].shape(), .constant = true};
        after.input_descs[i] = (*constants)[i].desc();
        after.inputs[i] = (*constants)[i].to_doubles();
      }
      std::vector<double> expected = test::reference_forward(c, c.inputs)[0];
      apply(map, shape, expected);
      const std::vector<double> actual = test::reference_forward(after, after.inputs)[0];
      EXPECT_THAT(actual, Pointwise(DoubleNear(1e-6 * largest(expected)), expected));
    }
  }
  EXPECT_GE(absorbed, 30);
}

TEST(SpatialLayers, AChannelMapEqualsTheLayerItDescribes) {
  int described = 0;
  for (const auto& def : Registry::instance().layers()) {
    if (!def->channel_affine) continue;
    for (const Example& example : def->examples) {
      SCOPED_TRACE(def->name + " " + example.name);
      const test::LayerCase c(*def, example);
      const Context context(c);
      const auto map = def->channel_affine(*context.context);
      if (!map) continue;
      ++described;
      // The data is the input that is not constant.
      size_t data = 0;
      while (data < c.inputs.size() && !c.is_data(data)) ++data;
      ASSERT_LT(data, c.inputs.size());
      std::vector<double> expected = c.inputs[data];
      apply(*map, c.input_descs[data].shape, expected);
      const std::vector<double> actual = test::reference_forward(c, c.inputs)[0];
      EXPECT_THAT(actual, Pointwise(DoubleNear(1e-9 * largest(expected)), expected));
    }
  }
  EXPECT_GE(described, 6);
}

/// y = W x + b for the matrix a layer hands out, on maps of one pixel or rows of features.
TEST(SpatialLayers, ALinearHeadPartIsTheLayersMatrix) {
  int parts = 0;
  for (const char* name : {"Conv", "Gemm", "MatMul"}) {
    for (const Example& example : layer(name).examples) {
      SCOPED_TRACE(std::string(name) + " " + example.name);
      const test::LayerCase c(layer(name), example);
      const Context context(c);
      const auto part = layer(name).head(*context.context);
      if (!part) continue;
      ++parts;
      ASSERT_EQ(part->kind, HeadPart::Kind::kLinear);
      const Shape& x = c.input_descs[0].shape;
      const int64_t features = x[1];
      const int64_t pixels = x.count(2, x.rank());
      const int64_t classes = c.output_descs[0].shape[1];
      ASSERT_EQ(part->weight.shape(), (Shape{classes, features}));
      const std::vector<double> y = test::reference_forward(c, c.inputs)[0];
      std::vector<double> expected;
      for (int64_t i = 0; i < x[0] * classes * pixels; ++i) {
        const int64_t k = i / pixels % classes;
        const int64_t n = i / pixels / classes;
        double sum = part->bias.defined() ? part->bias.floats()[k] : 0.0;
        for (int64_t f = 0; f < features; ++f) {
          sum += double{part->weight.floats()[k * features + f]} *
                 c.inputs[0][static_cast<size_t>((n * features + f) * pixels + i % pixels)];
        }
        expected.push_back(sum);
      }
      EXPECT_THAT(y, Pointwise(DoubleNear(1e-6 * largest(expected)), expected));
    }
  }
  EXPECT_GE(parts, 8);
}

TEST(SpatialLayers, AnAverageOverTheWholeMapIsASpatialMean) {
  for (const Example& example : layer("AveragePool").examples) {
    const test::LayerCase c(layer("AveragePool"), example);
    const Context context(c);
    EXPECT_EQ(layer("AveragePool").head(*context.context).has_value(), example.name == "whole_map")
        << example.name;
  }
}

TEST(SpatialLayers, OfEqualMaximaTheFirstTakesTheGradient) {
  const Example example{.name = "ties",
                        .attributes = MaxPoolAttributes{{.kernel = {2, 2}, .strides = {2, 2}}},
                        .inputs = {{.shape = {1, 1, 2, 4}, .values = {1, 3, 0, 0, 3, 3, 0, 0}}},
                        .output_count = 2};
  const test::LayerCase c(layer("MaxPool"), example);
  const test::Doubles outputs = test::reference_forward(c, c.inputs);
  EXPECT_THAT(outputs[0], ElementsAre(3, 0));
  EXPECT_THAT(outputs[1], ElementsAre(1, 2));
  const test::Doubles gradients = test::reference_backward(c, outputs, {{10, 20}, {0, 0}});
  EXPECT_THAT(gradients[0], ElementsAre(0, 10, 20, 0, 0, 0, 0, 0));
}

TEST(SpatialLayers, ANanInTheWindowIsItsMaximum) {
  for (const std::vector<double>& values :
       {std::vector<double>{NAN, 1, 2, 3}, {1, NAN, 2, 3}, {1, 2, 3, NAN}}) {
    const Example window{.name = "nan",
                         .attributes = MaxPoolAttributes{{.kernel = {2, 2}}},
                         .inputs = {{.shape = {1, 1, 2, 2}, .values = values}}};
    EXPECT_THAT(forward(layer("MaxPool"), window), ElementsAre(::testing::IsNan()));
    const Example whole{.name = "nan", .inputs = window.inputs};
    EXPECT_THAT(forward(layer("GlobalMaxPool"), whole), ElementsAre(::testing::IsNan()));
  }
}

TEST(SpatialLayers, AConstantGroupIsNormalisedToZeros) {
  // 0.1 is no float32: a mean in float32 would miss it and 1 / deviation blow the error up.
  const std::vector<double> equal(7, static_cast<double>(0.1f));
  const FieldList axes = {{"axes", std::vector<int64_t>{2, 3}}};
  const Example example{.name = "constant",
                        .attributes = layer("MeanVarianceNormalization").prototype.restore(axes),
                        .inputs = {{.shape = {1, 1, 1, 7}, .values = equal}}};
  EXPECT_THAT(forward(layer("MeanVarianceNormalization"), example), ::testing::Each(0.0));
}

/// Standardised weights: BatchNormalization in training mode, of constants only.
TEST(SpatialLayers, BatchStatisticsAreTakenOfConstantsOnly) {
  Example example = layer("BatchNormalization").examples[0];
  BatchNormAttributes attributes;
  attributes.training = true;
  attributes.epsilon = 0;
  example.attributes = attributes;
  try {
    const test::LayerCase refused(layer("BatchNormalization"), example);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("training_mode = 0"));
  }
  example.inputs = {{.shape = {2, 1, 2}, .constant = true, .values = {1, 3, 5, 7}}};
  for (int i = 0; i < 4; ++i) {
    example.inputs.push_back({.shape = {1}, .constant = true, .values = {i == 0 ? 2.0 : 1.0}});
  }
  const double s = 2 / std::sqrt(5.0);  // scale 2, variance 5, mean 4, bias 1
  EXPECT_THAT(forward(layer("BatchNormalization"), example),
              Pointwise(DoubleNear(1e-12), {1 - 3 * s, 1 - s, 1 + s, 1 + 3 * s}));
}

TEST(SpatialLayers, ResizingToTheSameSizeIsTheIdentity) {
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    const Example example{.name = mode,
                          .attributes = ResizeAttributes{.mode = mode},
                          .inputs = {{{1, 2, 3, 4}},
                                     {.absent = true},
                                     {.shape = {4}, .constant = true, .values = {1, 1, 1, 1}}}};
    const test::LayerCase c(layer("Resize"), example);
    const Context context(c);
    EXPECT_TRUE(layer("Resize").is_identity(*context.context)) << mode;
  }
  const test::LayerCase c(layer("Resize"), layer("Resize").examples[0]);
  const Context context(c);
  EXPECT_FALSE(layer("Resize").is_identity(*context.context));
}

/// Reads a node of operator `operation` as the layer that takes it at `opset`.
Reading read(const std::string& operation, int opset,
             std::map<std::string, NodeSource::Value> attributes, int inputs,
             const LayerDef** taken = nullptr) {
  NodeSource source;
  source.operation = operation;
  source.opset = opset;
  source.inputs.assign(static_cast<size_t>(inputs), true);
  source.constants.assign(static_cast<size_t>(inputs), nullptr);
  source.attributes = std::move(attributes);
  for (const auto& entry : Registry::instance().onnx("", operation)) {
    if (opset < entry.op->first_opset || opset > entry.op->last_opset) continue;
    if (taken != nullptr) *taken = entry.layer;
    return entry.op->read(source);
  }
  ADD_FAILURE() << operation << " is not read at opset " << opset;
  return {};
}

TEST(SpatialLayers, UpsampleArrivesAsResizeFromEveryOpset) {
  const std::vector<double> scales = {1, 1, 2, 3};
  const LayerDef* taken = nullptr;
  const Reading first =
      read("Upsample", 1, {{"height_scale", 2.0}, {"width_scale", 3.0}}, 1, &taken);
  ASSERT_EQ(taken, &layer("Resize"));
  ASSERT_TRUE(first.inputs);
  EXPECT_EQ((*first.inputs)[2].constant.to_doubles(), scales);
  const Reading seventh =
      read("Upsample", 7, {{"scales", scales}, {"mode", std::string("linear")}}, 1);
  EXPECT_EQ((*seventh.inputs)[2].constant.to_doubles(), scales);
  EXPECT_EQ(seventh.attributes.as<ResizeAttributes>().mode, "linear");
  EXPECT_EQ(seventh.attributes.as<ResizeAttributes>().coordinates, "asymmetric");
  const Reading ninth = read("Upsample", 9, {}, 2);
  EXPECT_EQ((*ninth.inputs)[1].index, -1);
  EXPECT_EQ((*ninth.inputs)[2].index, 1);
  const Reading tenth = read("Resize", 10, {}, 2);
  EXPECT_EQ((*tenth.inputs)[2].index, 1);
  EXPECT_EQ(tenth.attributes.as<ResizeAttributes>().nearest_mode, "simple");
  const Reading eleventh = read("Resize", 11, {}, 3);
  EXPECT_FALSE(eleventh.inputs);
  EXPECT_EQ(eleventh.attributes.as<ResizeAttributes>().coordinates, "half_pixel");
}

TEST(SpatialLayers, OldBatchNormalisationIsReadForInference) {
  const Reading old = read("BatchNormalization", 6,
                           {{"is_test", int64_t{0}}, {"spatial", int64_t{0}}, {"epsilon", 0.5}}, 5);
  EXPECT_TRUE(old.attributes.as<BatchNormAttributes>().per_activation);
  EXPECT_FALSE(old.attributes.as<BatchNormAttributes>().training);
  EXPECT_EQ(old.attributes.as<BatchNormAttributes>().epsilon, 0.5);
  EXPECT_EQ(old.output_count, 1);
}

TEST(SpatialLayers, WindowsThatDoNotFitAreRefused) {
  const auto refused = [](const WindowAttributes& window, const Shape& x) {
    try {
      resolve_window(window, x, window.kernel);
      return false;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kModel;
    }
  };
  const Shape x{1, 1, 4, 4};
  EXPECT_FALSE(refused({.kernel = {3, 3}}, x));
  EXPECT_TRUE(refused({.kernel = {5, 3}}, x)) << "larger than the input";
  EXPECT_TRUE(refused({.kernel = {3}}, x)) << "one extent for two axes";
  EXPECT_TRUE(refused({.kernel = {3, 3}, .strides = {0, 1}}, x));
  EXPECT_TRUE(refused({.kernel = {3, 3}, .pads = {-1, 0, 0, 0}}, x));
  EXPECT_TRUE(refused({.kernel = {3, 3}, .pads = {1, 1}}, x));
  EXPECT_TRUE(refused({.kernel = {3, 3}, .auto_pad = "SAME"}, x));
  EXPECT_TRUE(refused({.kernel = {3, 3}, .dilations = {int64_t{1} << 40, 1}}, x));
}

}  // namespace
}  // namespace camlucida
