#pragma once

#include <cudnn_graph.h>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// cuDNN's graph API (cudnn_graph.h) with lifetimes and errors taken care of. A computation is a
/// few operation descriptors over tensor descriptors that are told apart by number (uid); engines
/// that can run it are asked for, one is made an execution plan, and a plan runs on addresses that
/// are named by uid ("variant pack"). All throw camlucida::Error with what cuDNN says.
namespace camlucida {

/// A cuDNN descriptor. What another one refers to must outlive it. Not thread-safe.
class DnnDescriptor {
 public:
  explicit DnnDescriptor(cudnnBackendDescriptorType_t type);
  DnnDescriptor(DnnDescriptor&& other) noexcept { swap(other); }
  DnnDescriptor& operator=(DnnDescriptor&& other) noexcept {
    DnnDescriptor(std::move(other)).swap(*this);
    return *this;
  }
  ~DnnDescriptor();

  cudnnBackendDescriptor_t get() const { return descriptor_; }
  void swap(DnnDescriptor& other) noexcept { std::swap(descriptor_, other.descriptor_); }

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
           const void* values);
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t value);
  void set(cudnnBackendAttributeName_t name, int64_t value);
  void set(cudnnBackendAttributeName_t name, std::span<const int64_t> values);
  void set(cudnnBackendAttributeName_t name, float value);
  void set(cudnnBackendAttributeName_t name, double value);
  void set(cudnnBackendAttributeName_t name, bool value);
  void set(cudnnBackendAttributeName_t name, const DnnDescriptor& value);
  void set(cudnnBackendAttributeName_t name, std::span<const DnnDescriptor> values);
  void set_handle(cudnnBackendAttributeName_t name, cudnnHandle_t handle);
  void finalize();

  int64_t get_int(cudnnBackendAttributeName_t name) const;
  /// Values of an attribute that has none or several, at most `most`.
  template <class T>
  std::vector<T> get_all(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         size_t most) const {
    std::vector<T> values(most);
    values.resize(get_array(name, type, most, values.data()));
    return values;
  }
  /// Descriptors of `kind` that an attribute holds, at most `most`.
  std::vector<DnnDescriptor> get_descriptors(cudnnBackendAttributeName_t name,
                                             cudnnBackendDescriptorType_t kind, size_t most) const;

 private:
  size_t get_array(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, size_t most,
                   void* values) const;

  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

/// The GPU planned for: a handle of it, or a description without the GPU itself.
struct DnnDevice {
  cudnnHandle_t handle = nullptr;
  const DnnDescriptor* description = nullptr;
};

/// A GPU described by the JSON text of CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, to plan for it
/// where it is not at hand.
DnnDescriptor dnn_device(const std::string& json);

/// Alignment of tensors of that many bytes, so that copies may lie one behind the other: 16, or a
/// smaller power of two if only that divides the size.
int64_t dnn_alignment(int64_t bytes);
/// Extents in the order N, C, spatial..., laid out channels-last, of 32 or 16 bits per element, at
/// an address aligned to dnn_alignment of its size. A virtual tensor lies nowhere: an
/// operation hands it to the next.
DnnDescriptor dnn_tensor(int64_t uid, cudnnDataType_t type, std::span<const int64_t> extents,
                         bool is_virtual = false);

/// Operations and what they refer to, in order of creation, and the graph of them.
class DnnGraph {
 public:
  /// Stays valid until the graph ends.
  const DnnDescriptor& keep(DnnDescriptor part);
  /// Finalizes the operation.
  void add_operation(DnnDescriptor operation);
  void finalize(const DnnDevice& device);
  const DnnDescriptor& descriptor() const { return graph_; }

 private:
  std::vector<std::unique_ptr<DnnDescriptor>> parts_;
  std::vector<DnnDescriptor> operations_;
  DnnDescriptor graph_{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
};

/// One way to run a graph, by the numbers that name it within a version of cuDNN.
struct DnnEngine {
  int64_t index = 0;
  std::vector<std::pair<int64_t, int64_t>> knobs;  ///< type, value; ascending by type

  std::string to_string() const;  ///< "14 2:1 5:0"
  /// Throws Error(kInput) if that is no such text.
  static DnnEngine from_string(const std::string& text);
  bool operator==(const DnnEngine&) const = default;
};

/// An engine with its choices, ready to become a plan.
struct DnnConfig {
  DnnEngine engine;
  std::vector<cudnnBackendNumericalNote_t> numerical;
  std::vector<cudnnBackendBehaviorNote_t> behaviour;
  std::vector<DnnDescriptor> parts;  ///< what `descriptor` refers to
  DnnDescriptor descriptor{CUDNN_BACKEND_ENGINECFG_DESCRIPTOR};

  bool has(cudnnBackendNumericalNote_t note) const;
  bool is_compiled() const;  ///< its kernel is compiled when the plan is made
};

/// What the heuristics propose, best first, at most `most`.
std::vector<DnnConfig> dnn_proposals(const DnnGraph& graph, const DnnDevice& device,
                                     cudnnBackendHeurMode_t mode, size_t most);
/// A configuration made again from its numbers.
DnnConfig dnn_config(const DnnGraph& graph, const DnnDevice& device, const DnnEngine& engine);

/// A plan: compiled, ready to run on any stream of the device. Running it does not change it.
class DnnPlan {
 public:
  DnnPlan(const DnnDescriptor& config, const DnnDevice& device);

  size_t scratch_bytes() const { return scratch_bytes_; }
  /// Sends the work to the stream of `handle`. The spans pair uids with addresses.
  cudnnStatus_t run(cudnnHandle_t handle, std::span<const int64_t> uids,
                    std::span<void* const> addresses, void* scratch) const noexcept;

 private:
  DnnDescriptor plan_{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  size_t scratch_bytes_ = 0;
};

}  // namespace camlucida
