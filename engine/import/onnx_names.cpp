#include "engine/import/onnx_names.h"

namespace camlucida {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// Deeper paths are no module names, and a long list of their beginnings would take a lot of
/// memory.
constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxLength = 1024;

std::string after_last(const std::string& text, char separator) {
  const size_t at = text.rfind(separator);
  return at == std::string::npos ? text : text.substr(at + 1);
}

}  // namespace

std::vector<std::string> modules_from_node_name(const std::string& name) {
  if (name.size() > kMaxLength) return {};
  std::vector<std::string> parts = split(name, '/');
  if (parts.size() < 2 || parts.size() > kMaxDepth) return {};
  parts.pop_back();  // the operator
  std::vector<std::string> modules;
  const bool torch = name.front() == '/';
  std::string path;
  std::string previous;
  for (const std::string& part : parts) {
    if (path.empty()) {
      path = part;
    } else if (!torch) {
      path += "/" + part;
    } else if (part.rfind(previous + ".", 0) == 0) {
      // An element of a container repeats the container's name: "layer4", then "layer4.2".
      path += part.substr(previous.size());
    } else {
      path += "." + part;
    }
    previous = part;
    modules.push_back(path);
  }
  return modules;
}

std::vector<std::string> modules_from_scopes(const std::string& scopes) {
  std::vector<std::string> modules;
  for (size_t open = scopes.find('\''); open != std::string::npos; open = scopes.find('\'', open)) {
    const size_t close = scopes.find('\'', open + 1);
    if (close == std::string::npos) break;
    modules.push_back(scopes.substr(open + 1, close - open - 1));
    open = close + 1;
  }
  if (!modules.empty()) modules.pop_back();  // the operator
  std::erase(modules, "");                   // the model itself
  return modules;
}

void ModuleNames::add(const schema::NodeProto& node, const std::string& name, ValueId output) {
  if (!name.empty()) nodes_.emplace(name, output);
  std::vector<std::string> modules;
  for (const auto& entry : node.metadata_props()) {
    if (entry.key() == "pkg.torch.onnx.name_scopes") modules = modules_from_scopes(entry.value());
  }
  if (modules.empty()) modules = modules_from_node_name(name);
  for (const std::string& module : modules) modules_[module] = output;
  if (modules.empty() || modules.back().find('/') == std::string::npos) return;
  const auto [it, inserted] =
      path_of_leaf_.emplace(after_last(modules.back(), '/'), modules.back());
  if (!inserted && it->second != modules.back()) it->second.clear();
}

void ModuleNames::add_exact(const std::string& name, ValueId value) { exact_.emplace(name, value); }

void ModuleNames::apply(GraphBuilder& builder) const {
  for (const auto* names : {&exact_, &nodes_, &modules_}) {
    for (const auto& [name, value] : *names) builder.add_alias(name, value);
  }
  for (const auto& [leaf, path] : path_of_leaf_) {
    if (!path.empty()) builder.add_alias(leaf, modules_.at(path));
  }
}

}  // namespace camlucida
