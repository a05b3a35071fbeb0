#include "engine/cuda/device_tensor.h"

#include <atomic>
#include <mutex>
#include <vector>

#include "engine/error.h"

namespace camlucida {
namespace {

std::atomic<size_t> total_fetched{0};

class DeviceData final : public RemoteData {
 public:
  DeviceData(std::shared_ptr<Stream> stream, DeviceBuffer buffer, size_t offset, size_t bytes)
      : stream_(std::move(stream)), buffer_(std::move(buffer)), offset_(offset), bytes_(bytes) {}

  ~DeviceData() override {
    // The memory is reused in the order of its own stream: that has to wait for other readers.
    for (const std::weak_ptr<Stream>& weak : readers_) {
      const std::shared_ptr<Stream> reader = weak.lock();
      if (reader == nullptr) continue;
      try {
        stream_->wait_for(*reader);
      } catch (const Error&) {
        // The GPU has failed, which shows elsewhere, or the stream is recording, which it
        // remembers.
      }
    }
  }

  const void* host() override {
    const std::lock_guard lock(mutex_);
    if (copy_.empty() && bytes_ > 0) {
      // Rounded up to whole doubles, which are aligned for every type.
      std::vector<double> copy((bytes_ + sizeof(double) - 1) / sizeof(double));
      stream_->download(copy.data(), data(), bytes_);
      copy_ = std::move(copy);
      total_fetched += bytes_;
    }
    return copy_.data();
  }

  std::byte* data() const { return buffer_.data() + offset_; }
  const std::shared_ptr<Stream>& stream() const { return stream_; }

  void used_by(Stream& user) {
    if (&user == stream_.get()) return;
    const std::lock_guard lock(mutex_);
    user.wait_for(*stream_);
    for (const std::weak_ptr<Stream>& reader : readers_) {
      if (reader.lock().get() == &user) return;
    }
    readers_.push_back(user.weak_from_this());
  }

 private:
  std::shared_ptr<Stream> stream_;
  DeviceBuffer buffer_;
  size_t offset_;
  size_t bytes_;
  std::mutex mutex_;
  std::vector<double> copy_;
  std::vector<std::weak_ptr<Stream>> readers_;
};

DeviceData* data_of(const Tensor& tensor) {
  return dynamic_cast<DeviceData*>(tensor.remote().get());
}

}  // namespace

Tensor device_tensor(TensorDesc desc, std::shared_ptr<Stream> stream, DeviceBuffer buffer,
                     size_t offset) {
  const auto bytes = static_cast<size_t>(desc.bytes());
  return Tensor(std::move(desc),
                std::make_shared<DeviceData>(std::move(stream), std::move(buffer), offset, bytes));
}

Tensor new_device_tensor(TensorDesc desc, const std::shared_ptr<Stream>& stream) {
  DeviceBuffer buffer = stream->allocate(static_cast<size_t>(desc.bytes()));
  return device_tensor(std::move(desc), stream, std::move(buffer));
}

Tensor to_device(const Tensor& tensor, const std::shared_ptr<Stream>& stream) {
  if (on_device(tensor) && &stream_of(tensor)->gpu() == &stream->gpu()) return tensor;
  Tensor copy = new_device_tensor(tensor.desc(), stream);
  stream->upload(mutable_device_data(copy, *stream), tensor.raw(), tensor.bytes());
  return copy;
}

bool on_device(const Tensor& tensor) { return data_of(tensor) != nullptr; }

std::shared_ptr<Stream> stream_of(const Tensor& tensor) {
  const DeviceData* data = data_of(tensor);
  return data != nullptr ? data->stream() : nullptr;
}

const void* device_data(const Tensor& tensor, Stream& user) {
  DeviceData* data = data_of(tensor);
  if (data == nullptr || &data->stream()->gpu() != &user.gpu()) {
    throw Error(ErrorKind::kInternal, "a tensor that is not on this GPU was used on it");
  }
  data->used_by(user);
  return data->data() + tensor.remote_offset();
}

void* mutable_device_data(Tensor& tensor, Stream& user) {
  return const_cast<void*>(device_data(tensor, user));
}

size_t fetched_bytes() { return total_fetched; }

}  // namespace camlucida
