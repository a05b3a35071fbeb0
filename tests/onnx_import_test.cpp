#include "engine/import/onnx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/fs.h"
#include "engine/import/onnx_names.h"
#include "engine/import/onnx_tensor.h"
#include "engine/passes/passes.h"
#include "tests/onnx_model.h"
#include "tests/shared.h"

namespace camlucida::test {
namespace {

using schema::AttributeProto;
using schema::TensorProto;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Value& value(const Graph& graph, const std::string& name) {
  return graph.value(graph.require(name));
}

/// y = Relu(x), the smallest model.
OnnxModel relu_model() {
  OnnxModel model;
  model.input("x", {1, 3, 4, 4}).output("y");
  model.node("Relu", {"x"}, {"y"}, "relu");
  return model;
}

// ---- Graph structure ---------------------------------------------------------------------------

TEST(OnnxImport, KeepsNamesShapesAndOrder) {
  OnnxModel model;
  model.input("x", {0, 3, 4, 4}).output("y");
  model.floats("bias", {3}, {1, 2, 3});
  model.node("Relu", {"x"}, {"a"}, "first");
  model.node("Add", {"a", "bias"}, {"y"}, "second");
  const Graph graph = model.import();
  EXPECT_EQ(operations(graph), "Relu Add");
  EXPECT_EQ(graph.value(graph.inputs()[0]).desc.shape, (Shape{Shape::kUnknown, 3, 4, 4}));
  EXPECT_THAT(value(graph, "bias").constant.to_doubles(), ElementsAre(1, 2, 3));
  EXPECT_EQ(graph.find("first"), graph.require("a"));
  EXPECT_EQ(graph.node(1).opset, 13);
  EXPECT_EQ(graph.value(graph.outputs()[0]).name, "y");
}

TEST(OnnxImport, SortsNodesAndDropsWhatNoOutputNeeds) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.node("Relu", {"b"}, {"y"});
  model.node("NoSuchOperator", {"x"}, {"unused"});
  model.node("Identity", {"a"}, {"b"});
  model.node("Relu", {"x"}, {"a"});
  EXPECT_EQ(operations(model.import()), "Relu Identity Relu");
}

TEST(OnnxImport, InputsThatHaveAnInitializerAreConstants) {
  for (const int64_t ir_version : {3, 8}) {
    OnnxModel model(13, ir_version);
    model.input("x", {2}).input("w", {2}).output("y");
    model.floats("w", {2}, {5, 6});
    model.node("Add", {"x", "w"}, {"y"});
    const Graph graph = model.import();
    ASSERT_EQ(graph.inputs().size(), 1u);
    EXPECT_TRUE(value(graph, "w").is_constant());
  }
}

TEST(OnnxImport, IdentityOfAnInitializerIsThatInitializer) {
  OnnxModel model;
  model.input("x", {2}).output("y").output("copy2");
  model.floats("limit", {}, {0.5});
  model.node("Identity", {"limit"}, {"copy1"});
  model.node("Identity", {"copy1"}, {"copy2"});
  model.node("Clip", {"x", "", "copy2"}, {"y"});  // refuses limits that are not constant
  const Graph graph = model.import();
  EXPECT_EQ(operations(graph), "Clip");
  EXPECT_EQ(graph.node(0).inputs[2], graph.require("limit"));
  EXPECT_EQ(graph.find("copy2"), graph.require("limit"));
  EXPECT_EQ(graph.outputs()[1], graph.require("limit"));
}

TEST(OnnxImport, SharedInitializersAreOneConstant) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.floats("w", {2}, {5, 6});
  model.node("Add", {"x", "w"}, {"a"});
  model.node("Add", {"a", "w"}, {"y"});
  const Graph graph = model.import();
  EXPECT_EQ(graph.node(0).inputs[1], graph.node(1).inputs[1]);
  EXPECT_EQ(value(graph, "w").consumers.size(), 2u);
}

TEST(OnnxImport, EmptyNamesAreAbsentInputs) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.floats("high", {}, {6});
  model.node("Clip", {"x", "", "high"}, {"a"});
  model.node("Clip", {"a", "", ""}, {"y"});
  const Graph graph = model.import();
  EXPECT_EQ(graph.node(0).inputs[1], kNone);
  EXPECT_EQ(graph.node(1).inputs.size(), 1u);
}

TEST(OnnxImport, UnusedOptionalOutputsAreDropped) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.node("Dropout", {"x"}, {"y", "mask"});
  EXPECT_EQ(model.import().node(0).outputs.size(), 1u);
  model.output("mask");
  EXPECT_ERROR(model.import(), kUnsupported, "output 1 is used");
}

