/// What is said to cuDNN, as far as it can be checked without a GPU: descriptors, operation graphs,
/// and the heuristics and plans for GPUs that are described to cuDNN instead of being there.
/// Skipped where cuDNN is not installed.
#include <gtest/gtest.h>

#ifndef CAMLUCIDA_HAS_CUDA

TEST(DnnDescriptors, NeedCudnn) { GTEST_SKIP() << "this build has no CUDA support"; }

#else

#include <algorithm>
#include <set>

#include "engine/cuda/gpu.h"
#include "engine/cuda/vendor/cuda_error.h"
#include "engine/cuda/vendor/dnn_conv_graph.h"
#include "engine/cuda/vendor/dnn_library.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

// ---- Problems ----------------------------------------------------------------------------------

/// Square maps and windows, padded so that stride 1 keeps the size.
DnnConvProblem square(int64_t in_channels, int64_t out_channels, int64_t extent, int64_t window,
                      int64_t stride = 1) {
  DnnConvProblem p;
  p.batch = 2;
  p.in_channels = in_channels;
  p.out_channels = out_channels;
  p.input = {1, extent, extent};
  p.kernel = {1, window, window};
  p.stride = {1, stride, stride};
  p.pad_begin = {0, window / 2, window / 2};
  const int64_t out = (extent + window / 2 * 2 - window) / stride + 1;
  p.output = {1, out, out};
  return p;
}

struct Named {
  std::string name;
  DnnConvProblem problem;
};

std::vector<Named> shapes() {
  std::vector<Named> result = {{"3x3", square(64, 64, 28, 3)},
                               {"3x3 stride 2", square(64, 128, 28, 3, 2)},
                               {"1x1 stride 2", square(64, 128, 28, 1, 2)},
                               {"7x7 of a picture", square(3, 64, 56, 7, 2)},
                               {"widened picture", square(4, 64, 56, 7, 2)},
                               {"odd channels", square(5, 7, 9, 3)},
                               {"one pixel", square(8, 16, 1, 1)}};
  DnnConvProblem p = square(128, 128, 14, 3);
  p.groups = 4;
  result.push_back({"groups", p});
  p = square(9, 6, 7, 3);
  p.groups = 3;
  result.push_back({"odd groups", p});
  p = square(16, 16, 14, 3);
  p.pad_begin = {0, 0, 1};
  p.output = {1, 14, 14};
  result.push_back({"asymmetric pads", p});
  p = square(16, 16, 14, 3, 2);
  p.pad_begin = {0, 0, 0};  // as TensorFlow pads: behind only
  p.output = {1, 7, 7};
  result.push_back({"pads behind", p});
  p = square(8, 8, 8, 3, 2);
  p.pad_begin = {0, 0, 0};
  p.output = {1, 3, 3};  // the last row and column are not read
  result.push_back({"unread border", p});
  p = square(8, 8, 13, 3);
  p.dilation = {1, 2, 3};
  p.pad_begin = {0, 2, 3};
  result.push_back({"dilation", p});
  p = square(8, 16, 1, 1);
  p.input = {1, 1, 17};
  p.kernel = {1, 1, 4};
  p.stride = {1, 1, 2};
  p.dilation = {1, 1, 2};
  p.pad_begin = {0, 0, 1};
  p.output = {1, 1, 7};
  result.push_back({"one axis", p});
  p = square(8, 16, 6, 3);
  p.input = p.output = {5, 6, 6};
  p.kernel = {3, 3, 3};
  p.pad_begin = {1, 1, 1};
  result.push_back({"three axes", p});
  return result;
}

struct Kind {
  const char* name;
  DType type;
  bool tf32;
};
constexpr Kind kKinds[] = {{"fp32", DType::kFloat32, false},
                           {"tf32", DType::kFloat32, true},
                           {"fp16", DType::kFloat16, false},
                           {"bf16", DType::kBFloat16, false}};

/// The epilogues that networks have most, for which cuDNN has kernels ready.
std::vector<DnnEpilogue> common_epilogues() {
  return {{},
          {.bias = true},
          {.bias = true, .activation = DnnActivation::kRelu},
          {.bias = true, .addend = true},
          {.bias = true, .addend = true, .activation = DnnActivation::kRelu}};
}

