#include <algorithm>

#include "layers/conv/conv_case.h"

namespace camlucida {

std::optional<ConvCase> ConvCase::of(const KernelCase& c, std::string& reason, bool any_weights) {
  const auto no = [&reason](const char* why) {
    reason = why;
    return std::nullopt;
  };
  const Node& node = c.node;
  const bool fused_port_2 =
      std::any_of(node.epilogues.begin(), node.epilogues.end(),
                  [](const Epilogue& epilogue) { return epilogue.operand == 2; });
  const bool has_bias = c.has(2) && !fused_port_2;
  if (!c.all_float32()) return no("not float32");
  const bool constant =
      c.constant(1) != nullptr && (!has_bias || c.backward || c.constant(2) != nullptr);
  if (!constant && !any_weights) {
    return no("weights are not constant");
  }
  ConvCase result;
  const bool transpose = node.layer->name == "ConvTranspose";
  if (transpose) {
    result.geometry =
        conv_transpose_geometry(node.attributes.as<ConvTransposeAttributes>(), c.in(0), c.in(1));
  } else {
    result.geometry = conv_geometry(node.attributes.as<ConvAttributes>(), c.in(0), c.in(1));
  }
  result.adjoint = transpose != c.backward;
  if (c.constant(1) != nullptr) result.weight = c.constant(1)->floats();
  if (c.backward) {
    if (!node.epilogues.empty()) return no("fused operations have no joint gradient");
    if (c.wanted.empty() || !c.wanted[0] || !c.outputs[0].present) return no("no gradient wanted");
    if (std::any_of(c.wanted.begin() + 1, c.wanted.end(), [](bool w) { return w; })) {
      return no("gradient of the weights");
    }
    result.epilogue = *FusedEpilogue::of(c);
    return result;
  }
  if (has_bias) result.bias_port = 2;
  if (has_bias && c.constant(2) != nullptr) result.bias = c.constant(2)->floats();
  const std::optional<FusedEpilogue> epilogue = FusedEpilogue::of(c);
  if (!epilogue) return no("this order of fused operations");
  result.epilogue = *epilogue;
  return result;
}

ConvCase ConvCase::prepared(const KernelCase& c, const Offer& offer) {
  std::string reason;
  ConvCase result = *of(c, reason, /*any_weights=*/true);
  if (c.backward && !offer.does_tail) result.epilogue = {};
  return result;
}

LineMap ConvCase::lines(size_t axis) const {
  const Window& w = geometry.window;
  const auto make = adjoint ? LineMap::adjoint : LineMap::convolution;
  return make(w.input[axis], w.output[axis], w.kernel[axis], w.stride[axis], w.dilation[axis],
              w.pad_begin[axis]);
}

void set_conv_layouts(const KernelCase& c, Layout in, Layout out, Offer& offer) {
  if (c.backward) {
    offer.grad_outputs.assign(c.outputs.size(), in);
    offer.grad_inputs.assign(c.inputs.size(), Layout::kPlain);
    offer.grad_inputs[0] = out;
    // The saved values are not read: any layout they have will do.
    for (const KernelCase::Port& port : c.inputs) offer.inputs.push_back(port.layout);
    for (const KernelCase::Port& port : c.outputs) offer.outputs.push_back(port.layout);
    return;
  }
  offer.inputs.assign(c.inputs.size(), Layout::kPlain);
  offer.inputs[0] = in;
  for (const Epilogue& epilogue : c.node.epilogues) {
    if (epilogue.operand != kNone) offer.inputs[static_cast<size_t>(epilogue.operand)] = out;
  }
  offer.outputs.assign(c.outputs.size(), out);
}

}  // namespace camlucida
