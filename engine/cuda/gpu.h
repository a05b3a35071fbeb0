#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/cuda/memory.h"
#include "engine/error.h"
#include "engine/tensor.h"

/// GPUs as the engine sees them. There are two kinds: a real one, driven through the CUDA runtime
/// (engine/cuda/vendor), and an emulated one, whose memory is the processor's and whose kernels are
/// the very same functions run by a thread pool. The emulated one exists so that planning, layouts,
/// memory and the numerics of every kernel of ours are tested on machines without a GPU; it knows
/// no vendor libraries, so that our own fallbacks run in their place.
namespace camlucida {

class Stream;

struct GpuProperties {
  std::string name;  ///< "NVIDIA H200", "emulated"
  int index = 0;
  int compute_capability = 0;  ///< 90 = 9.0; 0 = emulated
  int multiprocessors = 1;
  size_t memory_bytes = 0;
  std::string driver;  ///< versions of driver, runtime and cuDNN, for reports and the tuning cache
};

/// A GPU that work can be sent to. Thread-safe. Outlives its streams and buffers, which share it.
class Gpu : public std::enable_shared_from_this<Gpu> {
 public:
  /// Whether this build can use real GPUs.
  static bool is_built();
  /// The GPUs that the driver shows, in the order of their indices. Empty if there are none or the
  /// driver does not answer; `reason` then says why in a few words.
  static std::vector<std::string> names(std::string* reason);
  /// Opens GPU `index` of the driver. Throws Error(kUsage) with the reason if this build has no
  /// CUDA, the driver does not answer or there is no such GPU.
  static std::shared_ptr<Gpu> open(int index);
  /// `threads` as for ThreadPool. `memory_bytes` > 0 limits what may be allocated.
  static std::shared_ptr<Gpu> emulated(int threads = 1, size_t memory_bytes = 0);

  virtual ~Gpu() = default;

  virtual const GpuProperties& properties() const = 0;
  virtual bool is_emulated() const = 0;
  /// What slows a real GPU down: which libraries of CUDA it must do without, and why, in one line.
  /// Empty: none.
  virtual std::string shortcomings() const { return ""; }
  virtual std::shared_ptr<Stream> new_stream() = 0;
  /// Memory that is free for new allocations, what the allocator keeps for reuse included.
  virtual size_t free_bytes() const = 0;
  CachingAllocator& allocator() { return *allocator_; }
  /// A copy of `bytes` of host memory (packed weights), ready for all streams.
  /// Throws Error(kResource) when the GPU has no more memory.
  DeviceBuffer upload(const void* host, size_t bytes);

 protected:
  /// Copies and waits until any stream may read it.
  virtual void copy_to(void* device, const void* host, size_t bytes) = 0;

  std::unique_ptr<CachingAllocator> allocator_;
};

/// Work recorded once, started at once any number of times: a CUDA graph, on an emulated GPU a list
/// of copies, fills and kernels with their arguments. It works on the addresses that were recorded:
/// the memory behind them outlives it.
class CapturedWork {
 public:
  virtual ~CapturedWork() = default;
};

/// An ordered queue of work on one GPU. One thread at a time. Work is asynchronous: a failure shows
/// at the next check(), download() or synchronize().
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  virtual ~Stream() = default;

  virtual Gpu& gpu() const = 0;
  bool is_emulated() const { return gpu().is_emulated(); }
  /// cudaStream_t of a real GPU, else null.
  virtual void* native() const = 0;

  /// Memory of this stream's GPU, 256-byte aligned, uninitialised. It is reused in the order of
  /// this stream: free it only when whatever other streams do with it is done.
  /// Throws Error(kResource) when the GPU has no more, Error(kInternal) while work is recorded.
  DeviceBuffer allocate(size_t bytes);

  /// `host` may be changed or freed after the call.
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  /// Waits for the data, and so for all work before it.
  virtual void download(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void fill_zero(void* device, size_t bytes) = 0;
  virtual void synchronize() = 0;
  /// What is sent here from now on starts after all that has been sent to `other`.
  virtual void wait_for(Stream& other) = 0;
  /// Throws Error(kResource or kInternal) if a launch has failed; while work is recorded, nothing.
  virtual void check() = 0;

  /// Records what `work` sends, copies, fills and kernels with their arguments by value, instead of
  /// running it. `work` must not take memory, copy from or to the host, wait, or launch recorded
  /// work: each of these throws Error(kInternal) there, since it would not be repeated. On an
  /// emulated GPU capture() throws that error too; on a real one it then returns null, as it does
  /// where a library cannot be recorded, so that the work is sent step by step instead.
  virtual std::unique_ptr<CapturedWork> capture(const std::function<void()>& work) = 0;
  virtual void launch(const CapturedWork& work) = 0;
  /// Whether capture() is recording, so that what is sent now does not run.
  bool is_capturing() const { return capturing_; }

  /// Runs body(begin, end) over shares of [0, count): how an emulated GPU runs a kernel. The body
  /// is kept as long as a recording of it, so what it needs it holds by value.
  virtual void emulate(int64_t count, std::function<void(int64_t, int64_t)> body) = 0;

  /// What a vendor library keeps per stream (handles, workspaces), made on first use.
  template <class T, class Make>
  T& resource(std::shared_ptr<void>& slot, Make&& make) {
    if (slot == nullptr) slot = std::shared_ptr<T>(make());
    return *static_cast<T*>(slot.get());
  }
  std::shared_ptr<void> dnn_slot, solver_slot;

 protected:
  /// Throws Error(kInternal) while work is recorded and remembers it: `what` ("an upload") cannot
  /// be part of it.
  void refuse_while_capturing(const char* what);

  bool capturing_ = false;
  std::optional<Error> refused_;  ///< the first of this recording
};

}  // namespace camlucida
