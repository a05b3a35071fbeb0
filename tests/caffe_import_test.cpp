// Caffe networks: the rules of phases, names and preprocessing, every error, damaged files, and the
// zoo.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/fs.h"
#include "engine/import/caffe_layers.h"
#include "engine/passes/passes.h"
#include "explain/model.h"
#include "tests/caffe_net.h"
#include "tests/golden.h"
#include "tests/shared.h"

namespace camlucida::test {
namespace {

using ::testing::ElementsAre;

/// conv1, bn1 + scale1 + relu1 in place, pooled and classified.
Net classifier() {
  Net net;
  net.input("data", {10, 2, 4, 4}).add(R"(
    layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
            param { lr_mult: 1 decay_mult: 1 }
            convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "msra" } } }
    layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
    layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1"
            scale_param { bias_term: true } }
    layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
    layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
            pooling_param { pool: AVE global_pooling: true } }
    layer { name: "drop1" type: "Dropout" bottom: "pool1" top: "pool1" }
    layer { name: "fc" type: "InnerProduct" bottom: "pool1" top: "fc"
            inner_product_param { num_output: 3 } }
    layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
  )");
  net.blob("conv1", {2, 2, 1, 1}, {1, 2, 3, -4}).blob("conv1", {2}, {0.5f, -0.5f});
  net.blob("bn1", {2}, {1, 2}).blob("bn1", {2}, {2, 8}).blob("bn1", {1}, {2});
  net.blob("scale1", {2}, {2, 3}).blob("scale1", {2}, {-1, 1});
  net.blob("fc", {3, 2}, {1, 0, 0, 1, 1, 1}).blob("fc", {3}, {0, 1, 2});
  return net;
}

TEST(CaffeImport, InPlaceLayersBecomeValuesOfTheirOwn) {
  const Graph graph = import_net(classifier()).graph;
  const auto producer = [&](const std::string& name) {
    return graph.node(graph.value(graph.require(name)).producer).name;
  };
  EXPECT_EQ(producer("conv1"), "relu1");
  EXPECT_EQ(producer("relu1"), "relu1");
  EXPECT_EQ(producer("scale1"), "scale1");
  EXPECT_EQ(producer("bn1"), "bn1");
  EXPECT_EQ(producer("conv1@conv1"), "conv1");
  EXPECT_EQ(producer("pool1"), "drop1");
  EXPECT_EQ(producer("pool1@pool1"), "pool1");
  EXPECT_EQ(graph.value(graph.outputs()[0]).name, "prob");
  // Every picture [c0, c1] = [1, 1]: conv 3.5, -1.5; norm (x - mean) / sqrt(var + 1e-5) with means
  // 0.5, 1 and variances 1, 4; scale, ReLU, mean.
  const Tensor scores = run(extract(bind_shapes(graph, {{"data", {1, 2, 4, 4}}}),
                                    {graph.require("data")}, {graph.require("fc")}),
                            {1, 2, 4, 4}, std::vector<float>(32, 1));
  const double first = 2 * 3.0 / std::sqrt(1 + 1e-5) - 1;
  const double second = std::max(0.0, 3 * -2.5 / std::sqrt(4 + 1e-5) + 1);
  EXPECT_NEAR(scores.floats()[0], first, 1e-5);
  EXPECT_NEAR(scores.floats()[1], second + 1, 1e-5);
  EXPECT_NEAR(scores.floats()[2], first + second + 2, 1e-5);
}

// ---- The network around the layers
// ---------------------------------------------------------------

const char* const kTrainTest = R"(
  name: "net"
  layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
          transform_param { mirror: true crop_size: 6 } data_param { source: "a" backend: LMDB } }
  layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
          transform_param { scale: 0.5 crop_size: 4 mean_value: 1 mean_value: 2 } }
  layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
          convolution_param { num_output: 4 kernel_size: 1 group: 2 bias_term: false } }
  layer { name: "noise" type: "Unheard" bottom: "conv" top: "conv" include { phase: TRAIN } }
  layer { name: "debug" type: "Unheard" bottom: "conv" top: "conv" include { stage: "debug" } }
  layer { name: "deep" type: "Unheard" bottom: "conv" top: "conv" include { min_level: 1 } }
  layer { name: "test" type: "Unheard" bottom: "conv" top: "conv" exclude { phase: TEST } }
  layer { name: "half" type: "Power" bottom: "conv" top: "conv" power_param { scale: 0.5 }
          include { phase: TRAIN } include { phase: TEST not_stage: "debug" } }
  layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
          pooling_param { pool: AVE global_pooling: true } }
  layer { name: "label2" type: "Power" bottom: "label" top: "label2" }
  layer { name: "loss" type: "SoftmaxWithLoss" bottom: "pool" bottom: "label2" top: "loss" }
  layer { name: "accuracy" type: "Accuracy" bottom: "pool" bottom: "label" top: "accuracy" }
)";

