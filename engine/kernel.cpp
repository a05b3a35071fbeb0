#include "engine/kernel.h"

#include <algorithm>

namespace camlucida {

DType stored_type(const TensorDesc& desc, Layout layout, Precision precision, bool gradient) {
  if (desc.dtype != DType::kFloat32 || layout != Layout::kChannelsLast || gradient) {
    return desc.dtype;
  }
  switch (precision) {
    case Precision::kFp16:
      return DType::kFloat16;
    case Precision::kBf16:
      return DType::kBFloat16;
    case Precision::kFp32:
    case Precision::kTf32:
      return DType::kFloat32;
  }
  return DType::kFloat32;
}

bool KernelCase::all_float32() const {
  const auto fits = [](const Port& port) {
    return !port.present || port.desc.dtype == DType::kFloat32;
  };
  return std::all_of(inputs.begin(), inputs.end(), fits) &&
         std::all_of(outputs.begin(), outputs.end(), fits);
}

InferContext KernelCase::context(Graph::ContextStorage& storage) const {
  storage.inputs.clear();
  storage.constants.clear();
  for (const Port& port : inputs) {
    storage.inputs.push_back(port.present ? &port.desc : nullptr);
    storage.constants.push_back(port.present ? port.constant : nullptr);
  }
  return InferContext{node.attributes, storage.inputs, storage.constants,
                      static_cast<int>(outputs.size())};
}

}  // namespace camlucida
