/// Quantised networks: which values hold numbers instead of codes after import, and the
/// straight-through gradient.
#include <gtest/gtest.h>

#include "engine/passes/passes.h"
#include "engine/session.h"
#include "explain/layers.h"
#include "explain/model.h"
#include "tests/golden.h"
#include "tests/onnx_model.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida::test {
namespace {

using testing::random_tensor;

/// Writes models of quantised operators and imports them with the real layers.
class QuantisedModel {
 public:
  QuantisedModel() {
    auto& domain = *model_.proto().add_opset_import();
    domain.set_domain("com.microsoft");
    domain.set_version(1);
  }

  OnnxModel& model() { return model_; }
  void scale(const std::string& name, float value) { model_.floats(name, {}, {value}); }
  void codes(const std::string& name, const std::vector<int64_t>& dims,
             const std::vector<int>& values,
             schema::TensorProto::DataType type = schema::TensorProto::UINT8) {
    schema::TensorProto& tensor = *model_.graph().add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(type);
    for (const int64_t dim : dims) tensor.add_dims(dim);
    for (const int value : values) tensor.add_int32_data(value);
  }
  void zero(const std::string& name, int value) { codes(name, {}, {value}); }
  schema::NodeProto& node(const std::string& operation, const std::vector<std::string>& inputs,
                          const std::vector<std::string>& outputs) {
    schema::NodeProto& result = model_.node(operation, inputs, outputs, outputs[0]);
    const bool core = operation == "QLinearConv" || operation == "QLinearMatMul" ||
                      operation.rfind("QLinear", 0) != 0;
    if (!core) result.set_domain("com.microsoft");
    return result;
  }
  Graph import() { return import_bytes(model_.bytes(), {}, nullptr, Registry::instance()); }

 private:
  OnnxModel model_;
};

constexpr int64_t kChannels = 3;
constexpr int64_t kOut = 4;

std::vector<int> weight_codes() {
  std::vector<int> codes;
  for (int i = 0; i < kOut * kChannels * 9; ++i) codes.push_back((i * 53 + 11) % 256);
  return codes;
}

/// x -> QuantizeLinear -> QLinearConv -> MaxPool -> DequantizeLinear -> y, where the result of the
/// convolution has codes from 0 to 255 of scale `y_scale`, zero point `y_zero`.
QuantisedModel conv_model(float y_scale, int y_zero, float reader_scale) {
  QuantisedModel m;
  m.model().input("x", {1, kChannels, 6, 8}).output("y");
  m.scale("xs", 0.02f);
  m.zero("xz", 117);
  m.codes("w", {kOut, kChannels, 3, 3}, weight_codes());
  m.scale("ws", 0.003f);
  m.zero("wz", 125);
  m.scale("ys", y_scale);
  m.zero("yz", y_zero);
  m.scale("rs", reader_scale);
  m.node("QuantizeLinear", {"x", "xs", "xz"}, {"qx"});
  m.node("QLinearConv", {"qx", "xs", "xz", "w", "ws", "wz", "ys", "yz"}, {"qy"});
  schema::NodeProto& pool = m.node("MaxPool", {"qy"}, {"qp"});
  add_attribute(pool, "kernel_shape", schema::AttributeProto::INTS).add_ints(1);
  pool.mutable_attribute(0)->add_ints(1);
  m.node("DequantizeLinear", {"qp", "rs", "yz"}, {"y"});
  return m;
}

DType type_of(const Graph& bound, const std::string& value) {
  return bound.value(bound.require(value)).desc.dtype;
}

TEST(CodesToNumbers, WhereOnlyLayersThatKnowTheCodesLookAtThem) {
  const Graph bound = bind_shapes(conv_model(0.04f, 0, 0.04f).import(), {});
  for (const char* value : {"qx", "qy", "qp", "y"}) {
    EXPECT_EQ(type_of(bound, value), DType::kFloat32) << value;
  }
}

TEST(CodesToNumbers, NotWhereAReaderHasAnotherScale) {
  const Graph bound = bind_shapes(conv_model(0.04f, 0, 0.05f).import(), {});
  EXPECT_EQ(type_of(bound, "qx"), DType::kFloat32);
  EXPECT_EQ(type_of(bound, "qy"), DType::kUint8);
  EXPECT_EQ(type_of(bound, "qp"), DType::kUint8);
}

TEST(CodesToNumbers, NotInOutputsAndWhatElseReadsThem) {
  QuantisedModel m = conv_model(0.04f, 0, 0.04f);
  m.model().output("qy");
  EXPECT_EQ(type_of(bind_shapes(m.import(), {}), "qy"), DType::kUint8);

  QuantisedModel cast = conv_model(0.04f, 0, 0.04f);
  schema::NodeProto& node = cast.node("Cast", {"qy"}, {"other"});
  add_attribute(node, "to", schema::AttributeProto::INT).set_i(schema::TensorProto::FLOAT);
  cast.model().output("other");
  EXPECT_EQ(type_of(bind_shapes(cast.import(), {}), "qy"), DType::kUint8);
}

/// The same network with codes everywhere and with numbers everywhere.
TEST(CodesToNumbers, ChangeNoResult) {
  const Tensor x = random_tensor({1, kChannels, 6, 8}, 5, 3.0f);
  QuantisedModel kept = conv_model(0.04f, 100, 0.04f);
  kept.model().output("qp");
  Session codes(Plan::compile(kept.import(), {}));
  codes.forward(x);
  Session numbers(Plan::compile(conv_model(0.04f, 100, 0.04f).import(), {}));
  numbers.forward(x);
  EXPECT_EQ(codes.output("y").to_doubles(), numbers.output("y").to_doubles());
}

/// The gradient of a convolution is the adjoint of the float convolution with the weights that the
/// codes stand for, applied to the seed where the result is not saturated.
TEST(StraightThrough, IsTheGradientOfTheFloatLayerWhereNothingSaturates) {
  const Graph graph = conv_model(0.012f, 90, 0.012f).import();
  const Tensor x = random_tensor({1, kChannels, 6, 8}, 5, 3.0f);
  Session session(Plan::compile(
      graph, {}, Needs{.outputs = {"y"}, .taps = {"qy"}, .gradient_to = {"x"}, .score = "y"}));
  session.forward(x);
  const std::vector<double> y = session.output("y").to_doubles();
  const Tensor seed = random_tensor(session.output("y").shape(), 9);
  session.backward(seed);
  const std::vector<double> gradient = session.gradient("x").to_doubles();

  const std::vector<int> codes = weight_codes();
  std::vector<double> expected(gradient.size(), 0.0);
  int saturated = 0;
  for (int m = 0; m < kOut; ++m) {
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 6; ++c) {
        const size_t at = static_cast<size_t>((m * 4 + r) * 6 + c);
        const double code = y[at] / 0.012 + 90;
        if (code < 0.5 || code > 254.5) {
          ++saturated;
          continue;
        }
        for (int k = 0; k < kChannels * 9; ++k) {
          const double w = 0.003 * (codes[static_cast<size_t>(m * kChannels * 9 + k)] - 125);
          const int row = r + k / 3 % 3;
          expected[static_cast<size_t>((k / 9 * 6 + row) * 8 + c + k % 3)] +=
              w * static_cast<double>(seed.floats()[at]);
        }
      }
    }
  }
  EXPECT_GT(saturated, 3);
  EXPECT_LT(saturated, 60);
  // QuantizeLinear passes where the rounded input is in the range of its codes.
  int clipped = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double code = std::nearbyint(static_cast<double>(x.floats()[i]) / 0.02) + 117;
    if (code < 0 || code > 255) {
      expected[i] = 0;
      ++clipped;
    }
  }
  EXPECT_GT(clipped, 3);
  EXPECT_LE(relative_deviation(gradient, expected), 1e-5);
}