TEST(OnnxImport, ReadersBringAttributesOfOldOpsetsToInputs) {
  OnnxModel model(10);
  model.input("x", {2}).output("y");
  auto& clip = model.node("Clip", {"x"}, {"y"}, "clip");
  add_attribute(clip, "max", AttributeProto::FLOAT).set_f(6);
  const Graph graph = model.import();
  const Node& node = graph.node(0);
  ASSERT_EQ(node.inputs.size(), 3u);
  EXPECT_EQ(node.inputs[1], kNone);
  EXPECT_THAT(graph.value(node.inputs[2]).constant.to_doubles(), ElementsAre(6));
}

TEST(OnnxImport, AttributeTypesMayBeImplicit) {
  OnnxModel model(10, 3);
  model.input("x", {2}).output("y");
  auto& attribute = *model.node("Clip", {"x"}, {"y"}).add_attribute();
  attribute.set_name("max");
  attribute.set_f(3);
  EXPECT_EQ(model.import().node(0).inputs.size(), 3u);
}

TEST(OnnxImport, InfoIsGivenEvenIfOperatorsAreNot) {
  OnnxModel model(12, 7);
  model.proto().set_producer_name("pytorch");
  model.proto().set_producer_version("2.1");
  model.input("x", {2}).output("y");
  model.node("Relu", {"x"}, {"a"});
  model.node("Relu", {"a"}, {"b"});
  model.node("Odd", {"b"}, {"y"}).set_domain("com.example");
  OnnxInfo info;
  EXPECT_ERROR(model.import({}, &info), kUnsupported, "com.example.Odd");
  EXPECT_EQ(info.ir_version, 7);
  EXPECT_EQ(info.opsets.at(""), 12);
  EXPECT_EQ(info.producer, "pytorch 2.1");
  EXPECT_EQ(info.operators.at("Relu"), 2);
  EXPECT_EQ(info.operators.at("com.example.Odd"), 1);
}

// ---- Names -------------------------------------------------------------------------------------

TEST(OnnxNames, ModulesOfTorchNodeNames) {
  EXPECT_THAT(modules_from_node_name("/layer4/layer4.2/conv3/Conv"),
              ElementsAre("layer4", "layer4.2", "layer4.2.conv3"));
  EXPECT_THAT(modules_from_node_name("/features/features.0/features.0.1/Relu_1"),
              ElementsAre("features", "features.0", "features.0.1"));
  EXPECT_THAT(modules_from_node_name("/Flatten"), ElementsAre());
  EXPECT_THAT(modules_from_node_name("Conv_12"), ElementsAre());
  EXPECT_THAT(modules_from_node_name("vgg16/block5_conv3/Relu"),
              ElementsAre("vgg16", "vgg16/block5_conv3"));
  EXPECT_THAT(modules_from_scopes("['', 'layer4', 'layer4.2', 'conv2d_5']"),
              ElementsAre("layer4", "layer4.2"));
}

TEST(OnnxNames, ModuleAliasesNameTheLastValueOfTheModule) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.node("Relu", {"x"}, {"1"}, "/layer1/layer1.0/conv/Conv");
  model.node("Relu", {"1"}, {"2"}, "/layer1/layer1.0/relu/Relu");
  model.node("Relu", {"2"}, {"3"}, "/layer1/layer1.1/relu/Relu");
  model.node("Shape", {"3"}, {"shape"}, "/layer1/Shape");
  model.node("Relu", {"3"}, {"y"}, "/head/Relu");
  model.output("shape");
  const Graph graph = model.import();
  EXPECT_EQ(graph.find("layer1.0.conv"), graph.require("1"));
  EXPECT_EQ(graph.find("layer1.0"), graph.require("2"));
  EXPECT_EQ(graph.find("layer1.1.relu"), graph.require("3"));
  EXPECT_EQ(graph.find("layer1"), graph.require("3")) << "shape arithmetic is no layer";
  EXPECT_EQ(graph.find("head"), graph.require("y"));
  EXPECT_EQ(graph.find("/head/Relu"), graph.require("y"));
}

TEST(OnnxNames, MetadataScopesAndUniqueLeaves) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  auto& scopes = *model.node("Relu", {"x"}, {"a"}, "node_relu").add_metadata_props();
  scopes.set_key("pkg.torch.onnx.name_scopes");
  scopes.set_value("['', 'layer4', 'layer4.0', 'relu']");
  model.node("Relu", {"a"}, {"b"}, "net/block1/Relu");
  model.node("Relu", {"b"}, {"c"}, "net/block2/act/Relu");
  model.node("Relu", {"c"}, {"y"}, "net/block3/act/Relu");
  const Graph graph = model.import();
  EXPECT_EQ(graph.find("layer4.0"), graph.require("a"));
  EXPECT_EQ(graph.find("block1"), graph.require("b"));
  EXPECT_EQ(graph.find("net/block2/act"), graph.require("c"));
  EXPECT_EQ(graph.find("act"), kNone) << "two modules end that way";
}

