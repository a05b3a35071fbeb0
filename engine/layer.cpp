#include "engine/layer.h"

#include <algorithm>

namespace camlucida {

bool Saves::reads_input(size_t i, const std::vector<bool>& wanted) const {
  if (inputs || !factors) return inputs;
  for (size_t k = 0; k < wanted.size(); ++k) {
    if (wanted[k] && k != i) return true;
  }
  return false;
}

const BackwardRule* LayerDef::rule(std::string_view rule_name) const {
  const auto found = rules.find(rule_name);
  return found == rules.end() ? nullptr : &found->second;
}

const RefFunction& LayerDef::backward_under(std::string_view rule_name) const {
  const BackwardRule* found = rule(rule_name);
  return found != nullptr ? found->backward : backward;
}

const Saves& LayerDef::saves_under(std::string_view rule_name) const {
  const BackwardRule* found = rule(rule_name);
  return found != nullptr && found->saves ? *found->saves : saves;
}

const TensorDesc& InferContext::input(int i) const {
  if (!has(i)) {
    throw Error(ErrorKind::kModel, "input " + std::to_string(i) + " is missing");
  }
  return *inputs[static_cast<size_t>(i)];
}

const Tensor* InferContext::constant(int i) const {
  return i < static_cast<int>(constants.size()) ? constants[static_cast<size_t>(i)] : nullptr;
}

std::vector<int64_t> InferContext::ints(int i, const char* what) const {
  if (!has(i)) throw Error(ErrorKind::kModel, std::string(what) + " is missing");
  const Tensor* tensor = constant(i);
  if (tensor == nullptr) {
    throw Error(ErrorKind::kUnsupported, std::string(what) + " is computed from the input data",
                "only shapes that follow from the input shape are supported");
  }
  return tensor->to_ints();
}

std::vector<int64_t> InferContext::ints_or(int i, const char* what,
                                           std::vector<int64_t> fallback) const {
  return has(i) ? ints(i, what) : std::move(fallback);
}

std::vector<double> InferContext::doubles_or(int i, const char* what,
                                             std::vector<double> fallback) const {
  if (!has(i)) return fallback;
  const Tensor* tensor = constant(i);
  if (tensor == nullptr) {
    throw Error(ErrorKind::kUnsupported, std::string(what) + " is computed from the input data",
                "only constant values are supported");
  }
  return tensor->to_doubles();
}

namespace {

template <class T>
const T* find(const NodeSource& source, const std::string& key) {
  const auto it = source.attributes.find(key);
  if (it == source.attributes.end()) return nullptr;
  const T* value = std::get_if<T>(&it->second);
  if (value == nullptr) {
    throw Error(ErrorKind::kModel, "attribute '" + key + "' has the wrong type",
                Error::Place{source.name, source.operation, source.opset});
  }
  return value;
}

template <class T>
T find_or(const NodeSource& source, const std::string& key, T fallback) {
  const T* value = find<T>(source, key);
  return value == nullptr ? std::move(fallback) : *value;
}

}  // namespace

int64_t NodeSource::integer(const std::string& key, int64_t fallback) const {
  return find_or<int64_t>(*this, key, fallback);
}
double NodeSource::number(const std::string& key, double fallback) const {
  return find_or<double>(*this, key, fallback);
}
std::string NodeSource::text(const std::string& key, const std::string& fallback) const {
  return find_or<std::string>(*this, key, fallback);
}
std::vector<int64_t> NodeSource::integers(const std::string& key,
                                          std::vector<int64_t> fallback) const {
  return find_or<std::vector<int64_t>>(*this, key, std::move(fallback));
}
std::vector<double> NodeSource::numbers(const std::string& key,
                                        std::vector<double> fallback) const {
  return find_or<std::vector<double>>(*this, key, std::move(fallback));
}
const Tensor* NodeSource::tensor(const std::string& key) const { return find<Tensor>(*this, key); }

Error NodeSource::unsupported(const std::string& what, const std::string& nearest) const {
  return Error(ErrorKind::kUnsupported, what, Error::Place{name, operation, opset},
               nearest.empty() ? "" : "nearest supported form: " + nearest);
}

void check_inputs(const LayerDef& layer, const std::vector<bool>& present) {
  size_t required = layer.examples.empty() ? 0 : SIZE_MAX;
  for (const Example& example : layer.examples) {
    required = std::min(required, example.inputs.size());
  }
  if (layer.variadic) required = std::min<size_t>(required, 1);
  for (size_t i = 0; i < required; ++i) {
    bool optional = false;
    for (const Example& example : layer.examples) optional |= example.inputs[i].absent;
    if (optional || (i < present.size() && present[i])) continue;
    throw Error(ErrorKind::kModel, "input " + std::to_string(i) + " is missing",
                "the model file is malformed");
  }
}

std::vector<TensorDesc> same_as_input(const InferContext& context) { return {context.input(0)}; }

std::vector<TensorDesc> broadcast_of_inputs(const InferContext& context) {
  TensorDesc result = context.input(0);
  for (int i = 1; i < context.input_count(); ++i) {
    if (context.has(i)) result.shape = broadcast(result.shape, context.shape(i));
  }
  return {result};
}

}  // namespace camlucida
