#pragma once

#include <optional>
#include <string>

#include "engine/kernel.h"
#include "layers/quantised/quantised.h"

namespace camlucida::quantised {

/// The data ports of a layer as its kernels take them: 8-bit codes, or the float32 numbers they
/// stand for, with one constant scale and zero point per tensor.
struct CodeCase {
  Grid x{{}, {}, DType::kUint8};
  Grid y{{}, {}, DType::kUint8};
  DType x_type = DType::kUint8;  ///< of the port: codes or float32
  bool writes_numbers = false;

  /// Parameters of the codes of a port; nullopt with a reason if they are not for kernels.
  static std::optional<Grid> grid(const KernelCase& c, int scale, int zero, std::string& reason) {
    const auto at = [](int i) { return static_cast<size_t>(i); };
    const Tensor* scales = c.constant(at(scale));
    const Tensor* zeros = c.constant(at(zero));
    if (scales == nullptr || (c.has(at(zero)) && zeros == nullptr)) {
      reason = "scale or zero point is not constant";
      return std::nullopt;
    }
    const DType type = zeros == nullptr ? DType::kUint8 : zeros->dtype();
    if (scales->count() != 1 || (zeros != nullptr && zeros->count() != 1) || size_of(type) != 1) {
      reason = "codes are not of 8 bits with one scale";
      return std::nullopt;
    }
    return Grid(scales->to_doubles(),
                zeros == nullptr ? std::vector<double>{} : zeros->to_doubles(), type);
  }

  /// Of input `x` and output 0.
  static std::optional<CodeCase> of(const KernelCase& c, int x, int x_scale, int x_zero,
                                    int y_scale, int y_zero, std::string& reason) {
    const std::optional<Grid> x_grid = grid(c, x_scale, x_zero, reason);
    const std::optional<Grid> y_grid = grid(c, y_scale, y_zero, reason);
    if (!x_grid || !y_grid) return std::nullopt;
    if (c.constant(static_cast<size_t>(x)) != nullptr) {
      reason = "the data is constant";
      return std::nullopt;
    }
    return CodeCase{*x_grid, *y_grid, c.inputs[static_cast<size_t>(x)].desc.dtype,
                    c.outputs[0].desc.dtype == DType::kFloat32};
  }
};

}  // namespace camlucida::quantised