TEST(OnnxNames, ValueNamesWinOverAliases) {
  OnnxModel model;
  model.input("x", {2}).output("layer1");
  model.node("Relu", {"x"}, {"a"}, "/layer1/Relu");
  model.node("Relu", {"a"}, {"layer1"}, "a");
  const Graph graph = model.import();
  EXPECT_EQ(graph.value(graph.find("layer1")).name, "layer1");
  EXPECT_EQ(graph.value(graph.find("a")).name, "a");
}

// ---- Constants ---------------------------------------------------------------------------------

TEST(OnnxConstants, AllFormsOfConstantNodes) {
  struct Form {
    const char* name;
    std::function<void(AttributeProto&)> fill;
    AttributeProto::AttributeType type;
    Shape shape;
    std::vector<double> values;
  };
  const std::vector<Form> forms = {
      {"value",
       [](auto& a) {
         set_ints(*a.mutable_t(), {2, 1}, {7, 8});
       },
       AttributeProto::TENSOR,
       Shape{2, 1},
       {7, 8}},
      {"value_float", [](auto& a) { a.set_f(1.5); }, AttributeProto::FLOAT, Shape{}, {1.5}},
      {"value_floats",
       [](auto& a) {
         a.add_floats(1.5);
         a.add_floats(-2);
       },
       AttributeProto::FLOATS,
       Shape{2},
       {1.5, -2}},
      {"value_int", [](auto& a) { a.set_i(-3); }, AttributeProto::INT, Shape{}, {-3}},
      {"value_ints", [](auto& a) { a.add_ints(4); }, AttributeProto::INTS, Shape{1}, {4}}};
  for (const Form& form : forms) {
    OnnxModel model;
    model.output("c");
    form.fill(add_attribute(model.node("Constant", {}, {"c"}), form.name, form.type));
    const Graph graph = model.import();
    EXPECT_TRUE(graph.nodes().empty());
    EXPECT_EQ(value(graph, "c").constant.shape(), form.shape) << form.name;
    EXPECT_EQ(value(graph, "c").constant.to_doubles(), form.values) << form.name;
  }
}

TEST(OnnxConstants, SparseAndTextConstantsAreRefused) {
  OnnxModel model;
  model.output("c");
  auto& node = model.node("Constant", {}, {"c"}, "sparse");
  add_attribute(node, "sparse_value", AttributeProto::SPARSE_TENSOR).mutable_sparse_tensor();
  EXPECT_ERROR(model.import(), kUnsupported, "sparse_value");
  node.mutable_attribute(0)->set_name("value_string");
  EXPECT_ERROR(model.import(), kUnsupported, "value_string");
  node.clear_attribute();
  EXPECT_ERROR(model.import(), kModel, "no value");
}

