#pragma once

#include <optional>
#include <string>
#include <vector>

#include "layers/quantised/qlinear_case.h"
#include "layers/quantised/qlinear_conv.h"

namespace camlucida::quantised {

/// A QLinearConv as its kernels take it: constant 8-bit weights and parameters, at most two spatial
/// axes.
struct QLinearConvCase {
  ConvGeometry geometry;
  CodeCase codes;
  Grid weight_grid{{}, {}, DType::kUint8};

  /// nullopt with a reason if the kernels do not take it.
  static std::optional<QLinearConvCase> of(const KernelCase& c, std::string& reason) {
    using In = QLinearConvInputs;
    const auto no = [&reason](const char* why) {
      reason = why;
      return std::nullopt;
    };
    const std::optional<CodeCase> codes =
        CodeCase::of(c, In::kX, In::kXScale, In::kXZero, In::kYScale, In::kYZero, reason);
    if (!codes) return std::nullopt;
    for (const size_t i : {size_t{In::kWeight}, size_t{In::kWScale}, size_t{In::kWZero}}) {
      if (c.constant(i) == nullptr) return no("weights are not constant");
    }
    if (c.has(In::kBias) && c.constant(In::kBias) == nullptr) return no("bias is not constant");
    const DType type = c.inputs[In::kWeight].desc.dtype;
    if (size_of(type) != 1) return no("weights are not of 8 bits");
    QLinearConvCase result;
    result.geometry = conv_geometry(c.node.attributes.as<QuantisedConvAttributes>().conv,
                                    c.in(In::kX), c.in(In::kWeight));
    if (result.geometry.window.rank > 2) return no("three spatial axes");
    result.codes = *codes;
    result.weight_grid =
        Grid(c.constant(In::kWScale)->to_doubles(), c.constant(In::kWZero)->to_doubles(), type);
    return result;
  }

  /// Per output channel; zeros where the layer has none.
  std::vector<int64_t> bias(const KernelCase& c) const {
    if (c.has(QLinearConvInputs::kBias)) return c.constant(QLinearConvInputs::kBias)->to_ints();
    return std::vector<int64_t>(static_cast<size_t>(geometry.out_channels), 0);
  }
  /// What the sums of an output channel are multiplied by.
  float multiplier(int64_t channel) const {
    return requantisation(codes.x.scale(), weight_grid.scale(channel), codes.y.scale());
  }
};

}  // namespace camlucida::quantised
