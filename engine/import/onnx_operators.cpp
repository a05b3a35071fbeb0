#include "engine/import/onnx_operators.h"

#include <algorithm>

namespace camlucida {
namespace {

/// Nodes named per complaint, and complaints; a list of thousands helps nobody.
constexpr size_t kMaxNamedNodes = 32;
constexpr size_t kMaxGroups = 100;

constexpr const char* kNearest = "nearest supported form: ";
constexpr const char* kFloatModel = "the float model this one was quantised from";
constexpr const char* kUnrolled = "a model without loops or recurrence";
constexpr const char* kEndBefore = "the model cut before this node, with its input as output";
constexpr const char* kRewritten =
    "the same computation written with operators that `camlucida operators` lists";

const std::map<std::string, const char*>& nearest_forms() {
  static const std::map<std::string, const char*> kForms = {
      {"ArgMax", kEndBefore},      {"ArgMin", kEndBefore},
      {"Compress", kEndBefore},    {"GRU", kUnrolled},
      {"LSTM", kUnrolled},         {"Loop", kUnrolled},
      {"Multinomial", kEndBefore}, {"NonMaxSuppression", kEndBefore},
      {"NonZero", kEndBefore},     {"RNN", kUnrolled},
      {"Scan", kUnrolled},         {"TopK", kEndBefore},
      {"Unique", kEndBefore},
  };
  return kForms;
}

std::string range(const OnnxOperator& op) {
  const int64_t last = op.last_opset >= kWrittenAgainst ? kNewestOpset : op.last_opset;
  return std::to_string(op.first_opset) + " to " + std::to_string(last);
}

std::string nearest_form(const Registry& registry, const std::string& domain,
                         const std::string& operation) {
  const auto it = nearest_forms().find(operation);
  if (it != nearest_forms().end()) return it->second;
  if (!domain.empty() && !registry.onnx("", operation).empty()) {
    return operation + " of domain ai.onnx";
  }
  // Variants of an operator for one runtime or one number format carry its name behind a prefix.
  for (const std::string prefix : {"QLinear", "Fused", "Nhwc", "Skip", "Bias", "Fast"}) {
    if (operation.rfind(prefix, 0) != 0) continue;
    const std::string base = operation.substr(prefix.size());
    if (prefix == "QLinear") return kFloatModel;
    if (!registry.onnx("", base).empty()) return base + " of domain ai.onnx";
  }
  return kRewritten;
}

}  // namespace

std::string qualified_name(const std::string& domain, const std::string& operation) {
  return domain.empty() ? operation : domain + "." + operation;
}

Registry::OnnxEntry find_operator(const Registry& registry, const std::string& domain,
                                  const std::string& operation, int64_t opset) {
  const std::vector<Registry::OnnxEntry> entries = registry.onnx(domain, operation);
  const auto fail = [](const std::string& what, const std::string& nearest) {
    return Error(ErrorKind::kUnsupported, what, kNearest + nearest);
  };
  if (entries.empty()) {
    throw fail("not implemented", nearest_form(registry, domain, operation));
  }
  for (const Registry::OnnxEntry& entry : entries) {
    if (opset >= entry.op->first_opset && opset <= entry.op->last_opset) return entry;
  }
  const auto newest = std::max_element(
      entries.begin(), entries.end(),
      [](const auto& a, const auto& b) { return a.op->last_opset < b.op->last_opset; });
  const bool open_ended = newest->op->last_opset >= kWrittenAgainst;
  if (domain.empty() && open_ended && opset >= newest->op->first_opset && opset <= kNewestOpset) {
    return *newest;
  }
  std::string ranges;
  for (const Registry::OnnxEntry& entry : entries) {
    ranges += (ranges.empty() ? "" : ", ") + range(*entry.op);
  }
  throw fail("not implemented for this operator set", operation + " of opset " + ranges);
}

ReadNode read_node(const Registry::OnnxEntry& entry, const NodeSource& source,
                   const std::vector<ValueId>& given,
                   const std::function<ValueId(Tensor)>& add_constant) {
  const Reading reading = entry.op->read(source);
  Node made{.name = source.name,
            .layer = entry.layer,
            .attributes =
                reading.attributes.fields().empty() ? entry.layer->prototype : reading.attributes,
            .operation = source.operation,
            .opset = source.opset};
  if (!reading.inputs) {
    made.inputs = given;
  } else {
    for (const InputRef& input : *reading.inputs) {
      if (input.constant.defined()) {
        made.inputs.push_back(add_constant(input.constant));
      } else {
        const auto index = static_cast<size_t>(input.index);
        made.inputs.push_back(input.index >= 0 && index < given.size() ? given[index] : kNone);
      }
    }
  }
  while (!made.inputs.empty() && made.inputs.back() == kNone) made.inputs.pop_back();
  return {std::move(made), reading.output_count};
}

void Unsupported::add(const Error::Place& place, const Error& error) {
  Key key{place.operation, place.opset, error.message(),
          error.hint().empty() ? std::string(kNearest) + kRewritten : error.hint()};
  const auto [it, inserted] = groups_.emplace(key, Group{});
  if (inserted) order_.push_back(std::move(key));
  if (it->second.count++ < kMaxNamedNodes) it->second.nodes.push_back(place.node);
}

Error Unsupported::error(const std::string& file) const {
  std::set<std::string> operators;
  std::string list;
  for (size_t k = 0; k < order_.size(); ++k) {
    const auto& [operation, opset, what, hint] = order_[k];
    const Group& group = groups_.at(order_[k]);
    operators.insert(operation);
    if (k >= kMaxGroups) continue;
    list += (list.empty() ? "" : "; ") + operation + " (node";
    if (group.count > 1) list += "s";
    for (size_t i = 0; i < group.nodes.size(); ++i) {
      list += (i == 0 ? " '" : ", '") + group.nodes[i] + "'";
    }
    if (group.count > group.nodes.size()) {
      list += " and " + std::to_string(group.count - group.nodes.size()) + " more";
    }
    if (opset > 0) list += ", opset " + std::to_string(opset);
    list += "): " + what + ", " + hint;
  }
  if (order_.size() > kMaxGroups) {
    list += "; and " + std::to_string(order_.size() - kMaxGroups) + " more";
  }
  return Error(ErrorKind::kUnsupported,
               file + ": " + std::to_string(operators.size()) +
                   (operators.size() == 1 ? " operator is" : " operators are") +
                   " not supported: " + list);
}

}  // namespace camlucida
