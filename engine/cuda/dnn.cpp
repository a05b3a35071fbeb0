#include "engine/cuda/dnn.h"

#include <sstream>

namespace camlucida {
namespace {

void write(std::ostream& out, const char* name, const DnnConvProblem::Extents& extents) {
  out << ' ' << name << extents[0] << 'x' << extents[1] << 'x' << extents[2];
}

}  // namespace

int DnnConvProblem::spatial_axes() const {
  return input[0] == 1 && output[0] == 1 && kernel[0] == 1 && pad_begin[0] == 0 ? 2 : 3;
}

std::string DnnConvProblem::key() const {
  std::ostringstream out;
  out << (backward ? "conv_to_data " : "conv ") << name_of(type) << (tf32 ? " tf32" : "") << " n"
      << batch << " c" << in_channels << " k" << out_channels << " g" << groups;
  write(out, "i", input);
  write(out, "o", output);
  write(out, "w", kernel);
  write(out, "s", stride);
  write(out, "d", dilation);
  write(out, "p", pad_begin);
  if (epilogue.bias) out << " bias";
  if (epilogue.addend && epilogue.addend_first) out << " add";
  switch (epilogue.activation) {
    case DnnActivation::kIdentity:
      break;
    case DnnActivation::kRelu:
      out << " relu" << epilogue.parameter;
      break;
    case DnnActivation::kSigmoid:
      out << " sigmoid";
      break;
    case DnnActivation::kTanh:
      out << " tanh";
      break;
    case DnnActivation::kSwish:
      out << " swish" << epilogue.parameter;
      break;
    case DnnActivation::kGelu:
      out << " gelu";
      break;
  }
  if (epilogue.addend && !epilogue.addend_first) out << " add";
  if (epilogue.mask) out << " mask " << name_of(epilogue.mask_type);
  return out.str();
}

}  // namespace camlucida
