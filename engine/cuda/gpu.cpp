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

DeviceBuffer Stream::allocate(size_t bytes) {
  refuse_while_capturing("an allocation");
  return allocate_for(gpu(), bytes, this);
}

void Stream::refuse_while_capturing(const char* what) {
  if (!capturing_) return;
  const Error error(ErrorKind::kInternal,
                    std::string(what) + " on a GPU stream whose work is being recorded");
  if (!refused_) refused_ = error;
  throw error;
}

}  // namespace camlucida