TEST(OnnxConstants, EveryElementTypeRawAndTyped) {
  struct Case {
    int type;
    DType dtype;
    std::string raw;
    std::function<void(TensorProto&)> fill;
    double expected;
  };
  const auto raw = [](auto number) {
    return std::string(reinterpret_cast<const char*>(&number), sizeof(number));
  };
  const auto int32 = [](int32_t v) { return [v](TensorProto& t) { t.add_int32_data(v); }; };
  const auto uint64 = [](uint64_t v) { return [v](TensorProto& t) { t.add_uint64_data(v); }; };
  const std::vector<Case> cases = {
      {TensorProto::FLOAT, DType::kFloat32, raw(1.5f), [](auto& t) { t.add_float_data(1.5f); },
       1.5},
      {TensorProto::DOUBLE, DType::kFloat64, raw(0.1), [](auto& t) { t.add_double_data(0.1); },
       0.1},
      {TensorProto::FLOAT16, DType::kFloat16, raw(uint16_t{0xc000}), int32(0xc000), -2},
      {TensorProto::BFLOAT16, DType::kBFloat16, raw(uint16_t{0x3fc0}), int32(0x3fc0), 1.5},
      {TensorProto::INT64, DType::kInt64, raw(int64_t{-9}), [](auto& t) { t.add_int64_data(-9); },
       -9},
      {TensorProto::INT32, DType::kInt32, raw(int32_t{-9}), int32(-9), -9},
      {TensorProto::INT16, DType::kInt16, raw(int16_t{-300}), int32(-300), -300},
      {TensorProto::INT8, DType::kInt8, raw(int8_t{-7}), int32(-7), -7},
      {TensorProto::UINT64, DType::kUint64, raw(uint64_t{9}), uint64(9), 9},
      {TensorProto::UINT32, DType::kUint32, raw(uint32_t{4'000'000'000}), uint64(4'000'000'000),
       4e9},
      {TensorProto::UINT16, DType::kUint16, raw(uint16_t{65535}), int32(65535), 65535},
      {TensorProto::UINT8, DType::kUint8, raw(uint8_t{200}), int32(200), 200},
      {TensorProto::BOOL, DType::kBool, raw(uint8_t{7}), int32(2), 1}};
  for (const Case& c : cases) {
    for (const bool as_raw : {true, false}) {
      TensorProto proto;
      proto.set_data_type(c.type);
      proto.add_dims(1);
      if (as_raw) {
        proto.set_raw_data(c.raw);
      } else {
        c.fill(proto);
      }
      const Tensor tensor = tensor_from_onnx(as_bytes(proto.SerializeAsString()));
      EXPECT_EQ(tensor.dtype(), c.dtype);
      EXPECT_THAT(tensor.to_doubles(), ElementsAre(c.expected)) << name_of(c.dtype) << as_raw;
    }
  }
}

TEST(OnnxConstants, SizeOfDataMustFitTheShape) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.node("Add", {"x", "w"}, {"y"}, "add");
  TensorProto& w = model.floats("w", {2}, {1, 2});
  EXPECT_NO_THROW(model.import());
  w.set_dims(0, 3);
  EXPECT_ERROR(model.import(), kModel, "needs 3 elements but the file holds 2");
  w.clear_float_data();
  EXPECT_ERROR(model.import(), kModel, "there is no data");
  w.set_raw_data("1234567");
  EXPECT_ERROR(model.import(), kModel, "needs 12 bytes but the file holds 7");
  w.set_dims(0, -1);
  EXPECT_ERROR(model.import(), kModel, "negative");
  w.set_dims(0, 10'000'000'000'000);
  EXPECT_ERROR(model.import(), kModel, "needs 40000000000000 bytes");
  w.add_dims(10'000'000'000'000);
  EXPECT_ERROR(model.import(), kModel, "more elements than can be addressed");
  w.set_dims(1, 0);
  w.add_dims(int64_t{1} << 62);
  EXPECT_ERROR(model.import(), kModel, "more elements than can be addressed");
  w.clear_dims();
  w.add_dims(0);
  w.clear_raw_data();
  EXPECT_EQ(value(model.import(), "w").constant.count(), 0);
}

TEST(OnnxConstants, UnsupportedElementTypesAreNamed) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.node("Add", {"x", "w"}, {"y"}, "add");
  TensorProto& w = model.floats("w", {1}, {1});
  w.set_data_type(TensorProto::STRING);
  EXPECT_ERROR(model.import(), kUnsupported, "element type string");
  w.set_data_type(17);
  EXPECT_ERROR(model.import(), kUnsupported, "float8e4m3fn");
  w.set_data_type(99);
  EXPECT_ERROR(model.import(), kModel, "element type 99");
  w.set_data_type(0);
  EXPECT_ERROR(model.import(), kModel, "element type 0");
}

TEST(OnnxConstants, WeightsAreNotCopied) {
  TensorProto raw;
  raw.set_data_type(TensorProto::FLOAT);
  raw.add_dims(100);
  raw.set_raw_data(std::string(400, '\0'));
  TensorProto typed;
  set_floats(typed, {100}, std::vector<float>(100, 0.5f));
  const void* const addresses[] = {raw.raw_data().data(), typed.float_data().data()};
  TensorReader reader{std::filesystem::path()};
  EXPECT_EQ(reader.read(raw).raw(), addresses[0]);
  EXPECT_EQ(reader.read(typed).raw(), addresses[1]);
  EXPECT_EQ(reader.read(typed).raw(), addresses[1]) << "read again";
}

// ---- External data -----------------------------------------------------------------------------

class OnnxExternal : public ::testing::Test {
 protected:
  OnnxExternal() {
    std::filesystem::create_directory(folder_ / "model");
    std::filesystem::create_directory(folder_ / "model/weights");
    const float values[] = {1, 2, 3, 4};
    for (const char* name : {"outside.bin", "model/w.bin", "model/weights/w.bin"}) {
      write_file_atomic(folder_ / name,
                        std::string_view(reinterpret_cast<const char*>(values), sizeof(values)));
    }
  }

  Graph import(const std::string& location, const std::string& offset = "",
               const std::string& length = "") const {
    OnnxModel model;
    model.input("x", {2}).output("y");
    model.node("Add", {"x", "w"}, {"y"}, "add");
    TensorProto& w = model.floats("w", {2}, {});
    w.set_data_location(TensorProto::EXTERNAL);
    for (const auto& [key, text] :
         {std::pair{"location", location}, {"offset", offset}, {"length", length}}) {
      if (text.empty()) continue;
      w.add_external_data()->set_key(key);
      w.mutable_external_data()->rbegin()->set_value(text);
    }
    return model.import(folder_ / "model");
  }