std::vector<DnnEpilogue> other_epilogues() {
  return {
      {.activation = DnnActivation::kRelu},
      {.addend = true},
      {.bias = true, .activation = DnnActivation::kRelu, .parameter = 6},
      {.bias = true, .activation = DnnActivation::kSwish, .parameter = 1.7f},
      {.bias = true, .activation = DnnActivation::kSigmoid},
      {.bias = true, .activation = DnnActivation::kTanh},
      {.bias = true, .activation = DnnActivation::kGelu},
      {.bias = true, .addend = true, .addend_first = false, .activation = DnnActivation::kRelu}};
}

/// What comes behind the way back.
std::vector<DnnEpilogue> tails(DType of_activations) {
  return {{.addend = true},
          {.mask = true, .mask_type = of_activations},
          {.addend = true, .mask = true, .mask_type = of_activations}};
}

class NeedsCudnn : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!dnn_library()) GTEST_SKIP() << dnn_library().reason();
  }
};
using DnnErrors = NeedsCudnn;
using DnnTensors = NeedsCudnn;
using DnnGraphs = NeedsCudnn;

// ---- Texts and geometry, without cuDNN ---------------------------------------------------------

TEST(DnnConvProblems, KeysTellProblemsApart) {
  std::set<std::string> keys;
  size_t problems = 0;
  for (const Kind& kind : kKinds) {
    for (Named& shape : shapes()) {
      shape.problem.type = kind.type;
      shape.problem.tf32 = kind.tf32;
      for (auto epilogues : {common_epilogues(), other_epilogues()}) {
        for (const DnnEpilogue& epilogue : epilogues) {
          shape.problem.epilogue = epilogue;
          keys.insert(shape.problem.key());
          ++problems;
        }
      }
      shape.problem.epilogue = {};
      shape.problem.backward = true;
      keys.insert(shape.problem.key());
      ++problems;
      for (const DnnEpilogue& tail : tails(DType::kFloat16)) {
        shape.problem.epilogue = tail;
        keys.insert(shape.problem.key());
        ++problems;
      }
    }
  }
  EXPECT_EQ(keys.size(), problems);
  EXPECT_EQ(square(3, 8, 5, 3).key(),
            "conv float32 n2 c3 k8 g1 i1x5x5 o1x5x5 w1x3x3 s1x1x1 d1x1x1 p0x1x1");
}

TEST(DnnConvProblems, PadsBehindFollowFromTheExtents) {
  for (const Named& shape : shapes()) {
    SCOPED_TRACE(shape.name);
    const DnnConvProblem& p = shape.problem;
    for (size_t axis = 0; axis < 3; ++axis) {
      const int64_t reach = (p.kernel[axis] - 1) * p.dilation[axis] + 1;
      const int64_t room = p.input[axis] + p.pad_begin[axis] + p.pad_end(axis) - reach;
      EXPECT_GE(p.pad_end(axis), 0);
      EXPECT_EQ(room / p.stride[axis] + 1, p.output[axis]);
    }
    EXPECT_EQ(p.spatial_axes(), shape.name == "three axes" ? 3 : 2);
  }
}

TEST(DnnEngines, AreWrittenAndRead) {
  const DnnEngine engine{41, {{2, 5}, {17, -1}, {18, 0}}};
  EXPECT_EQ(engine.to_string(), "41 2:5 17:-1 18:0");
  EXPECT_EQ(DnnEngine::from_string(engine.to_string()), engine);
  EXPECT_EQ(DnnEngine::from_string(" 7"), (DnnEngine{7, {}}));
  for (const char* text : {"", "x", "1 2", "1 2:", "1 2:x", "1 2:3 x", "1 2;3", "1 2:3:4"}) {
    EXPECT_ERROR(DnnEngine::from_string(text), kInput, "no cuDNN engine");
  }
}

