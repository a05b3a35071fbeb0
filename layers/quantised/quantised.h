#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/layer.h"

/// What the layers of quantised networks share. A tensor is held as codes q, integers of 8 (or 16)
/// bits that stand for the numbers scale * (q - zero_point); scale and zero point are inputs of the
/// layers, as in ONNX.
///
/// Forward, everything is exact: products of codes are summed in int32, and results are rounded
/// half to even and saturated to the range of the output's type. The values between the layers may
/// be held as codes or as the float32 numbers they stand for (LayerDef::codes): a layer tells by
/// the type of its data input, quantises numbers first, and computes on the same integers.
///
/// Backward, rounding has no derivative, so gradients go by the straight-through rule (Bengio,
/// Leonard, Courville 2013, arXiv 1308.3432, section 4): rounding counts as the identity, and a
/// layer has the dense float gradient of the float layer whose weights are the numbers its codes
/// stand for. Saturation does have a derivative: the gradient is zero outside the representable
/// range. QuantizeLinear judges by its input: it passes where the rounded input has a code of its
/// own. Layers that quantise what they computed (QLinear...) judge by the result: a code at an end
/// of the range counts as saturated, which is what a rectifier that was folded into the range
/// needs (result 0 of a range that starts at 0 is gradient 0). Scales and zero points count as
/// constants, also where the network computes them from its data.
namespace camlucida::quantised {

/// Attributes of layers that have no others.
struct QuantisedAttributes {
  bool numbers = false;  ///< writes float32 numbers instead of codes
  void fields(auto& visit) { visit("numbers", numbers); }
};

/// Integers of a type. Throws Error(kUnsupported) unless it has 8, 16 or 32 bits.
struct Range {
  int64_t low = 0;
  int64_t high = 255;

  static Range of(DType type) {
    switch (type) {
      case DType::kUint8:
        return {0, 255};
      case DType::kInt8:
        return {-128, 127};
      case DType::kUint16:
        return {0, 65535};
      case DType::kInt16:
        return {-32768, 32767};
      case DType::kInt32:
        return {INT32_MIN, INT32_MAX};
      default:
        throw Error(ErrorKind::kUnsupported, "codes of type " + std::string(name_of(type)),
                    "nearest supported form: uint8, int8, uint16 or int16");
    }
  }
  /// A NaN becomes the lower end.
  int64_t saturate(double value) const {
    if (!(value > static_cast<double>(low))) return low;
    if (value > static_cast<double>(high)) return high;
    return static_cast<int64_t>(value);
  }
  bool strictly_inside(int64_t code) const { return low < code && code < high; }
};

/// Sums keep their low 32 bits, as integer hardware does.
inline int64_t wrap32(int64_t sum) { return static_cast<int32_t>(static_cast<uint64_t>(sum)); }

/// Scales and zero points of a tensor's codes: one of each, or one per index of some axis.
class Grid {
 public:
  Grid(const std::vector<double>& scales, const std::vector<double>& zeros, DType type)
      : range_(Range::of(type)), scales_(scales.begin(), scales.end()), zeros_(zeros.size()) {
    for (size_t i = 0; i < zeros.size(); ++i) zeros_[i] = static_cast<int64_t>(zeros[i]);
    if (scales_.empty()) scales_ = {1};
    if (zeros_.empty()) zeros_ = {0};
  }
  /// From inputs of a layer; an input that is absent is scale 1 or zero point 0 of `fallback`.
  static Grid of(const RefContext& context, int scale, int zero_point,
                 DType fallback = DType::kUint8) {
    const auto list = [&](int i) {
      if (i < 0 || !context.has(i)) return std::vector<double>{};
      const RefTensor& tensor = context.inputs[static_cast<size_t>(i)];
      return std::vector<double>(tensor.data, tensor.data + tensor.count());
    };
    const bool given = zero_point >= 0 && context.has(zero_point);
    return {list(scale), list(zero_point),
            given ? context.inputs[static_cast<size_t>(zero_point)].dtype : fallback};
  }

  const Range& range() const { return range_; }
  float scale(int64_t channel = 0) const { return scales_[pick(scales_.size(), channel)]; }
  int64_t zero(int64_t channel = 0) const { return zeros_[pick(zeros_.size(), channel)]; }

  /// round(x / scale) + zero_point before saturation, in float32 as deployed networks compute it.
  double unsaturated(double x, int64_t channel = 0) const {
    return std::nearbyint(static_cast<float>(x) / scale(channel)) +
           static_cast<double>(zero(channel));
  }
  int64_t code(double x, int64_t channel = 0) const {
    return range_.saturate(unsaturated(x, channel));
  }
  double number(int64_t code, int64_t channel = 0) const {
    return static_cast<float>(code - zero(channel)) * scale(channel);
  }
  /// Code of a result in units of the output's scale, not yet rounded.
  int64_t rounded(double steps, int64_t channel = 0) const {
    return range_.saturate(std::nearbyint(steps) + static_cast<double>(zero(channel)));
  }

