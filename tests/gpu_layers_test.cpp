/// Every GPU kernel on every example of its layers, in every precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <map>

#include "engine/registry.h"
#include "tests/gpu_harness.h"

namespace camlucida {
namespace {

struct Parameter {
  const LayerDef* layer;
  const Example* example;
};

void PrintTo(const Parameter& parameter, std::ostream* out) {
  *out << parameter.layer->name << " '" << parameter.example->name << "'";
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

class GpuLayers : public ::testing::TestWithParam<Parameter> {
 protected:
  void check(Precision precision) const {
    const test::LayerCase c(*GetParam().layer, *GetParam().example);
    int runs = test::check_gpu_kernels(Registry::instance(), c, precision);
    if (!HasFailure()) runs += test::check_gpu_epilogues(Registry::instance(), c, precision);
    if (!HasFailure()) runs += test::check_gpu_tails(Registry::instance(), c, precision);
    RecordProperty("runs", runs);
  }
};

TEST_P(GpuLayers, Fp32) { check(Precision::kFp32); }
TEST_P(GpuLayers, Tf32) { check(Precision::kTf32); }
TEST_P(GpuLayers, Fp16) { check(Precision::kFp16); }
TEST_P(GpuLayers, Bf16) { check(Precision::kBf16); }

INSTANTIATE_TEST_SUITE_P(All, GpuLayers, ::testing::ValuesIn(all_examples()), test_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GpuLayers);

/// The layers behind which networks add gradients up or mask them do so themselves.
TEST(GpuKernels, DoTheTailsOfConvolutionalNetworks) {
  for (const char* name : {"Conv", "BatchNormalization", "MaxPool", "GlobalAveragePool"}) {
    const LayerDef& layer = Registry::instance().require(name);
    int runs = 0;
    for (const Example& example : layer.examples) {
      runs += test::check_gpu_tails(Registry::instance(), test::LayerCase(layer, example),
                                    Precision::kFp16);
    }
    EXPECT_GT(runs, 0) << name;
  }
}

/// What a convolutional network is made of never leaves the GPU.
TEST(GpuKernels, ServeTheLayersOfConvolutionalNetworks) {
  std::map<std::string, int> kernels;  // directions served, by layer
  for (const auto& kernel : Registry::instance().kernels()) {
    if (kernel->device != Device::kCuda) continue;
    for (const std::string& layer : kernel->layers) kernels[layer] |= kernel->backward ? 2 : 1;
  }
  for (const char* layer : {"Conv",
                            "ConvTranspose",
                            "Gemm",
                            "MatMul",
                            "Relu",
                            "Clip",
                            "LeakyRelu",
                            "Sigmoid",
                            "Tanh",
                            "HardSwish",
                            "HardSigmoid",
                            "Elu",
                            "Gelu",
                            "PRelu",
                            "Add",
                            "Sub",
                            "Mul",
                            "Div",
                            "MaxPool",
                            "AveragePool",
                            "GlobalAveragePool",
                            "GlobalMaxPool",
                            "BatchNormalization",
                            "LRN",
                            "InstanceNormalization",
                            "LayerNormalization",
                            "Softmax",
                            "LogSoftmax",
                            "Concat",
                            "Slice",
                            "Transpose",
                            "Pad",
                            "Resize",
                            "ReduceMean",
                            "ReduceSum",
                            "ReduceMax"}) {
    if (Registry::instance().find(layer) == nullptr) {
      ADD_FAILURE() << "no layer " << layer;
      continue;
    }
    EXPECT_EQ(kernels[layer], 3) << layer << " lacks a GPU kernel forward (1) or backward (2)";
  }
}

}  // namespace
}  // namespace camlucida
