#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/cuda/device_tensor.h"
#include "engine/error.h"

namespace camlucida::gpu {

/// What one function of this folder does on a stream: gives the addresses of what it reads and
/// makes what it writes. Host tensors that are read are uploaded. Memory of its own is given back
/// on destruction, in the order of the stream.
class Operation {
 public:
  explicit Operation(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}

  Stream& stream() const { return *stream_; }

  template <class T = float>
  const T* read(const Tensor& tensor) {
    if (tensor.dtype() != dtype_of<T>()) {
      throw Error(ErrorKind::kInternal, "a tensor of " + std::string(name_of(tensor.dtype())) +
                                            " was used as " + std::string(name_of(dtype_of<T>())));
    }
    return static_cast<const T*>(address(tensor));
  }
  /// Whatever its type.
  const void* address(const Tensor& tensor) {
    uploaded_.push_back(to_device(tensor, stream_));
    return device_data(uploaded_.back(), *stream_);
  }
  /// A copy of host values.
  template <class T>
  const T* upload(std::span<const T> values) {
    T* copy = scratch<T>(std::ssize(values));
    stream_->upload(copy, values.data(), values.size_bytes());
    return copy;
  }

  Tensor make(Shape shape, DType type = DType::kFloat32) const {
    return new_device_tensor({type, std::move(shape)}, stream_);
  }
  template <class T = float>
  T* write(Tensor& tensor) const {
    return static_cast<T*>(mutable_device_data(tensor, *stream_));
  }
  template <class T>
  T* scratch(int64_t count) {
    scratch_.push_back(stream_->allocate(static_cast<size_t>(count) * sizeof(T)));
    return scratch_.back().as<T>();
  }

 private:
  std::shared_ptr<Stream> stream_;
  std::vector<Tensor> uploaded_;
  std::vector<DeviceBuffer> scratch_;
};

}  // namespace camlucida::gpu
