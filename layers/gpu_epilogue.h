#pragma once

#include <limits>
#include <optional>
#include <string>

#include "engine/cuda/gpu_kernel.h"
#include "layers/activation/portable_table.h"

/// Node::epilogues as GPU kernels apply them to a sum before they store it:
///
///     y = sum + bias[channel];   add_first: y += addend;   y = f(y);   !add_first: y += addend
///
/// where each part may be missing. In a kernel's prepare and run:
///
///     std::string reason;
///     std::optional<GpuEpilogue> epilogue = make_gpu_epilogue(kernel_case, reason);
///     epilogue->bias = bias_.as<float>();                       // uploaded in prepare, or null
///     for_each(stream, count, Body{..., epilogue->bound(views, args)});
///
/// The addend lies as the Offer says for its input; give it the output's layout, so that the offset
/// of an element in the output is its offset in the addend.
namespace camlucida {

struct GpuEpilogue {
  const float* bias = nullptr;  ///< one number for each channel, or null
  View addend;                  ///< data null: none
  int addend_input = kNone;     ///< index of the node input that is added
  bool add_first = true;
  int row = activation::kNoRow;  ///< f, if it is not a clamp: a row of the activation table
  float parameters[4] = {0, 0, 0, 0};
  float low = -std::numeric_limits<float>::infinity();  ///< f, if it is a clamp
  float high = std::numeric_limits<float>::infinity();

  /// With the addend's buffer in this run.
  GpuEpilogue bound(const PortViews& views, const KernelArgs& args) const {
    GpuEpilogue result = *this;
    if (addend_input != kNone) result.addend = views.input(static_cast<size_t>(addend_input), args);
    return result;
  }

  /// `channel` is not looked at without bias, `addend_offset` (in elements) without addend.
  CAMLUCIDA_PORTABLE float apply(float value, int64_t channel, int64_t addend_offset) const {
    if (bias != nullptr) value += bias[channel];
    const float term = addend.data != nullptr ? addend.read(addend_offset) : 0.0f;
    if (add_first) value += term;
    value = function(value);
    return add_first ? value : value + term;
  }

  /// f(x). NaN stays NaN.
  CAMLUCIDA_PORTABLE float function(float x) const {
    if (row == activation::kRowOf<activation::rows::Silu>) {  // behind most modern kernels
      return activation::rows::Silu::value(activation::Tag{}, x, parameters);
    }
    if (row != activation::kNoRow) return activation::value_of_row(row, x, parameters);
    const float raised = x < low ? low : x;
    return raised > high ? high : raised;
  }
};

/// The epilogue of a forward case, without bias; one that does nothing if the node has none.
/// Nullopt, with the reason, if its epilogues have another form, f is not in the activation table
/// or the addend has another shape or type than output 0.
inline std::optional<GpuEpilogue> make_gpu_epilogue(const KernelCase& kernel_case,
                                                    std::string& reason) {
  GpuEpilogue result;
  bool has_function = false;
  for (const Epilogue& epilogue : kernel_case.node.epilogues) {
    if (epilogue.operand != kNone) {
      const auto port = static_cast<size_t>(epilogue.operand);
      if (result.addend_input != kNone || !kernel_case.has(port) ||
          kernel_case.constant(port) != nullptr ||
          kernel_case.inputs[port].desc != kernel_case.outputs[0].desc) {
        reason = "adds something else than a tensor like its output";
        return std::nullopt;
      }
      result.addend_input = epilogue.operand;
      result.add_first = !has_function;
      continue;
    }
    if (has_function) {
      reason = "two functions behind each other";
      return std::nullopt;
    }
    has_function = true;
    if (epilogue.unary.clamp) {
      result.low = epilogue.unary.clamp->low;
      result.high = epilogue.unary.clamp->high;
      continue;
    }
    result.row = activation::row_of(epilogue.layer->name);
    if (result.row == activation::kNoRow) {
      reason = "no GPU form of " + epilogue.layer->name;
      return std::nullopt;
    }
    for (int i = 0; i < 4; ++i) result.parameters[i] = epilogue.unary.parameters[i];
  }
  return result;
}

}  // namespace camlucida