TEST(CudaErrors, SayWhatFailedAndWhatToDo) {
  EXPECT_ERROR(check_cuda(cudaErrorMemoryAllocation, "cudaMalloc"), kResource, "smaller batch");
  EXPECT_ERROR(check_cuda(cudaErrorIllegalAddress, "cudaMemcpyAsync"), kInternal,
               "cudaMemcpyAsync: an illegal memory access");
  EXPECT_ERROR(check_cuda(cudaErrorNoKernelImageForDevice, "launch"), kInternal,
               "CMAKE_CUDA_ARCHITECTURES");
  check_cuda(cudaSuccess, "cudaMalloc");
}

TEST_F(DnnErrors, SayWhatFailedAndWhatToDo) {
  EXPECT_ERROR(
      check_dnn(CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, "cudnnBackendExecute"),
      kResource, "cudnnBackendExecute");
  EXPECT_ERROR(check_dnn(CUDNN_STATUS_NOT_SUPPORTED_SHAPE, "cudnnBackendFinalize"), kInternal,
               "CUDNN_STATUS_NOT_SUPPORTED_SHAPE");
  check_dnn(CUDNN_STATUS_SUCCESS, "cudnnCreate");
}

TEST(CudaGpus, AreNamedOrTheirAbsenceExplained) {
  std::string reason;
  const std::vector<std::string> names = Gpu::names(&reason);
  EXPECT_TRUE(Gpu::is_built());
  EXPECT_ERROR(Gpu::open(-1), kUsage, "");
  EXPECT_ERROR(Gpu::open(static_cast<int>(names.size())), kUsage, "");
  if (!names.empty()) {
    EXPECT_EQ(Gpu::open(0)->properties().name, names[0]);
    EXPECT_EQ(Gpu::open(0), Gpu::open(0));
    GTEST_SKIP() << "this machine has a GPU: " << names[0];
  }
  EXPECT_FALSE(reason.empty());
  EXPECT_ERROR(Gpu::open(0), kUsage, reason);
  std::printf("no GPU here: %s\n", reason.c_str());
}

TEST(CudaGpus, EmulatedOnesHaveNoCudnn) {
  std::string reason;
  EXPECT_EQ(plan_dnn_conv(*Gpu::emulated(), square(8, 8, 8, 3), reason), nullptr);
  EXPECT_EQ(reason, "an emulated GPU has no cuDNN");
}

// ---- Descriptors -------------------------------------------------------------------------------

TEST_F(DnnTensors, LieChannelsLast) {
  const std::vector<int64_t> extents = {2, 3, 5, 7};
  const DnnDescriptor tensor = dnn_tensor(9, CUDNN_DATA_HALF, extents);
  const auto values = [&](cudnnBackendAttributeName_t name) {
    return tensor.get_all<int64_t>(name, CUDNN_TYPE_INT64, CUDNN_DIM_MAX);
  };
  EXPECT_EQ(values(CUDNN_ATTR_TENSOR_DIMENSIONS), extents);
  EXPECT_EQ(values(CUDNN_ATTR_TENSOR_STRIDES), (std::vector<int64_t>{105, 1, 21, 3}));
  EXPECT_EQ(tensor.get_int(CUDNN_ATTR_TENSOR_UNIQUE_ID), 9);

  const DnnDescriptor deep = dnn_tensor(1, CUDNN_DATA_FLOAT, std::vector<int64_t>{1, 4, 2, 3, 5});
  EXPECT_EQ(deep.get_all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, CUDNN_DIM_MAX),
            (std::vector<int64_t>{120, 1, 60, 20, 4}));
}

TEST_F(DnnTensors, AreAlignedAsFarAsTheirSizeIs) {
  EXPECT_EQ(dnn_alignment(4 * 36), 16);
  EXPECT_EQ(dnn_alignment(4 * 2 * 105), 8);
  EXPECT_EQ(dnn_alignment(4 * 105), 4);
  EXPECT_EQ(dnn_alignment(2 * 105), 2);
  EXPECT_EQ(dnn_alignment(0), 16);
}

TEST_F(DnnTensors, WrongOnesAreRefused) {
  EXPECT_ERROR(dnn_tensor(1, CUDNN_DATA_FLOAT, std::vector<int64_t>{1, -2, 3, 3}), kInternal,
               "cudnnBackend");
  EXPECT_ERROR(dnn_tensor(1, CUDNN_DATA_FLOAT, std::vector<int64_t>(9, 1)), kInternal,
               "cudnnBackend");
}

