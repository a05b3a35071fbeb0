#include "engine/cuda/vendor/dnn_graph.h"

#include <algorithm>
#include <memory>
#include <sstream>

#include "engine/cuda/vendor/cuda_error.h"
#include "engine/cuda/vendor/dnn_library.h"

namespace camlucida {

// ---- DnnDescriptor -----------------------------------------------------------------------------

DnnDescriptor::DnnDescriptor(cudnnBackendDescriptorType_t type) {
  check_dnn(dnn().create_descriptor(type, &descriptor_), "cudnnBackendCreateDescriptor");
}

DnnDescriptor::~DnnDescriptor() {
  if (descriptor_ != nullptr) dnn().destroy_descriptor(descriptor_);
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                        int64_t count, const void* values) {
  const cudnnStatus_t status = dnn().set_attribute(descriptor_, name, type, count, values);
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw dnn_error(status, "cudnnBackendSetAttribute " + std::to_string(name));
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
  set(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, int64_t value) {
  set(name, CUDNN_TYPE_INT64, 1, &value);
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, std::span<const int64_t> values) {
  set(name, CUDNN_TYPE_INT64, static_cast<int64_t>(values.size()), values.data());
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, float value) {
  set(name, CUDNN_TYPE_FLOAT, 1, &value);
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, double value) {
  set(name, CUDNN_TYPE_DOUBLE, 1, &value);
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, bool value) {
  set(name, CUDNN_TYPE_BOOLEAN, 1, &value);
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, const DnnDescriptor& value) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.descriptor_);
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, std::span<const DnnDescriptor> values) {
  std::vector<cudnnBackendDescriptor_t> pointers;
  for (const DnnDescriptor& value : values) pointers.push_back(value.get());
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(pointers.size()), pointers.data());
}

void DnnDescriptor::set_handle(cudnnBackendAttributeName_t name, cudnnHandle_t handle) {
  set(name, CUDNN_TYPE_HANDLE, 1, &handle);
}

void DnnDescriptor::finalize() { check_dnn(dnn().finalize(descriptor_), "cudnnBackendFinalize"); }

size_t DnnDescriptor::get_array(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                size_t most, void* values) const {
  int64_t count = 0;
  const cudnnStatus_t status =
      dnn().get_attribute(descriptor_, name, type, static_cast<int64_t>(most), &count, values);
  if (status != CUDNN_STATUS_SUCCESS) {
    throw dnn_error(status, "cudnnBackendGetAttribute " + std::to_string(name));
  }
  return std::min(most, static_cast<size_t>(std::max<int64_t>(count, 0)));
}

int64_t DnnDescriptor::get_int(cudnnBackendAttributeName_t name) const {
  int64_t value = 0;
  get_array(name, CUDNN_TYPE_INT64, 1, &value);
  return value;
}

std::vector<DnnDescriptor> DnnDescriptor::get_descriptors(cudnnBackendAttributeName_t name,
                                                          cudnnBackendDescriptorType_t kind,
                                                          size_t most) const {
  // cuDNN fills descriptors that the caller has made, and leaves them as they are beyond the count.
  std::vector<DnnDescriptor> result;
  std::vector<cudnnBackendDescriptor_t> pointers;
  for (size_t i = 0; i < most; ++i) {
    result.emplace_back(kind);
    pointers.push_back(result.back().get());
  }
  const size_t count = get_array(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, pointers.data());
  while (result.size() > count) result.pop_back();
  return result;
}

namespace {

/// Bytes of an element; no others are used here.
int64_t size_of(cudnnDataType_t type) { return type == CUDNN_DATA_FLOAT ? 4 : 2; }

}  // namespace

DnnDescriptor dnn_device(const std::string& json) {
  DnnDescriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
             static_cast<int64_t>(json.size()), json.data());
  device.finalize();
  return device;
}

int64_t dnn_alignment(int64_t bytes) {
  int64_t alignment = 16;
  while (bytes % alignment != 0) alignment /= 2;
  return alignment;
}

DnnDescriptor dnn_tensor(int64_t uid, cudnnDataType_t type, std::span<const int64_t> extents,
                         bool is_virtual) {
  std::vector<int64_t> strides(extents.size());
  strides[1] = 1;
  int64_t stride = extents[1];
  for (size_t axis = extents.size() - 1; axis >= 2; --axis) {
    strides[axis] = stride;
    stride *= extents[axis];
  }
  strides[0] = stride;
  DnnDescriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, extents);
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const int64_t>(strides));
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT,
             dnn_alignment(is_virtual ? 0 : stride * extents[0] * size_of(type)));
  tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, is_virtual);
  tensor.finalize();
  return tensor;
}

// ---- DnnGraph ----------------------------------------------------------------------------------

const DnnDescriptor& DnnGraph::keep(DnnDescriptor part) {
  parts_.push_back(std::make_unique<DnnDescriptor>(std::move(part)));
  return *parts_.back();
}

void DnnGraph::add_operation(DnnDescriptor operation) {
  operation.finalize();
  operations_.push_back(std::move(operation));
}

void DnnGraph::finalize(const DnnDevice& device) {
  if (device.handle != nullptr) {
    graph_.set_handle(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, device.handle);
  }
  graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<const DnnDescriptor>(operations_));
  graph_.finalize();
}