Net train_test() {
  Net net;
  net.text = kTrainTest;
  net.blob("conv", {4, 1, 1, 1}, {1, 2, 3, 4});
  return net;
}

TEST(CaffeImport, TrainTestNetworksRunInPhaseTest) {
  const CaffeModel model = import_net(train_test());
  ASSERT_EQ(model.graph.inputs().size(), 1u);
  const Value& input = model.graph.value(model.graph.inputs()[0]);
  EXPECT_EQ(input.name, "data");
  EXPECT_EQ(input.desc.shape, (Shape{Shape::kUnknown, 2, 4, 4}));
  ASSERT_EQ(model.graph.outputs().size(), 1u);
  EXPECT_EQ(model.graph.value(model.graph.outputs()[0]).name, "pool");
  std::vector<float> picture(16, 1);
  picture.resize(32, 10);
  EXPECT_THAT(floats(run(model.graph, {1, 2, 4, 4}, picture)), ElementsAre(0.5, 1, 15, 20));
  EXPECT_TRUE(model.transform.stated);
  EXPECT_EQ(model.transform.scale, 0.5);
  EXPECT_THAT(model.transform.mean, ElementsAre(1, 2));
  EXPECT_EQ(model.transform.crop, 4);
}

TEST(CaffeImport, StagesOfTheStateCount) {
  Net net = train_test();
  net.add("state { stage: 'debug' }");
  EXPECT_ERROR(import_net(net), kUnsupported,
               "net: 1 operator is not supported: Unheard (node 'debug'): not implemented");
}

TEST(CaffeImport, OutputsComeLastFirstWithoutLosses) {
  Net net;
  net.input("x", {1, 2}).add(R"(
    layer { name: "a" type: "ReLU" bottom: "x" top: "a" }
    layer { name: "early" type: "Sigmoid" bottom: "a" top: "early" }
    layer { name: "quiet" type: "TanH" bottom: "a" top: "quiet" }
    layer { name: "s" type: "Silence" bottom: "quiet" }
    layer { name: "late" type: "AbsVal" bottom: "a" top: "late" }
    layer { name: "loss" type: "EuclideanLoss" bottom: "late" bottom: "early" top: "loss" })");
  const Graph graph = import_net(net).graph;
  ASSERT_EQ(graph.outputs().size(), 2u);
  EXPECT_EQ(graph.value(graph.outputs()[0]).name, "late");
  EXPECT_EQ(graph.value(graph.outputs()[1]).name, "early");
}

TEST(CaffeImport, OldFormsOfInputsAndLayers) {
  Net net;
  net.text = R"(
    input: "data" input_dim: 10 input_dim: 1 input_dim: 1 input_dim: 2
    layers { name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" blobs_lr: 1
             inner_product_param { num_output: 1 } }
    layers { name: "relu" type: RELU bottom: "ip" top: "ip" }
    layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "ip" top: "loss" })";
  caffe::TrainedLayerV1& layer = *net.trained.add_layers();
  layer.set_name("ip");
  caffe::Blob& weight = *layer.add_blobs();
  weight.set_num(1), weight.set_channels(1), weight.set_height(1), weight.set_width(2);
  weight.add_data(2), weight.add_data(3);
  caffe::Blob& bias = *layer.add_blobs();
  bias.mutable_shape()->add_dim(1);
  bias.add_double_data(-1);
  const Graph graph = import_net(net).graph;
  EXPECT_THAT(floats(run(graph, {1, 1, 1, 2}, {10, 1})), ElementsAre(22));
  EXPECT_EQ(graph.find("relu"), graph.find("ip"));
  EXPECT_EQ(graph.value(graph.inputs()[0]).desc.shape, (Shape{Shape::kUnknown, 1, 1, 2}));

  Net shaped;
  shaped.text = "input: 'x' input_shape { dim: 3 dim: 2 }";
  shaped.add("layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'x' }");
  const Graph in_place = import_net(shaped).graph;
  EXPECT_EQ(in_place.value(in_place.inputs()[0]).name, "x@input");
  EXPECT_EQ(in_place.value(in_place.outputs()[0]).name, "x");

  EXPECT_ERROR(import_text("layers { layer { name: 'c' type: 'conv' } bottom: 'd' top: 'c' }", ""),
               kUnsupported, "upgrade_net_proto_text");
}