TEST_F(DnnGraphs, HoldEveryShapeTypeAndEpilogue) {
  for (const Kind& kind : kKinds) {
    for (Named& shape : shapes()) {
      DnnConvProblem p = shape.problem;
      p.type = kind.type;
      p.tf32 = kind.tf32;
      for (auto epilogues : {common_epilogues(), other_epilogues()}) {
        for (const DnnEpilogue& epilogue : epilogues) {
          p.epilogue = epilogue;
          SCOPED_TRACE(p.key());
          EXPECT_NO_THROW(dnn_conv_graph(p, epilogue, {}));
        }
      }
      p.epilogue = {};
      p.backward = true;
      EXPECT_NO_THROW(dnn_conv_graph(p, {}, {})) << p.key();
      for (const DnnEpilogue& tail : tails(DType::kBFloat16)) {
        p.epilogue = tail;
        EXPECT_NO_THROW(dnn_conv_graph(p, tail, {})) << p.key();
      }
    }
  }
}

TEST_F(DnnGraphs, WrongOnesAreRefused) {
  DnnConvProblem p = square(8, 8, 9, 3);
  p.output[2] = 2;  // the window fits more often
  EXPECT_ERROR(dnn_conv_graph(p, {}, {}), kInternal, "cudnnBackend");
  p = square(8, 8, 9, 3);
  p.type = DType::kInt64;
  EXPECT_ERROR(dnn_conv_graph(p, {}, {}), kInternal, "int64");
}

// ---- Plans for described GPUs ------------------------------------------------------------------

struct Described {
  const char* name;
  int compute_capability;
  int multiprocessors;
  int shared_memory;  // most of a block
  int blocks;         // most of a multiprocessor
  int threads;
};
constexpr Described kGpus[] = {{"A100", 80, 108, 166912, 32, 2048},
                               {"RTX 4090", 89, 128, 101376, 24, 1536},
                               {"H200", 90, 132, 232448, 32, 2048}};

std::string json_of(const Described& gpu) {
  const auto number = [](const char* name, int64_t value) {
    return std::string("\"") + name + "\":" + std::to_string(value) + ",";
  };
  return "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64]," +
         number("regsPerBlock", 65536) + number("multiProcessorCount", gpu.multiprocessors) +
         number("warpSize", 32) + number("maxSharedMemoryPerBlock", 49152) +
         number("maxSharedMemoryPerBlockOptin", gpu.shared_memory) +
         number("reservedSharedMemoryPerBlock", 1024) + number("maxRegistersPerSM", 65536) +
         number("maxCtasPerSM", gpu.blocks) + number("maxThreadsPerBlock", 1024) +
         number("maxThreadsPerSM", gpu.threads) + number("pciDeviceId", 0) +
         number("smClockRateKHz", 1980000) + number("memClockRateKHz", 3201000) +
         number("l2CacheSize", 52428800) + number("totalGlobalMem", 80000000000) +
         number("driverVer", 13000) + number("deviceVer", gpu.compute_capability * 10) +
         number("isTccDriver", 0) + number("supportCoopLaunch", 1) + number("cudaDeviceId", 0) +
         "\"deviceName\":\"NVIDIA " + gpu.name + "\"}";
}

class DnnPlans : public ::testing::TestWithParam<Described> {
 protected:
  void SetUp() override {
    if (!dnn_library()) GTEST_SKIP() << dnn_library().reason();
    try {
      description_.emplace(dnn_device(json_of(GetParam())));
    } catch (const Error& error) {
      GTEST_SKIP() << "this cuDNN takes no description of a GPU: " << error.what();
    }
  }
  DnnDevice device() const { return {nullptr, &*description_}; }

