#pragma once

#include <memory>

#include "engine/cuda/gpu.h"
#include "engine/tensor.h"

/// Tensors whose data lie on a GPU, plain row-major in their own type. Host code may read them like
/// any other (Tensor fetches a copy); what follows serves code that goes on working on the GPU.
namespace camlucida {

/// `buffer` holds the data from byte `offset` on, written by work sent to `stream`.
Tensor device_tensor(TensorDesc desc, std::shared_ptr<Stream> stream, DeviceBuffer buffer,
                     size_t offset = 0);

/// An uninitialised tensor to be written by work sent to `stream`; its address is device_data().
/// Throws Error(kResource) when the GPU has no memory for it.
Tensor new_device_tensor(TensorDesc desc, const std::shared_ptr<Stream>& stream);

/// A copy of `tensor` on the stream's GPU, or `tensor` itself if it lies there.
Tensor to_device(const Tensor& tensor, const std::shared_ptr<Stream>& stream);

bool on_device(const Tensor& tensor);

/// The stream whose work wrote the tensor; null for a host tensor.
std::shared_ptr<Stream> stream_of(const Tensor& tensor);

/// Address of the first element. What is sent to `user` from now on finds the data complete, and
/// the memory is not reused before it is done. Throws Error(kInternal) for a host tensor or another
/// GPU than the user's.
const void* device_data(const Tensor& tensor, Stream& user);
/// The same to write to, for a tensor from new_device_tensor that nobody else has read yet.
void* mutable_device_data(Tensor& tensor, Stream& user);

/// Bytes that were fetched from GPUs by this process so far through tensors.
size_t fetched_bytes();

}  // namespace camlucida