TEST(CaffeImport, TypesOfTheOldFormHaveTheirNamesOfToday) {
  EXPECT_EQ(caffe_type_of(caffe::LayerV1::INNER_PRODUCT), "InnerProduct");
  EXPECT_EQ(caffe_type_of(caffe::LayerV1::SOFTMAX_LOSS), "SoftmaxWithLoss");
  EXPECT_EQ(caffe_type_of(caffe::LayerV1::RELU), "ReLU");
  EXPECT_EQ(caffe_type_of(caffe::LayerV1::HDF5_DATA), "HDF5Data");
  EXPECT_EQ(caffe_type_of(caffe::LayerV1::SIGMOID_CROSS_ENTROPY_LOSS), "SigmoidCrossEntropyLoss");
}

// ---- Preprocessing
// -------------------------------------------------------------------------------

TEST(CaffeImport, PreprocessingFollowsTheTransform) {
  CaffeTransform transform{.stated = true, .scale = 0.25, .mean = {1, 2, 3}, .crop = 227};
  const Preprocessing cropped = caffe_preprocessing(transform, {1, 3, 227, 227});
  EXPECT_EQ(cropped.channel_order, ChannelOrder::kBgr);
  EXPECT_EQ(cropped.resize, ResizeOp::kExact);
  EXPECT_EQ(cropped.resize_height, 256);
  EXPECT_EQ(cropped.resize_width, 256);
  EXPECT_EQ(cropped.crop_height, 227);
  EXPECT_THAT(cropped.mean, ElementsAre(1, 2, 3));
  EXPECT_EQ(cropped.normalise(0, 9), (9 - 1) * 0.25f);

  transform.resize_height = 40, transform.resize_width = 50;
  const Preprocessing resized = caffe_preprocessing(transform, {1, 3, 32, 32});
  EXPECT_EQ(resized.resize_height, 40);
  EXPECT_EQ(resized.resize_width, 50);

  const Preprocessing customs = caffe_preprocessing({}, {1, 3, 32, 48});
  EXPECT_THAT(customs.mean, ElementsAre(104, 117, 123));
  EXPECT_EQ(customs.resize_height, 32);
  EXPECT_EQ(customs.resize_width, 48);
  EXPECT_EQ(caffe_preprocessing({}, {1, 1, 28, 28}).channel_order, ChannelOrder::kGray);
  EXPECT_THAT(caffe_preprocessing({.stated = true}, {1, 3, 32, 32}).mean, ElementsAre(0));
  EXPECT_ERROR(caffe_preprocessing({.stated = true, .scale = 0}, {1, 3, 32, 32}), kModel, "scale");
}

const char* const kMeanNet =
    "layer { name: 'd' type: 'Data' top: 'd' transform_param { mean_file: 'far/away/m.binaryproto' "
    "} } layer { name: 'r' type: 'ReLU' bottom: 'd' top: 'r' }";

TEST(CaffeImport, MeanFilesAreReadBesideTheNetwork) {
  const TemporaryFolder folder;
  CaffeModel model = import_text(kMeanNet, "", folder.path());
  EXPECT_EQ(model.transform.mean_file, "far/away/m.binaryproto");
  EXPECT_THAT(caffe_preprocessing(model.transform, {1, 3, 8, 8}).mean, ElementsAre(104, 117, 123));

  caffe::Blob mean;
  mean.set_num(1), mean.set_channels(2), mean.set_height(1), mean.set_width(2);
  for (const float value : {1, 3, 10, 20}) mean.add_data(value);
  write_file_atomic(folder / "m.binaryproto", mean.SerializeAsString());
  model = import_text(kMeanNet, "", folder.path());
  EXPECT_EQ(model.transform.mean_file, "");
  EXPECT_THAT(model.transform.mean, ElementsAre(2, 15));
  EXPECT_EQ(model.graph.value(model.graph.inputs()[0]).desc.shape,
            (Shape{Shape::kUnknown, 2, 1, 2}));

  mean.add_data(5);
  write_file_atomic(folder / "m.binaryproto", mean.SerializeAsString());
  EXPECT_ERROR(import_text(kMeanNet, "", folder.path()), kModel, "m.binaryproto");
  write_file_atomic(folder / "m.binaryproto", std::string_view("\xff\xff"));
  EXPECT_ERROR(import_text(kMeanNet, "", folder.path()), kModel, "not a mean picture");
}

