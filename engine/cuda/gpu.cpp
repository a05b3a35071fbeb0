#include "engine/cuda/gpu.h"

#include "engine/error.h"

namespace camlucida {
namespace {

DeviceBuffer allocate_for(Gpu& gpu, size_t bytes, const void* queue) {
  std::byte* data = gpu.allocator().allocate(bytes, queue);
  if (data == nullptr) {
    throw Error(ErrorKind::kResource,
                "GPU " + std::to_string(gpu.properties().index) + " (" + gpu.properties().name +
                    ") has no memory for " + std::to_string((bytes >> 20) + 1) + " MiB more; " +
                    std::to_string(gpu.allocator().used_bytes() >> 20) + " MiB are in use here",
                "use a smaller batch or input");
  }
  return DeviceBuffer(gpu.shared_from_this(), queue, data, bytes);
}

}  // namespace

DeviceBuffer Gpu::upload(const void* host, size_t bytes) {
  DeviceBuffer buffer = allocate_for(*this, bytes, nullptr);
  copy_to(buffer.data(), host, bytes);
  return buffer;
}

DeviceBuffer Stream::allocate(size_t bytes) { return allocate_for(gpu(), bytes, this); }

}  // namespace camlucida
