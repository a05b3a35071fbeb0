#pragma once

#include <algorithm>
#include <cctype>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/error.h"

/// Names of methods and metrics: compared without case, '-' and '_'.
namespace camlucida {

/// "Grad-CAM", "grad_cam" → "gradcam".
inline std::string folded(const std::string& name) {
  std::string result;
  for (char c : name) {
    if (c != '-' && c != '_') {
      result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return result;
}

/// Files `def` in `all` and under its name and aliases. Throws Error(kInternal) if one is in use;
/// `kind` says of what.
template <class Def>
void add_named(Def def, const char* kind, std::vector<std::unique_ptr<const Def>>& all,
               std::map<std::string, const Def*>& by_name) {
  auto owned = std::make_unique<const Def>(std::move(def));
  std::vector<std::string> names = owned->aliases;
  names.push_back(owned->name);
  for (std::string& name : names) name = folded(name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) {
    if (!by_name.emplace(name, owned.get()).second) {
      throw Error(ErrorKind::kInternal, std::string(kind) + " name '" + name + "' is in use");
    }
  }
  all.push_back(std::move(owned));
}

/// By name or alias. Throws Error(kUsage) that lists the names.
template <class Def>
const Def& require_named(const std::string& name, const char* kind,
                         const std::vector<std::unique_ptr<const Def>>& all,
                         const std::map<std::string, const Def*>& by_name) {
  const auto it = by_name.find(folded(name));
  if (it != by_name.end()) return *it->second;
  std::string known;
  for (const auto& def : all) known += (known.empty() ? "" : ", ") + def->name;
  throw Error(ErrorKind::kUsage, std::string("there is no ") + kind + " '" + name + "'",
              "choose from: " + known);
}

}  // namespace camlucida