// ---- Files
// ---------------------------------------------------------------------------------------

class CaffeFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    const Net net = classifier();
    write_file_atomic(folder_ / "deploy.prototxt", net.text);
    write_file_atomic(folder_ / "w.caffemodel", net.weights());
  }
  TemporaryFolder folder_;
};

TEST_F(CaffeFiles, WeightsAreFoundBeside) {
  const auto network = folder_ / "deploy.prototxt";
  const Model model = Model::load(network);
  EXPECT_EQ(model.weights(), folder_ / "w.caffemodel");
  EXPECT_EQ(model.preprocessing_source(), "Caffe");
  EXPECT_EQ(model.score_name(), "fc");
  EXPECT_EQ(model.digest(), sha256_files({network, folder_ / "w.caffemodel"}));
  EXPECT_EQ(model.digest(), sha256(std::vector<uint8_t>([&] {
              std::vector<uint8_t> both = read_file(network, 1 << 20);
              const std::vector<uint8_t> more = read_file(model.weights(), 1 << 20);
              both.insert(both.end(), more.begin(), more.end());
              return both;
            }())));

  write_file_atomic(folder_ / "v.caffemodel", std::string_view(""));
  EXPECT_ERROR(Model::load(network), kModel, "'v.caffemodel' and 'w.caffemodel'");
  EXPECT_EQ(Model::load(network, {.weights = folder_ / "w.caffemodel"}).digest(), model.digest());
  write_file_atomic(folder_ / "deploy.caffemodel", classifier().weights());
  EXPECT_EQ(Model::load(network).weights(), folder_ / "deploy.caffemodel");
}

TEST_F(CaffeFiles, WrongFilesAreExplained) {
  const auto network = folder_ / "deploy.prototxt";
  const auto weights = folder_ / "w.caffemodel";
  EXPECT_ERROR(Model::load(weights), kUsage, "give the network's .prototxt as model");
  EXPECT_ERROR(Model::load(folder_ / "m.onnx", {.weights = weights}), kUsage, "--weights belongs");
  EXPECT_ERROR(Model::load(network, {.weights = folder_ / "no.caffemodel"}), kModel,
               "no.caffemodel: cannot be read: no such file");
  EXPECT_ERROR(Model::load(network, {.weights = network}), kModel,
               "no Caffe weights, or truncated");
  EXPECT_ERROR(Model::load(folder_ / "no.prototxt"), kModel, "no.prototxt");
  write_file_atomic(folder_ / "bad.prototxt", classifier().weights());
  EXPECT_ERROR(Model::load(folder_ / "bad.prototxt", {.weights = weights}), kModel,
               "bad.prototxt: not a Caffe network");
  write_file_atomic(
      folder_ / "lfs.prototxt",
      std::string_view("version https://git-lfs.github.com/spec/v1\noid sha256:4d\n"));
  EXPECT_ERROR(Model::load(folder_ / "lfs.prototxt", {.weights = weights}), kModel, "git lfs pull");
  std::filesystem::remove(weights);
  EXPECT_ERROR(Model::load(network), kModel, "no .caffemodel beside it");
}

// ---- Errors
// --------------------------------------------------------------------------------------

/// A network of one layer over "x" [1, 2, 4, 4].
Net one(const std::string& layer) {
  Net net;
  net.input("x", {1, 2, 4, 4}).add("layer { name: 'l' bottom: 'x' top: 'y' " + layer + " }");
  return net;
}

TEST(CaffeImport, TheMaskOfMaximaMayStandUnused) {
  const std::string pooling = "type: 'Pooling' top: 'mask' pooling_param { kernel_size: 2 }";
  EXPECT_EQ(import_net(one(pooling)).graph.outputs().size(), 1u);
  EXPECT_ERROR(
      import_net(one(pooling + " } layer { name: 'm' type: 'ReLU' bottom: 'mask' top: 'z'")),
      kUnsupported, "its mask of maxima is used");
}