  /// The acceptable proposals, or if there are none those of the last resort.
  std::vector<DnnConfig> accepted(const DnnConvProblem& p, const DnnGraph& graph) const {
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
      std::vector<DnnConfig> configs = dnn_proposals(graph, device(), mode, 64);
      std::erase_if(configs, [&](const DnnConfig& c) { return !dnn_conv_accepts(p, c); });
      if (!configs.empty()) return configs;
    }
    return {};
  }

  /// Makes a plan of the first proposal whose kernel need not be compiled, which takes a driver.
  void expect_plan(const DnnConvProblem& p) const {
    SCOPED_TRACE(p.key());
    const auto graph = dnn_conv_graph(p, p.epilogue, device());
    const std::vector<DnnConfig> configs = accepted(p, *graph);
    const auto ready = std::find_if(configs.begin(), configs.end(),
                                    [](const DnnConfig& c) { return !c.is_compiled(); });
    ASSERT_NE(ready, configs.end()) << "no kernel";
    const DnnPlan plan(ready->descriptor, device());
    EXPECT_LT(plan.scratch_bytes(), size_t{1} << 30);

    // The same from the numbers that the tuning cache keeps.
    const DnnEngine engine = DnnEngine::from_string(ready->engine.to_string());
    const DnnConfig again = dnn_config(*graph, device(), engine);
    EXPECT_EQ(again.engine, ready->engine);
    EXPECT_EQ(again.numerical, ready->numerical);
    EXPECT_EQ(again.behaviour, ready->behaviour);
    EXPECT_EQ(DnnPlan(again.descriptor, device()).scratch_bytes(), plan.scratch_bytes());
  }

  std::optional<DnnDescriptor> description_;
};

TEST_P(DnnPlans, ServeTheCommonEpilogues) {
  for (const Kind& kind : kKinds) {
    for (Named& shape : shapes()) {
      shape.problem.type = kind.type;
      shape.problem.tf32 = kind.tf32;
      for (const DnnEpilogue& epilogue : common_epilogues()) {
        shape.problem.epilogue = epilogue;
        expect_plan(shape.problem);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(DnnPlans, ServeTheWayBack) {
  for (const Kind& kind : kKinds) {
    for (Named& shape : shapes()) {
      shape.problem.type = kind.type;
      shape.problem.tf32 = kind.tf32;
      shape.problem.backward = true;
      expect_plan(shape.problem);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(DnnPlans, StrictOnesRoundNoOperand) {
  DnnConvProblem p = square(64, 64, 28, 3);
  const auto tensor_cores = [&](bool tf32) {
    p.tf32 = tf32;
    const auto graph = dnn_conv_graph(p, {}, device());
    const std::vector<DnnConfig> configs = accepted(p, *graph);
    EXPECT_FALSE(configs.empty());
    return std::count_if(configs.begin(), configs.end(), [](const DnnConfig& c) {
      return c.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) ||
             c.has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS);
    });
  };
  EXPECT_EQ(tensor_cores(false), 0);
  EXPECT_GT(tensor_cores(true), 0);
}

TEST_P(DnnPlans, RunTheSameInEveryRun) {
  for (const bool backward : {false, true}) {
    DnnConvProblem p = square(64, 64, 28, 3);
    p.backward = backward;
    const auto graph = dnn_conv_graph(p, {}, device());
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
      for (const DnnConfig& config : dnn_proposals(*graph, device(), mode, 64)) {
        EXPECT_FALSE(dnn_conv_accepts(p, config) &&
                     config.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC));
      }
    }
  }
}

TEST_P(DnnPlans, EnginesThatDoNotExistAreRefused) {
  const DnnConvProblem p = square(64, 64, 28, 3);
  const auto graph = dnn_conv_graph(p, {}, device());
  EXPECT_ERROR(dnn_config(*graph, device(), {100000, {}}), kInternal, "cudnnBackend");
  EXPECT_ERROR(DnnPlan(dnn_config(*graph, device(), {0, {{2, 99999}}}).descriptor, device()),
               kInternal, "cudnnBackend");
}

INSTANTIATE_TEST_SUITE_P(All, DnnPlans, ::testing::ValuesIn(kGpus), [](const auto& gpu) {
  return "cc" + std::to_string(gpu.param.compute_capability);
});

}  // namespace
}  // namespace camlucida

#endif
