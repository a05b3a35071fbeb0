#pragma once

#include <limits>
#include <optional>
#include <string>

#include "engine/cuda/gpu_kernel.h"
#include "layers/activation/portable_table.h"
#include "layers/gradient_tail.h"

/// Node::epilogues as GPU kernels apply them to a sum before they store it:
///
///     y = sum + bias[channel];   add_first: y += addend;   y = f(y);   !add_first: y += addend
///
/// where each part may be missing; in backward KernelCase::tail, with f' from the stored x:
///
///     dx = (sum + addend) * f'(x)
///
/// In a kernel's prepare and run:
///
///     std::string reason;
///     std::optional<GpuEpilogue> epilogue = make_gpu_epilogue(kernel_case, reason);
///     epilogue->bias = bias_.as<float>();                       // uploaded in prepare, or null
///     for_each(stream, count, Body{..., epilogue->bound(views, args)});
///
/// Addend and x lie as the Offer says for their ports; give them the layout of what is written, so
/// that the offset of an element there is its offset in them.
namespace camlucida {

struct GpuEpilogue {
  const float* bias = nullptr;  ///< one number for each channel, or null
  View addend;                  ///< data null: none
  int addend_input = kNone;     ///< index of the node input that is added, backward: grad_output
  bool add_first = true;
  int row = activation::kNoRow;  ///< f, if it is not a clamp: a row of the activation table
  float parameters[4] = {0, 0, 0, 0};
  float low = -std::numeric_limits<float>::infinity();  ///< f, if it is a clamp
  float high = std::numeric_limits<float>::infinity();
  bool backward = false;
  int slope_row = activation::kNoRow;  ///< f of a backward case, with `parameters`
  const void* source = nullptr;        ///< x of a backward case; null: no f
  DType source_type = DType::kFloat32;

  bool is_empty() const {
    return bias == nullptr && addend_input == kNone && row == activation::kNoRow &&
           low == -std::numeric_limits<float>::infinity() &&
           high == std::numeric_limits<float>::infinity() && slope_row == activation::kNoRow;
  }

  /// With the buffers of this run.
  GpuEpilogue bound(const PortViews& views, const KernelArgs& args) const {
    GpuEpilogue result = *this;
    if (addend_input != kNone) {
      const auto port = static_cast<size_t>(addend_input);
      result.addend = backward ? views.grad_output(port, args) : views.input(port, args);
    }
    if (slope_row != activation::kNoRow) {
      result.source = args.inputs[0];
      result.source_type = views.inputs[0].type;
      // A bound of a clamp is met exactly by what was stored with the bound's own rounding.
      if (slope_row == activation::kRowOf<activation::rows::Clip>) {
        for (float& bound : result.parameters) bound = as_stored(bound, result.source_type);
      }
    }
    return result;
  }

  /// `channel` is not looked at without bias, `addend_offset` (in elements) without addend.
  CAMLUCIDA_PORTABLE float apply(float value, int64_t channel, int64_t addend_offset) const {
    if (bias != nullptr) value += bias[channel];
    const float term = addend.data != nullptr ? addend.read(addend_offset) : 0.0f;
    if (add_first) value += term;
    value = function(value);
    if (!add_first) value += term;
    return source != nullptr ? value * slope(load_float(source_type, source, addend_offset))
                             : value;
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

  /// f'(x) of a backward case from the stored y = f(...).
  CAMLUCIDA_PORTABLE float slope(float y) const {
    if (slope_row == activation::kRowOf<activation::rows::Relu>) {
      return activation::slope_of<activation::rows::Relu>(y, parameters);
    }
    return activation::slope_of_row(slope_row, y, parameters);
  }
};

/// Whether make_gpu_epilogue() of this backward case is its tail.
inline bool does_gpu_tail(const KernelCase& kernel_case) {
  const GradientTail& tail = kernel_case.tail;
  return !tail.empty() && kernel_case.inputs[0].desc.dtype == DType::kFloat32 &&
         (tail.function == nullptr ||
          activation::row_of(tail.function->layer->name) != activation::kNoRow);
}

/// Says so in an offer of a backward case that writes grad_input 0 in `layout`.
inline void offer_gpu_tail(const KernelCase& kernel_case, Layout layout, Offer& offer) {
  if (kernel_case.backward && does_gpu_tail(kernel_case)) offer_tail(kernel_case, layout, offer);
}

/// The tail of a backward case, or an epilogue that does nothing.
inline GpuEpilogue make_gpu_tail(const KernelCase& kernel_case) {
  GpuEpilogue result;
  result.backward = true;
  if (!does_gpu_tail(kernel_case)) return result;
  if (kernel_case.tail.addend) result.addend_input = static_cast<int>(kernel_case.outputs.size());
  if (kernel_case.tail.function != nullptr) {
    const Epilogue& function = *kernel_case.tail.function;
    result.slope_row = activation::row_of(function.layer->name);
    for (int i = 0; i < 4; ++i) result.parameters[i] = function.unary.parameters[i];
  }
  return result;
}

/// The epilogue of a case, without bias; one that does nothing if the node has none.
/// Nullopt, with the reason, if its epilogues have another form, f is not in the activation table
/// or the addend has another shape or type than output 0.
inline std::optional<GpuEpilogue> make_gpu_epilogue(const KernelCase& kernel_case,
                                                    std::string& reason) {
  if (kernel_case.backward) return make_gpu_tail(kernel_case);
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