TEST(CaffeImport, AllUnsupportedLayersAreListedAtOnce) {
  Net net;
  net.input("x", {1, 2, 4, 4}).add(R"(
    layer { name: "a" type: "SPP" bottom: "x" top: "a" }
    layer { name: "b" type: "Pooling" bottom: "a" top: "b"
            pooling_param { pool: STOCHASTIC kernel_size: 2 } }
    layer { name: "c" type: "SPP" bottom: "b" top: "c" spp_param { pyramid_height: 2 } })");
  EXPECT_ERROR(import_net(net), kUnsupported,
               "net: 2 operators are not supported: SPP (nodes 'a', 'c'): not implemented, nearest "
               "supported form: the layers that docs/models.md lists; Pooling (node 'b'): "
               "stochastic pooling, nearest supported form: pool: MAX or AVE");
}

TEST(CaffeImport, WeightsMustBelongToTheNetwork) {
  const std::string conv = "type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 }";
  EXPECT_ERROR(import_net(one(conv)), kModel, "net: the weights file has no blobs for layer 'l'");
  Net bare = one(conv);
  bare.blob("l", {2, 2, 1, 1}, {1, 2, 3, 4});
  EXPECT_ERROR(import_net(bare), kModel, "the weights file has no bias for it (node 'l'");
  Net other = one(conv);
  other.blob("l", {3, 2, 1, 1}, std::vector<float>(6, 1)).blob("l", {3}, {1, 2, 3});
  EXPECT_ERROR(import_net(other), kModel,
               "its weight has the shape [3, 2, 1, 1] in the weights file, the network asks for "
               "[2, ?, 1, 1]");
  Net short_of = one(conv);
  short_of.blob("l", {2, 2, 1, 1}, {1, 2, 3});
  EXPECT_ERROR(import_net(short_of), kModel, "a blob of shape [2, 2, 1, 1] holds 3 numbers");
  Net huge = one(conv);
  huge.blob("l", {int64_t{1} << 40, int64_t{1} << 40, 1, 1}, {1});
  EXPECT_ERROR(import_net(huge), kModel, "net");
  Net negative = one(conv);
  negative.blob("l", {-2, -2, 1, 1}, {1, 2, 3, 4});
  EXPECT_ERROR(import_net(negative), kModel, "a blob has the extents");
}

TEST(CaffeImport, MalformedNetworksAreExplained) {
  EXPECT_ERROR(import_text("", ""), kModel, "it holds no layers for phase TEST");
  EXPECT_ERROR(import_text("net: 'train.prototxt' base_lr: 0.1", ""), kModel, "not the solver");
  EXPECT_ERROR(import_text("layer { name: 'a'", ""), kModel, "not a Caffe network: line 1");
  EXPECT_ERROR(import_text("layer {\n bottom: 5 }", ""), kModel, "line 2, column 10");
  EXPECT_ERROR(import_text("layer { type: 'ReLU' bottom: 'x' top: 'y' }", ""), kModel,
               "blob 'x' is read but no layer of phase TEST before it makes it");
  EXPECT_ERROR(import_text("input: 'x' input_dim: 1", ""), kModel, "no layers");
  EXPECT_ERROR(import_text("input: 'x' input_dim: 1 layer { type: 'ReLU' }", ""), kModel,
               "1 input_dim for 1 inputs");
  EXPECT_ERROR(import_net(one("")), kModel, "the layer has no type (node 'l')");
  EXPECT_ERROR(import_net(one("type: 'ReLU' bottom: 'x'")), kModel, "2 bottoms");
  EXPECT_ERROR(
      import_net(one("type: 'ReLU' } layer { name: 'm' type: 'ReLU' bottom: 'x' top: 'y'")), kModel,
      "top 'y' is made by another layer, too");
  EXPECT_ERROR(import_net(one("type: 'Pooling'")), kModel, "kernel_size is missing");
  EXPECT_ERROR(import_net(one("type: 'Pooling' pooling_param { kernel_size: 2 pad: 2 }")), kModel,
               "pad 2 is not below kernel_size 2");
  EXPECT_ERROR(import_net(one("type: 'Pooling' pooling_param { pool: MEAN }")), kModel, "MEAN");
  EXPECT_ERROR(import_net(one("type: 'LRN' lrn_param { local_size: 4 }")), kModel, "not odd");
  EXPECT_ERROR(import_net(one("type: 'Slice' slice_param { slice_point: 1 }")), kModel,
               "1 slice points for 1 tops");
  EXPECT_ERROR(import_net(one("type: 'Log' log_param { base: -2 }")), kModel, "not positive");
  Net loss;
  loss.input("x", {1, 2}).add("layer { type: 'EuclideanLoss' bottom: 'x' bottom: 'x' top: 'l' }");
  EXPECT_ERROR(import_net(loss), kModel, "the network has no outputs in phase TEST");
}