  TemporaryFolder folder_;
};

TEST_F(OnnxExternal, IsReadAtItsOffset) {
  EXPECT_THAT(value(import("w.bin"), "w").constant.to_doubles(), ElementsAre(1, 2));
  EXPECT_THAT(value(import("weights/w.bin", "8", "8"), "w").constant.to_doubles(),
              ElementsAre(3, 4));
  EXPECT_THAT(value(import("./w.bin", "4"), "w").constant.to_doubles(), ElementsAre(2, 3));
  EXPECT_NO_THROW(import("w.bin", "1", "8")) << "not aligned, hence copied";
}

TEST_F(OnnxExternal, IsReadBesideTheFile) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  model.node("Add", {"x", "w"}, {"y"}, "add");
  TensorProto& w = model.floats("w", {4}, {});
  w.set_data_location(TensorProto::EXTERNAL);
  w.add_external_data()->set_key("location");
  w.mutable_external_data(0)->set_value("w.bin");
  write_file_atomic(folder_ / "model/net.onnx", model.bytes());
  const Graph graph = import_onnx(folder_ / "model/net.onnx", nullptr, toy_registry());
  EXPECT_THAT(value(graph, "w").constant.to_doubles(), ElementsAre(1, 2, 3, 4));
}

TEST_F(OnnxExternal, MustStayInItsFolder) {
  EXPECT_ERROR(import("../outside.bin"), kModel, "leaves the folder");
  EXPECT_ERROR(import("weights/../../outside.bin"), kModel, "leaves the folder");
  EXPECT_ERROR(import((folder_ / "outside.bin").string()), kModel, "absolute");
  EXPECT_ERROR(import(""), kModel, "no valid name");
  std::filesystem::create_symlink(folder_ / "outside.bin", folder_ / "model/link");
  EXPECT_ERROR(import("link"), kModel, "link that leaves");
  std::filesystem::create_symlink(folder_.path(), folder_ / "model/up");
  EXPECT_ERROR(import("up/outside.bin"), kModel, "link that leaves");
  std::filesystem::create_symlink("weights/w.bin", folder_ / "model/inner");
  EXPECT_NO_THROW(import("inner"));
}

TEST_F(OnnxExternal, MustBeThereAndLongEnough) {
  EXPECT_ERROR(import("missing.bin"), kModel, "cannot be read");
  EXPECT_ERROR(import("weights"), kModel, "not a regular file");
  EXPECT_ERROR(import("w.bin", "12"), kModel, "has 16 bytes");
  EXPECT_ERROR(import("w.bin", "18446744073709551615"), kModel, "has 16 bytes");
  EXPECT_ERROR(import("w.bin", "99999999999999999999"), kModel, "no number");
  EXPECT_ERROR(import("w.bin", "-4"), kModel, "no number");
  EXPECT_ERROR(import("w.bin", "0", "4"), kModel, "needs 8 bytes");
  EXPECT_ERROR(import("w.bin", "0", "x"), kModel, "no number");
}

// ---- Functions ---------------------------------------------------------------------------------

schema::FunctionProto& add_function(OnnxModel& model, const std::string& name,
                                    const std::vector<std::string>& inputs,
                                    const std::vector<std::string>& outputs) {
  schema::FunctionProto& function = *model.proto().add_functions();
  function.set_name(name);
  function.set_domain("local");
  function.add_opset_import()->set_version(13);
  for (const std::string& input : inputs) function.add_input(input);
  for (const std::string& output : outputs) function.add_output(output);
  return function;
}

TEST(OnnxFunctions, AreInlinedEachTimeUnderTheirOwnNames) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  auto& function = add_function(model, "Block", {"in"}, {"out"});
  set_node(*function.add_node(), "Relu", {"in"}, {"t"});
  auto& constant = *function.add_node();
  set_node(constant, "Constant", {}, {"c"});
  set_floats(*add_attribute(constant, "value", AttributeProto::TENSOR).mutable_t(), {1}, {3});
  set_node(*function.add_node(), "Add", {"t", "c"}, {"out"});
  model.node("Block", {"x"}, {"a"}, "block1").set_domain("local");
  model.node("Block", {"a"}, {"y"}, "block2").set_domain("local");
  const Graph graph = model.import();
  EXPECT_EQ(operations(graph), "Relu Add Relu Add");
  EXPECT_EQ(value(graph, "block1/c").constant.to_doubles(),
            value(graph, "block2/c").constant.to_doubles());
  EXPECT_EQ(graph.find("block1"), graph.require("a"));
  EXPECT_EQ(graph.value(graph.outputs()[0]).name, "y");
}