  /// Code of element i of a tensor that holds codes or numbers.
  int64_t read(const RefTensor& x, int64_t i, int64_t channel = 0) const {
    return x.dtype == DType::kFloat32 ? code(x[i], channel) : static_cast<int64_t>(x[i]);
  }
  int64_t read_centred(const RefTensor& x, int64_t i, int64_t channel = 0) const {
    return read(x, i, channel) - zero(channel);
  }
  void write(const RefTensor& y, int64_t i, int64_t code, int64_t channel = 0) const {
    y[i] = y.dtype == DType::kFloat32 ? number(code, channel) : static_cast<double>(code);
  }
  /// Whether the gradient passes the result that element i of `y` holds.
  bool passes(const RefTensor& y, int64_t i) const { return range_.strictly_inside(read(y, i)); }

 private:
  static size_t pick(size_t count, int64_t channel) {
    return count == 1 ? 0 : static_cast<size_t>(channel);
  }

  Range range_;
  std::vector<float> scales_;
  std::vector<int64_t> zeros_;
};

/// q - zero_point of all elements; `channel(i)` tells the index along the axis of the parameters.
template <class Channel>
std::vector<int64_t> centred_codes(const RefTensor& x, const Grid& grid, Channel channel) {
  std::vector<int64_t> codes(static_cast<size_t>(x.count()));
  for (int64_t i = 0; i < x.count(); ++i) {
    codes[static_cast<size_t>(i)] = grid.read_centred(x, i, channel(i));
  }
  return codes;
}
inline std::vector<int64_t> centred_codes(const RefTensor& x, const Grid& grid) {
  return centred_codes(x, grid, [](int64_t) { return 0; });
}

/// The gradient at the results that are not saturated, zero at the others.
inline std::vector<double> passed_gradient(const RefTensor& grad_y, const RefTensor& y,
                                           const Grid& grid) {
  std::vector<double> passed(static_cast<size_t>(grad_y.count()));
  for (int64_t i = 0; i < grad_y.count(); ++i) {
    passed[static_cast<size_t>(i)] = grid.passes(y, i) ? grad_y[i] : 0.0;
  }
  return passed;
}

// ---- Shapes and types --------------------------------------------------------------------------

/// Throws Error(kModel) unless input `i` is absent or has one element, or one per index of
/// `extent`.
inline void check_parameter(const InferContext& context, int i, int64_t extent = 1) {
  if (!context.has(i)) return;
  const Shape& shape = context.shape(i);
  if (shape.rank() <= 1 && (shape.count() == 1 || shape.count() == extent)) return;
  throw Error(ErrorKind::kModel, "scale or zero point " + shape.to_string() + " of input " +
                                     std::to_string(i) + " does not fit, expected 1" +
                                     (extent == 1 ? "" : " or " + std::to_string(extent)) +
                                     " elements");
}

/// Type of the codes whose zero point is input `i`.
inline DType code_type(const InferContext& context, int i) {
  const DType type = context.has(i) ? context.dtype(i) : DType::kUint8;
  Range::of(type);
  return type;
}

/// Throws Error(kModel) unless input `i` holds codes of the type of its zero point, or numbers.
inline void check_codes(const InferContext& context, int i, int zero_point) {
  const DType expected = code_type(context, zero_point);
  const DType found = context.dtype(i);
  if (found == expected || found == DType::kFloat32) return;
  throw Error(ErrorKind::kModel, "input " + std::to_string(i) + " has type " +
                                     std::string(name_of(found)) + " but its zero point " +
                                     std::string(name_of(expected)));
}

/// Output port of codes whose scale and zero point are inputs.
inline CodePort port(int index, int scale, int zero_point) {
  using Source = CodePort::Source;
  return {.index = index,
          .scale = scale < 0 ? Source{} : Source::input(scale),
          .zero_point = Source::input(zero_point)};
}

// ---- Examples ----------------------------------------------------------------------------------

inline ExampleInput scale_input(std::vector<double> values) {
  const auto count = static_cast<int64_t>(values.size());
  return {.shape = count == 1 ? Shape{} : Shape{count}, .constant = true, .values = values};
}
inline ExampleInput zero_input(std::vector<double> values, DType type = DType::kUint8) {
  const auto count = static_cast<int64_t>(values.size());
  return {.shape = count == 1 ? Shape{} : Shape{count},
          .dtype = type,
          .constant = true,
          .values = values};
}
/// Codes drawn from the whole range of the type.
inline ExampleInput code_input(Shape shape, DType type = DType::kUint8, bool constant = false) {
  const Range range = Range::of(type);
  return {.shape = std::move(shape),
          .dtype = type,
          .constant = constant,
          .low = static_cast<double>(range.low),
          .high = static_cast<double>(range.high)};
}
inline ExampleInput number_input(Shape shape, double low, double high) {
  return {.shape = std::move(shape), .low = low, .high = high};
}
/// Rounding has no derivative that differences could show.
inline Example rounding(Example example) {
  example.gradient = false;
  return example;
}

}  // namespace camlucida::quantised