// ---- Engines -----------------------------------------------------------------------------------

std::string DnnEngine::to_string() const {
  std::string text = std::to_string(index);
  for (const auto& [type, value] : knobs) {
    text += " " + std::to_string(type) + ":" + std::to_string(value);
  }
  return text;
}

DnnEngine DnnEngine::from_string(const std::string& text) {
  const auto malformed = [&text] {
    return Error(ErrorKind::kInput, "'" + text + "' names no cuDNN engine");
  };
  std::istringstream stream(text);
  DnnEngine engine;
  if (!(stream >> engine.index)) throw malformed();
  std::pair<int64_t, int64_t> knob;
  char colon = 0;
  while (stream >> knob.first) {
    if (!(stream >> colon >> knob.second) || colon != ':') throw malformed();
    engine.knobs.push_back(knob);
  }
  if (!stream.eof()) throw malformed();
  return engine;
}

bool DnnConfig::has(cudnnBackendNumericalNote_t note) const {
  return std::find(numerical.begin(), numerical.end(), note) != numerical.end();
}

bool DnnConfig::is_compiled() const {
  return std::find(behaviour.begin(), behaviour.end(), CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) !=
         behaviour.end();
}

namespace {

/// Reads the notes of an engine into a configuration.
void read_notes(const DnnDescriptor& engine, DnnConfig& config) {
  config.numerical = engine.get_all<cudnnBackendNumericalNote_t>(
      CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  config.behaviour = engine.get_all<cudnnBackendBehaviorNote_t>(
      CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT);
}

}  // namespace

std::vector<DnnConfig> dnn_proposals(const DnnGraph& graph, const DnnDevice& device,
                                     cudnnBackendHeurMode_t mode, size_t most) {
  DnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.descriptor());
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (device.description != nullptr) {
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *device.description);
  }
  heuristics.finalize();
  std::vector<DnnConfig> configs;
  for (DnnDescriptor& found : heuristics.get_descriptors(
           CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, most)) {
    DnnConfig config;
    config.descriptor = std::move(found);
    auto engines = config.descriptor.get_descriptors(CUDNN_ATTR_ENGINECFG_ENGINE,
                                                     CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
    if (engines.empty()) continue;
    config.engine.index = engines[0].get_int(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
    read_notes(engines[0], config);
    for (const DnnDescriptor& choice : config.descriptor.get_descriptors(
             CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR,
             CUDNN_KNOB_TYPE_COUNTS)) {
      const auto type = choice.get_all<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE,
                                                               CUDNN_TYPE_KNOB_TYPE, 1);
      if (type.empty()) continue;
      config.engine.knobs.emplace_back(type[0], choice.get_int(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
    }
    std::sort(config.engine.knobs.begin(), config.engine.knobs.end());
    configs.push_back(std::move(config));
  }
  return configs;
}

DnnConfig dnn_config(const DnnGraph& graph, const DnnDevice& device, const DnnEngine& engine) {
  DnnConfig config;
  config.engine = engine;
  DnnDescriptor base(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  base.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph.descriptor());
  base.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, engine.index);
  if (device.description != nullptr) {
    base.set(CUDNN_ATTR_ENGINE_DEVICEPROP, *device.description);
  }
  base.finalize();
  read_notes(base, config);
  std::vector<DnnDescriptor> choices;
  for (const auto& [type, value] : engine.knobs) {
    const auto knob = static_cast<cudnnBackendKnobType_t>(type);
    DnnDescriptor choice(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    choice.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &knob);
    choice.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value);
    choice.finalize();
    choices.push_back(std::move(choice));
  }
  config.descriptor.set(CUDNN_ATTR_ENGINECFG_ENGINE, base);
  if (!choices.empty()) {
    config.descriptor.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                          std::span<const DnnDescriptor>(choices));
  }
  config.descriptor.finalize();
  config.parts = std::move(choices);
  config.parts.push_back(std::move(base));
  return config;
}

// ---- DnnPlan -----------------------------------------------------------------------------------

DnnPlan::DnnPlan(const DnnDescriptor& config, const DnnDevice& device) {
  if (device.handle != nullptr) {
    plan_.set_handle(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, device.handle);
  }
  if (device.description != nullptr) {
    plan_.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *device.description);
  }
  plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  plan_.finalize();
  scratch_bytes_ = static_cast<size_t>(plan_.get_int(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
}

cudnnStatus_t DnnPlan::run(cudnnHandle_t handle, std::span<const int64_t> uids,
                           std::span<void* const> addresses, void* scratch) const noexcept {
  cudnnBackendDescriptor_t pack = nullptr;
  cudnnStatus_t status = dnn().create_descriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  const auto set = [&](cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                       size_t count, const void* values) {
    if (status != CUDNN_STATUS_SUCCESS) return;
    status = dnn().set_attribute(pack, name, type, static_cast<int64_t>(count), values);
  };
  set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, uids.size(), uids.data());
  set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, addresses.size(),
      addresses.data());
  set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &scratch);
  if (status == CUDNN_STATUS_SUCCESS) status = dnn().finalize(pack);
  if (status == CUDNN_STATUS_SUCCESS) status = dnn().execute(handle, plan_.get(), pack);
  dnn().destroy_descriptor(pack);
  return status;
}

}  // namespace camlucida
