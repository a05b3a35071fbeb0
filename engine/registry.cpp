#include "engine/registry.h"

namespace camlucida {

const Registry& Registry::instance() {
  static const Registry registry = [] {
    Registry filled;
    register_all(filled);
    register_all_gpu(filled);
    return filled;
  }();
  return registry;
}

void Registry::add(LayerDef layer) {
  auto owned = std::make_unique<const LayerDef>(std::move(layer));
  if (!by_name_.emplace(owned->name, owned.get()).second) {
    throw Error(ErrorKind::kInternal, "layer '" + owned->name + "' is defined twice");
  }
  for (const OnnxOperator& op : owned->onnx) {
    onnx_.emplace(op.domain + ":" + op.name, OnnxEntry{owned.get(), &op});
  }
  layers_.push_back(std::move(owned));
}

void Registry::add(KernelDef kernel) {
  for (const auto& existing : kernels_) {
    if (existing->name == kernel.name) {
      throw Error(ErrorKind::kInternal, "kernel '" + kernel.name + "' is defined twice");
    }
  }
  kernels_.push_back(std::make_unique<const KernelDef>(std::move(kernel)));
}

const LayerDef* Registry::find(const std::string& layer_name) const {
  const auto it = by_name_.find(layer_name);
  return it == by_name_.end() ? nullptr : it->second;
}

const LayerDef& Registry::require(const std::string& layer_name) const {
  const LayerDef* layer = find(layer_name);
  if (layer == nullptr) {
    throw Error(ErrorKind::kInternal, "this build has no layer '" + layer_name + "'");
  }
  return *layer;
}

std::vector<Registry::OnnxEntry> Registry::onnx(const std::string& domain,
                                                const std::string& operation) const {
  std::vector<OnnxEntry> entries;
  const auto [first, last] = onnx_.equal_range(domain + ":" + operation);
  for (auto it = first; it != last; ++it) entries.push_back(it->second);
  return entries;
}

}  // namespace camlucida
