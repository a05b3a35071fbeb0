#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/tensor.h"

/// Convolutions by cuDNN, without its types: a build without CUDA and an emulated GPU refuse them
/// with the reason.
namespace camlucida {

class Gpu;
class Stream;

enum class DnnActivation : uint8_t {
  kIdentity,
  kRelu,  ///< max(x, 0), and not above `parameter` unless that is 0
  kSigmoid,
  kTanh,
  kSwish,  ///< x * sigmoid(parameter * x)
  kGelu,   ///< x * normal distribution(x), exactly
};

/// What is done to the sums of a forward convolution before they are stored:
///
///     y = sum + bias;   addend_first: y += addend;   y = f(y);   !addend_first: y += addend
///
/// On the way back there are an addend and a mask only:
///
///     dx = sum + addend;   dx = source > 0 ? dx : 0
struct DnnEpilogue {
  bool bias = false;
  bool addend = false;
  bool addend_first = true;
  DnnActivation activation = DnnActivation::kIdentity;
  float parameter = 0;
  bool mask = false;
  DType mask_type = DType::kFloat32;  ///< of the source, which lies as dx

  bool empty() const { return !bias && !addend && activation == DnnActivation::kIdentity && !mask; }
  bool has_limit() const { return activation == DnnActivation::kRelu && parameter > 0; }
  /// Type of the bias behind a convolution of `type`: cuDNN has kernels ready for one in the type
  /// of the rest, but where there is a limit takes a float32 one only.
  DType bias_type(DType type) const { return has_limit() ? DType::kFloat32 : type; }
  bool operator==(const DnnEpilogue&) const = default;
};

/// A convolution (correlation) from x [batch, in_channels, input...] with the weights
/// [out_channels, in_channels / groups, kernel...] to y [batch, out_channels, output...], or the
/// way back: dx from dy. All lie channels-last: x, y as [batch, spatial..., channels], the weights
/// as [out_channels, kernel..., in_channels / groups]. There are always three spatial axes; extents
/// that are not used are 1 and lead.
struct DnnConvProblem {
  using Extents = std::array<int64_t, 3>;

  bool backward = false;  ///< dx from dy
  int64_t batch = 1;
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  int64_t groups = 1;
  Extents input{1, 1, 1};
  Extents output{1, 1, 1};
  Extents kernel{1, 1, 1};
  Extents stride{1, 1, 1};
  Extents dilation{1, 1, 1};
  Extents pad_begin{0, 0, 0};
  DType type = DType::kFloat32;  ///< of all but bias and source: float32, float16 or bfloat16
  /// For float32: whether products may be rounded to TF32. Sums are float32 in any case.
  bool tf32 = false;
  DnnEpilogue epilogue;

  /// The problem in one line without spaces at the ends: what tuning results are kept under.
  std::string key() const;
  /// Padding that the last window reads behind the input along an axis.
  int64_t pad_end(size_t axis) const {
    const int64_t reach = (kernel[axis] - 1) * dilation[axis] + 1;
    return std::max<int64_t>(
        0, (output[axis] - 1) * stride[axis] + reach - input[axis] - pad_begin[axis]);
  }
  /// Float32 numbers are not rounded before they are multiplied.
  bool is_strict() const { return type == DType::kFloat32 && !tf32; }
  /// Spatial axes that cuDNN is told of: 2, or 3 if the first of the three is used.
  int spatial_axes() const;
};

/// Addresses of a run, on the GPU, null where the problem has no such part. They are aligned to 16
/// bytes; in, addend and out to a smaller power of two if only that divides the size of x, y.
struct DnnConvArgs {
  const void* in = nullptr;  ///< x, or dy
  const void* weight = nullptr;
  const void* bias = nullptr;  ///< [out_channels], of type epilogue().bias_type(problem's type)
  const void* addend = nullptr;
  const void* source = nullptr;
  void* out = nullptr;      ///< y, or dx
  void* scratch = nullptr;  ///< scratch_bytes()
};

/// A planned convolution. Thread-safe, shared by all that have the same problem.
class DnnConv {
 public:
  virtual ~DnnConv() = default;

  /// Sends the work. A failure shows at the stream's next check().
  virtual void run(Stream& stream, const DnnConvArgs& args) const noexcept = 0;
  virtual size_t scratch_bytes() const = 0;
  /// The part of the epilogue that run() does. What is missing comes behind it, to be done in
  /// place.
  virtual const DnnEpilogue& epilogue() const = 0;
  /// For plans: the engine and the time it took when it was chosen.
  virtual std::string description() const = 0;
};

/// Finds the fastest way that cuDNN has for the problem on this GPU, by trying out what it
/// proposes: takes up to some seconds when a problem is met first, then nothing (the results are
/// kept in the process and in a TuningCache). Only ways that give the same bits in every run. Null
/// if there is none; `reason` then says why. Thread-safe.
std::shared_ptr<const DnnConv> plan_dnn_conv(Gpu& gpu, const DnnConvProblem& problem,
                                             std::string& reason);

}  // namespace camlucida