TEST(OnnxFunctions, HandDownAttributesAndDefaults) {
  OnnxModel model;
  model.input("x", {2}).output("y").output("z");
  auto& function = add_function(model, "Capped", {"in"}, {"out"});
  function.add_attribute("cap");
  auto& fallback = *function.add_attribute_proto();
  fallback.set_name("cap");
  fallback.set_type(AttributeProto::FLOAT);
  fallback.set_f(1);
  auto& constant = *function.add_node();
  set_node(constant, "Constant", {}, {"limit"});
  add_attribute(constant, "value_float", AttributeProto::FLOAT).set_ref_attr_name("cap");
  set_node(*function.add_node(), "Clip", {"in", "", "limit"}, {"out"});
  auto& call = model.node("Capped", {"x"}, {"y"}, "six");
  call.set_domain("local");
  add_attribute(call, "cap", AttributeProto::FLOAT).set_f(6);
  model.node("Capped", {"x"}, {"z"}, "one").set_domain("local");
  const Graph graph = model.import();
  EXPECT_THAT(value(graph, "six/limit").constant.to_doubles(), ElementsAre(6));
  EXPECT_THAT(value(graph, "one/limit").constant.to_doubles(), ElementsAre(1));
}

TEST(OnnxFunctions, OptionalInputsOverloadsAndOwnOpsets) {
  OnnxModel model(13);
  model.input("x", {2}).output("y");
  auto& function = add_function(model, "F", {"in", "low"}, {"out"});
  function.mutable_opset_import(0)->set_version(6);
  set_node(*function.add_node(), "Halve", {"in"}, {"out"});  // exists until opset 6
  auto& other = add_function(model, "F", {"in", "low"}, {"out"});
  other.set_overload("clip");
  set_node(*other.add_node(), "Clip", {"in", "low"}, {"out"});
  model.node("F", {"x"}, {"a"}).set_domain("local");
  auto& call = model.node("F", {"a"}, {"y"});
  call.set_domain("local");
  call.set_overload("clip");
  const Graph graph = model.import();
  EXPECT_EQ(operations(graph), "Halve Clip");
  EXPECT_EQ(graph.node(1).inputs.size(), 1u);
}

TEST(OnnxFunctions, CannotCallThemselvesOrGrowWithoutBound) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  auto& function = add_function(model, "F0", {"in"}, {"out"});
  auto& inner = *function.add_node();
  set_node(inner, "F0", {"in"}, {"out"});
  inner.set_domain("local");
  model.node("F0", {"x"}, {"y"}, "call").set_domain("local");
  EXPECT_ERROR(model.import(), kModel, "calls itself");

  // Each of 40 functions calls the next one twice: 2^40 nodes from a few hundred bytes.
  model.proto().clear_functions();
  for (int i = 0; i < 40; ++i) {
    auto& level = add_function(model, "F" + std::to_string(i), {"in"}, {"out"});
    const std::string next = i < 39 ? "F" + std::to_string(i + 1) : "Relu";
    for (const auto& [from, to] : {std::pair{"in", "t"}, {"t", "out"}}) {
      auto& call = *level.add_node();
      set_node(call, next, {from}, {to});
      if (i < 39) call.set_domain("local");
    }
  }
  EXPECT_ERROR(model.import(), kModel, "too large");
}

// ---- If ----------------------------------------------------------------------------------------

/// y = If(condition) {Relu(x)} else {Add(x, k)}, with k an initializer of the branch.
schema::NodeProto& add_if(OnnxModel& model, const std::string& condition) {
  auto& node = model.node("If", {condition}, {"y"}, "choice");
  auto& yes = *add_attribute(node, "then_branch", AttributeProto::GRAPH).mutable_g();
  set_node(*yes.add_node(), "Relu", {"x"}, {"t"}, "yes");
  yes.add_output()->set_name("t");
  auto& no = *add_attribute(node, "else_branch", AttributeProto::GRAPH).mutable_g();
  auto& k = *no.add_initializer();
  k.set_name("k");
  set_floats(k, {1}, {4});
  set_node(*no.add_node(), "Add", {"x", "k"}, {"t"}, "no");
  no.add_output()->set_name("t");
  return node;
}

TEST(OnnxIf, ConstantConditionsTakeTheirBranch) {
  for (const bool condition : {true, false}) {
    OnnxModel model;
    model.input("x", {2}).output("z");
    TensorProto& c = model.floats("c", {}, {});
    c.set_data_type(TensorProto::BOOL);
    c.add_int32_data(condition ? 1 : 0);
    add_if(model, "c");
    model.node("Relu", {"y"}, {"z"});
    const Graph graph = model.import();
    EXPECT_EQ(operations(graph), condition ? "Relu Relu" : "Add Relu");
    EXPECT_EQ(graph.node(0).outputs[0], graph.require("y"));
    EXPECT_EQ(graph.find(condition ? "yes" : "no"), graph.require("y"));
  }
}