TEST(StraightThrough, IsRefusedWhereCodesStayCodes) {
  const Graph graph = conv_model(0.04f, 0, 0.05f).import();
  EXPECT_ERROR(Plan::compile(graph, {}, Needs{.gradient_to = {"x"}, .score = "y"}), kUsage,
               "no gradient reaches 'x'");
}

/// A convolution with parameters of x found at run time: DynamicQuantizeLinear, ConvInteger, Cast
/// and two products, as dynamic quantisation writes it.
TEST(StraightThrough, PassesDynamicallyQuantisedLayers) {
  QuantisedModel m;
  m.model().input("x", {1, kChannels, 6, 8}).output("y");
  m.codes("w", {kOut, kChannels, 3, 3}, weight_codes());
  m.scale("ws", 0.003f);
  m.zero("wz", 125);
  m.node("DynamicQuantizeLinear", {"x"}, {"qx", "xs", "xz"});
  m.node("ConvInteger", {"qx", "w", "xz", "wz"}, {"sum"});
  schema::NodeProto& cast = m.node("Cast", {"sum"}, {"float_sum"});
  add_attribute(cast, "to", schema::AttributeProto::INT).set_i(schema::TensorProto::FLOAT);
  m.node("Mul", {"xs", "ws"}, {"scale"});
  m.node("Mul", {"float_sum", "scale"}, {"y"});
  Session session(
      Plan::compile(m.import(), {}, Needs{.outputs = {"y"}, .gradient_to = {"x"}, .score = "y"}));
  session.forward(random_tensor({1, kChannels, 6, 8}, 5, 3.0f));
  Tensor seed(session.output("y").shape());
  const size_t output = (1 * 4 + 2) * 6 + 3;
  seed.floats()[output] = 1;
  session.backward(seed);
  const std::vector<double> gradient = session.gradient("x").to_doubles();
  const std::vector<int> codes = weight_codes();
  for (int k = 0; k < kChannels * 9; ++k) {
    const double w = 0.003 * (codes[static_cast<size_t>(kChannels * 9 + k)] - 125);
    const int at = (k / 9 * 6 + 2 + k / 3 % 3) * 8 + 3 + k % 3;
    EXPECT_NEAR(gradient[static_cast<size_t>(at)], w, 1e-6) << k;
  }
}

TEST(StraightThrough, IsSaidInWhatExplainsThroughRoundingLayers) {
  REQUIRE_SHARED(shared);
  const Model model = Model::load(shared / "zoo" / "mobilenetv2_int8" / "model.onnx");
  const Image image = Image::load(shared / "zoo" / "images" / "gradcam_examples" / "both.png");
  const Answer answer = model.explain(image, {.method = "gradcam,eigencam"});
  EXPECT_EQ(answer.explanations[0].status, Status::kOk);
  EXPECT_EQ(answer.explanations[0].parameters.count("gradients"), 1u);
  EXPECT_EQ(answer.explanations[1].parameters.count("gradients"), 0u);
  const Model floats = Model::load(shared / "zoo" / "mobilenetv2" / "model.onnx");
  EXPECT_EQ(floats.explain(image).explanations[0].parameters.count("gradients"), 0u);
}

}  // namespace
}  // namespace camlucida::test
