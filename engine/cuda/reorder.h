#pragma once

#include <memory>

#include "engine/cuda/view.h"
#include "engine/kernel.h"

/// Moving values between the layouts that a GPU knows (engine/reorder.h does it for the processor).
namespace camlucida {

class Stream;

/// A step that moves a value between kPlain and kChannelsLast, the precision's type included: input
/// 0 → output 0, or with `gradient` gradient output 0 → gradient input 0, which is float32 in both.
/// Throws Error(kInternal) for more than kMaxAxes axes.
std::unique_ptr<PreparedKernel> prepare_gpu_reorder(const TensorDesc& desc, Layout from, Layout to,
                                                    Precision precision, bool gradient);

/// A step that adds two gradients of `count` elements: grad_outputs 0 + 1 → grad_inputs 0, float32.
std::unique_ptr<PreparedKernel> prepare_gpu_gradient_sum(int64_t count);

/// Writes a floating-point value, however it lies, as plain float32 [count of the view], and back.
/// Rounds to the type of `to`. Sends work to the stream only. All pointers are to its GPU's memory.
void convert_to_plain(Stream& stream, const View& from, float* to);
void convert_from_plain(Stream& stream, const float* from, const View& to);

}  // namespace camlucida