/// Equal(Gather(Shape(Relu(x)), axis), 1), as exporters write a squeeze of an unknown extent.
OnnxModel squeeze_like(const std::vector<int64_t>& dims, int64_t axis) {
  OnnxModel model;
  model.input("x", dims).output("y");
  model.ints("axis", {}, {axis});
  model.ints("one", {}, {1});
  model.node("Relu", {"x"}, {"r"});
  model.node("Shape", {"r"}, {"s"});
  model.node("Gather", {"s", "axis"}, {"extent"});
  model.node("Equal", {"extent", "one"}, {"c"});
  add_if(model, "c");
  return model;
}

TEST(OnnxIf, ConditionsThatFollowFromKnownExtentsAreDecided) {
  EXPECT_EQ(operations(squeeze_like({2, 1}, 1).import()), "Relu");
  EXPECT_EQ(operations(squeeze_like({2, 3}, 1).import()), "Add");
  EXPECT_EQ(operations(squeeze_like({0, 1, 0, 0}, 1).import()), "Relu") << "others may be free";
  EXPECT_EQ(operations(squeeze_like({0, 3, 0, 0}, 1).import()), "Add");
}

TEST(OnnxIf, ConditionsOnFreeExtentsOrDataAreUnsupported) {
  EXPECT_ERROR(squeeze_like({0, 3}, 0).import(), kUnsupported, "free extent");
  EXPECT_ERROR(squeeze_like({2, 0}, 1).import(), kUnsupported, "nearest supported form");
  OnnxModel model;
  model.input("x", {1}).output("y");
  model.node("Equal", {"x", "x"}, {"c"});
  add_if(model, "c");
  EXPECT_ERROR(model.import(), kUnsupported, "input data");
}

TEST(OnnxIf, BranchesOfUndecidedConditionsAreListed) {
  OnnxModel model = squeeze_like({0, 3}, 0);
  auto& choice = *model.graph().mutable_node()->rbegin();
  set_node(*choice.mutable_attribute(0)->mutable_g()->add_node(), "Mystery", {"x"}, {"m"}, "deep");
  EXPECT_ERROR(model.import(), kUnsupported, "Mystery (node 'deep', opset 13)");
  EXPECT_ERROR(model.import(), kUnsupported, "If (node 'choice', opset 13)");
}

TEST(OnnxIf, MalformedOnesAreRefused) {
  OnnxModel model = squeeze_like({2, 1}, 1);
  auto& choice = *model.graph().mutable_node()->rbegin();
  choice.mutable_attribute(1)->clear_g();
  EXPECT_ERROR(model.import(), kModel, "lacks a branch");
  OnnxModel shapeless = squeeze_like({2, 1}, 1);
  shapeless.graph().mutable_node()->rbegin()->set_input(0, "s");
  EXPECT_ERROR(shapeless.import(), kModel, "elements instead of one");
}

// ---- Unsupported -------------------------------------------------------------------------------

