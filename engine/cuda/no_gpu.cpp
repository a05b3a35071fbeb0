#include "engine/cuda/device_tensor.h"
#include "engine/cuda/reorder.h"
#include "engine/error.h"
#include "engine/executor.h"
#include "engine/registry.h"

/// Stands in for engine/cuda and for the GPU kernels of the layers in a build without GPUs. What
/// needs a Gpu is never reached, since Gpu::open makes none.
namespace camlucida {
namespace {

[[noreturn]] void refuse() {
  throw Error(ErrorKind::kUnsupported, "this build has no GPU support", "use the processor");
}

}  // namespace

void register_all_gpu(Registry&) {}
std::unique_ptr<Executor> make_gpu_executor(std::shared_ptr<const Plan>,
                                            std::shared_ptr<ThreadPool>) {
  refuse();
}
std::unique_ptr<PreparedKernel> prepare_gpu_reorder(const TensorDesc&, Layout, Layout, Precision,
                                                    bool) {
  refuse();
}
std::unique_ptr<PreparedKernel> prepare_gpu_gradient_sum(int64_t) { refuse(); }
bool on_device(const Tensor&) { return false; }
std::shared_ptr<Stream> stream_of(const Tensor&) { return nullptr; }
const void* device_data(const Tensor&, Stream&) { refuse(); }
void* mutable_device_data(Tensor&, Stream&) { refuse(); }
Tensor to_device(const Tensor&, const std::shared_ptr<Stream>&) { refuse(); }
Tensor new_device_tensor(TensorDesc, const std::shared_ptr<Stream>&) { refuse(); }

}  // namespace camlucida
