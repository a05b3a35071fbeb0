#include "engine/kernel.h"

#include <algorithm>

namespace camlucida {

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
