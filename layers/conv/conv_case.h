#pragma once

#include <optional>
#include <string>

#include "engine/cpu/direct_conv.h"
#include "engine/cpu/epilogue.h"
#include "engine/kernel.h"
#include "layers/conv/conv.h"

namespace camlucida {

/// What every CPU convolution kernel asks of its case. Conv forward and ConvTranspose backward
/// compute the convolution of ConvGeometry, from its input to its output; Conv backward and
/// ConvTranspose forward compute the adjoint, from its output to its input.
struct ConvCase {
  ConvGeometry geometry;
  bool adjoint = false;
  const float* weight = nullptr;  ///< [out_channels, group_in, kernel...]; null = not constant
  int bias_port = kNone;          ///< kNone = no bias, always so in backward
  const float* bias = nullptr;    ///< null = none, or not constant
  FusedEpilogue epilogue;         ///< in backward the tail

  /// Channels and extents of what is read and written.
  int64_t channels_in() const { return adjoint ? geometry.out_channels : geometry.in_channels; }
  int64_t channels_out() const { return adjoint ? geometry.in_channels : geometry.out_channels; }
  const Window::Extents& in() const {
    return adjoint ? geometry.window.output : geometry.window.input;
  }
  const Window::Extents& out() const {
    return adjoint ? geometry.window.input : geometry.window.output;
  }
  LineMap lines(size_t axis) const;  ///< what each output line along the axis reads

  /// nullopt with a `reason` if no float32 kernel applies, or none for constant weights unless
  /// `any_weights`. A gradient to the weights is never computed by a kernel.
  static std::optional<ConvCase> of(const KernelCase& c, std::string& reason,
                                    bool any_weights = false);
  /// The case of an offer that was made for it: without the tail if the offer leaves that out.
  static ConvCase prepared(const KernelCase& c, const Offer& offer);
};

/// Layouts of an Offer that reads its data in `in`, writes in `out` and adds in `out`.
void set_conv_layouts(const KernelCase& c, Layout in, Layout out, Offer& offer);

/// The data pointers of a run, the same for forward and backward.
struct ConvData {
  const float* in;
  float* out;
  EpilogueOperands operands;

  ConvData(const KernelArgs& args, bool backward, const FusedEpilogue& epilogue)
      : in(backward ? args.grad_output() : args.input(0)),
        out(backward ? args.grad_input() : args.output()),
        operands(epilogue.operands(args, backward)) {}
};

}  // namespace camlucida