TEST(OnnxUnsupported, EverythingIsListedAtOnce) {
  OnnxModel model(13);
  model.input("x", {2}).output("y");
  model.node("Foo", {"x"}, {"a"}, "foo1");
  model.node("Foo", {"a"}, {"b"}, "foo2");
  model.node("Clip", {"b", "x"}, {"c"}, "clip");
  model.node("Halve", {"c"}, {"d"}, "halve");
  model.node("Relu", {"d"}, {"e"}, "fine");
  model.node("QLinearConv", {"e"}, {"f"});
  model.node("Relu", {"f"}, {"y"}, "custom").set_domain("com.example");
  try {
    model.import();
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(text, HasSubstr("model: 5 operators are not supported: "));
    EXPECT_THAT(text, HasSubstr("Foo (nodes 'foo1', 'foo2', opset 13): not implemented, nearest "
                                "supported form: "));
    EXPECT_THAT(text, HasSubstr("; Clip (node 'clip', opset 13): limits are computed, nearest "
                                "supported form: constant limits"));
    EXPECT_THAT(text, HasSubstr("; Halve (node 'halve', opset 13): not implemented for this "
                                "operator set, nearest supported form: Halve of opset 1 to 6"));
    EXPECT_THAT(text, HasSubstr("; QLinearConv (node 'f', opset 13)"));
    EXPECT_THAT(text, HasSubstr("; com.example.Relu (node 'custom'): not implemented, nearest "
                                "supported form: Relu of domain ai.onnx"));
    EXPECT_THAT(text, ::testing::Not(HasSubstr("fine")));
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
}

TEST(OnnxUnsupported, OpsetsNewerThanKnownAreRefused) {
  OnnxModel model = relu_model();
  model.proto().mutable_opset_import(0)->set_version(24);
  EXPECT_NO_THROW(model.import());
  model.proto().mutable_opset_import(0)->set_version(25);
  EXPECT_ERROR(model.import(), kUnsupported, "Relu of opset 1 to 24");
}

TEST(OnnxUnsupported, LongListsAreCutShort) {
  OnnxModel model;
  model.input("x", {2}).output("y");
  for (int i = 0; i < 1000; ++i) {
    model.node("Foo", {"x"}, {"f" + std::to_string(i)}, "foo" + std::to_string(i));
    model.output("f" + std::to_string(i));
  }
  model.node("Relu", {"x"}, {"y"});
  EXPECT_ERROR(model.import(), kUnsupported, "and 968 more");
}

TEST(OnnxUnsupported, InputsThatAreNoTensorsOrHaveNoRank) {
  OnnxModel model = relu_model();
  model.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  EXPECT_ERROR(model.import(), kUnsupported, "has no shape");
  model.graph().mutable_input(0)->mutable_type()->mutable_sequence_type();
  EXPECT_ERROR(model.import(), kUnsupported, "is no tensor");
}

// ---- The zoo -----------------------------------------------------------------------------------

/// All models of the zoo with their manifests.
std::vector<std::pair<std::filesystem::path, nlohmann::json>> zoo_models(
    const std::filesystem::path& shared) {
  std::vector<std::pair<std::filesystem::path, nlohmann::json>> models;
  for (const auto& entry : std::filesystem::directory_iterator(shared / "zoo")) {
    if (!std::filesystem::exists(entry.path() / "model.onnx")) continue;
    std::ifstream manifest(entry.path() / "manifest.json");
    models.emplace_back(entry.path() / "model.onnx", nlohmann::json::parse(manifest));
  }
  return models;
}

TEST(OnnxZoo, AllModelsImportAndBind) {
  REQUIRE_SHARED(shared);
  const auto models = zoo_models(shared);
  EXPECT_EQ(models.size(), 19u);
  for (const auto& [file, manifest] : models) {
    OnnxInfo info;
    const Graph graph = import_onnx(file, &info);
    EXPECT_EQ(info.opsets.at(""), manifest["onnx"]["opset"]["ai.onnx"]) << file;
    std::map<std::string, int64_t> operators;  // the manifests leave domains out
    for (const auto& [name, count] : info.operators) {
      operators[name.substr(name.rfind('.') + 1)] += count;
    }
    const auto expected = manifest["onnx"]["operators"].get<std::map<std::string, int64_t>>();
    EXPECT_EQ(operators, expected) << file;
    const std::string input = manifest["input"]["name"];
    const Shape shape(manifest["input"]["example_shape"].get<std::vector<int64_t>>());
    const Graph bound = bind_shapes(graph, {{input, shape}});
    EXPECT_EQ(bound.inputs().size(), 1u) << file;
    for (size_t i = 0; i < manifest["outputs"].size(); ++i) {
      const auto& output = manifest["outputs"][i];
      const Value& found = bound.value(bound.outputs()[i]);
      EXPECT_EQ(found.name, output["name"].get<std::string>()) << file;
      for (size_t axis = 0; axis < output["shape"].size(); ++axis) {
        if (!output["shape"][axis].is_number()) continue;
        EXPECT_EQ(found.desc.shape[static_cast<int>(axis)], output["shape"][axis]) << file;
      }
    }
    for (const Node& node : bound.nodes()) {
      EXPECT_NE(node.operation, "Shape") << file << ": shape arithmetic should be gone";
    }
  }
}

/// Names that the importer derives against those written down from the original modules. The file
/// was simplified after the export: a module folded away has no nodes, its alias is then missing.
TEST(OnnxZoo, AliasesAgreeWithTheModulesTheyCameFrom) {
  REQUIRE_SHARED(shared);
  int agreed = 0;
  for (const auto& [file, manifest] : zoo_models(shared)) {
    const Graph graph = import_onnx(file);
    const nlohmann::json taps = manifest.value("taps", nlohmann::json::object());
    for (const auto& [module, value] : taps.items()) {
      const ValueId found = graph.find(module);
      if (found == kNone) continue;
      ++agreed;
      EXPECT_EQ(graph.value(found).name, value.get<std::string>()) << file << " " << module;
    }
  }
  EXPECT_GT(agreed, 1000);
}

}  // namespace
}  // namespace camlucida::test
