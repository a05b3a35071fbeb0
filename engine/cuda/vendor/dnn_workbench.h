#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <type_traits>

#include "engine/cuda/vendor/cuda_error.h"
#include "engine/cuda/vendor/dnn_graph.h"
#include "engine/cuda/vendor/dnn_handle.h"

namespace camlucida {

/// Where plans are tried out: a stream with a handle and events. Plans refer to the handle.
class DnnWorkbench {
 public:
  DnnWorkbench();

  DnnDevice device() const { return {handle_->get(), nullptr}; }
  cudaStream_t stream() const { return stream_.get(); }
  void synchronize() const {
    check_cuda(cudaStreamSynchronize(stream()), "trying out convolutions on the GPU");
  }

  /// Milliseconds of one run of `work`, which returns whether it could be sent; negative if not.
  /// Work that cannot be recorded counts four times, since it keeps a network from being started as
  /// a whole. Stops early once it is clear that it takes much longer than `limit`.
  template <class Work>
  double time(CudaGpu& gpu, const Work& work, double limit) const {
    bool sent = true;
    const auto run = [&] { sent = sent && work(); };
    measure(run);  // loads the kernel
    double best = measure(run);
    if (!sent) return -1;
    if (best > 3 * limit) return best;
    const int runs = std::clamp(static_cast<int>(0.5 / std::max(best, 1e-3)), 1, 20);
    const auto run_all = [&] {
      for (int i = 0; i < runs; ++i) run();
    };
    // Sending a short kernel takes the processor longer than the GPU to run it.
    const Recorded recorded = record(gpu, run_all);
    const bool records = sent && recorded != nullptr;
    sent = true;
    const auto launch = [&] {
      check_cuda(cudaGraphLaunch(recorded.get(), stream()), "cudaGraphLaunch");
    };
    for (int round = 0; round < 3; ++round) {
      best = std::min(best, (records ? measure(launch) : measure(run_all)) / runs);
    }
    if (!sent) return -1;
    return records ? best : 4 * best;
  }

 private:
  struct DestroyStream {
    void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
  };
  struct DestroyEvent {
    void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  };
  struct DestroyGraph {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  using Recorded = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, DestroyGraph>;

  /// Milliseconds between before and after what `work` sends.
  template <class Work>
  double measure(const Work& work) const {
    check_cuda(cudaEventRecord(start_.get(), stream()), "cudaEventRecord");
    work();
    check_cuda(cudaEventRecord(stop_.get(), stream()), "cudaEventRecord");
    synchronize();
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, start_.get(), stop_.get()),
               "cudaEventElapsedTime");
    return milliseconds;
  }

  /// What `work` sends, to be started as a whole; null if it cannot be recorded.
  template <class Work>
  Recorded record(CudaGpu& gpu, const Work& work) const {
    const std::lock_guard lock(gpu.capturing());
    check_cuda(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed),
               "cudaStreamBeginCapture");
    work();
    return end_record();
  }
  Recorded end_record() const;

  using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, DestroyEvent>;

  std::unique_ptr<std::remove_pointer_t<cudaStream_t>, DestroyStream> stream_;
  Event start_, stop_;
  std::unique_ptr<DnnHandle> handle_;
};

}  // namespace camlucida