TEST(CaffeImport, UnknownFieldsAndEvenDeepOnesAreNoMatter) {
  EXPECT_EQ(import_net(one("type: 'ReLU' strange_param { a: 1 b { c: 'x' d: [1, 2] } } odd: SOME"))
                .graph.outputs()
                .size(),
            1u);
  std::string deep = "layer { ";
  for (int i = 0; i < 100'000; ++i) deep += "a { ";
  EXPECT_ERROR(import_text(deep, ""), kModel, "nested over 32 deep");
}

// ---- Damage
// --------------------------------------------------------------------------------------

/// Imports and binds; anything but a graph or an Error of one line fails.
void survives(const std::string& text, const std::string& weights, const std::string& what) {
  try {
    bind_shapes(import_text(text, weights).graph, {});
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << what;
    EXPECT_NE(error.kind(), ErrorKind::kInternal) << what << ": " << error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
}

TEST(CaffeRobustness, TruncatedAndDamagedFilesNeverCrash) {
  const Net net = classifier();
  const std::string weights = net.weights();
  ::testing::internal::CaptureStderr();
  for (size_t length = 0; length < weights.size(); ++length) {
    survives(net.text, weights.substr(0, length), "weights cut at " + std::to_string(length));
  }
  for (size_t length = 0; length < net.text.size(); length += 7) {
    survives(net.text.substr(0, length), weights, "text cut at " + std::to_string(length));
  }
  for (uint32_t seed = 0; seed < 600; ++seed) {
    std::mt19937 random(seed);
    std::string bytes = weights;
    std::string text = net.text;
    std::string& damaged = seed % 2 == 0 ? bytes : text;
    for (uint32_t i = 0; i <= random() % 3; ++i) {
      char& byte = damaged[random() % damaged.size()];
      byte = static_cast<char>(byte ^ (1 << random() % 8));
    }
    survives(text, bytes, "seed " + std::to_string(seed));
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

// ---- The zoo
// -------------------------------------------------------------------------------------

TEST(CaffeZoo, ResNet20GivesTheGoldenLogits) {
  REQUIRE_SHARED(shared);
  const std::filesystem::path zoo = shared / "zoo" / "resnet20_caffe";
  const std::filesystem::path golden = shared / "golden" / "logits";
  const Model model = Model::load(zoo / "train_test.prototxt");
  const Model twin = Model::load(zoo / "model.onnx");
  EXPECT_EQ(model.input_shape(), twin.input_shape());
  EXPECT_EQ(model.default_layer().value, model.bound().require("ReLU19"));
  const nlohmann::json index = read_json(golden / "resnet20_caffe.json");
  const std::vector<double> all =
      read_npy(golden / index["files"][0]["file"].get<std::string>()).to_doubles();
  size_t compared = 0;
  for (size_t item = 0; item < index["items"].size(); ++item) {
    if (!index["items"][item].contains("input")) continue;
    const Tensor input = read_npy(golden / index["items"][item]["input"].get<std::string>());
    const std::vector<double> mine = model.predict(input).scores.to_doubles();
    const auto first = all.begin() + static_cast<long>(item * mine.size());
    const std::vector<double> expected(first, first + static_cast<long>(mine.size()));
    EXPECT_LE(relative_deviation(mine, expected), 1e-5);
    EXPECT_LE(relative_deviation(mine, twin.predict(input).scores.to_doubles()), 1e-5);
    ++compared;
  }
  EXPECT_GE(compared, 3u);
}

TEST(CaffeZoo, ResNet20IsExplainedLikeItsTwin) {
  REQUIRE_SHARED(shared);
  const std::filesystem::path zoo = shared / "zoo" / "resnet20_caffe";
  const Image picture =
      Image::load(shared / "zoo" / "images" / "cifar100jpeg" / "0_airplane_0000.jpg");
  const auto map = [&](const char* file, const char* layer) {
    return Model::load(zoo / file)
        .explain(picture, {.method = "gradcam", .layer = layer})
        .explanations[0]
        .raw.to_doubles();
  };
  EXPECT_LE(relative_deviation(map("train_test.prototxt", ""), map("model.onnx", "")), 1e-4);
  EXPECT_LE(relative_deviation(map("train_test.prototxt", "ReLU7"), map("model.onnx", "ReLU7")),
            1e-4);
}

}  // namespace
}  // namespace camlucida::test
