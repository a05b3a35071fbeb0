#pragma once

#include <string>

#include "engine/attributes.h"

namespace camlucida::shape {

/// Field `name` of an attribute struct that its layer keeps to itself. Throws Error(kInternal) if
/// there is none of that name and type.
template <class T>
T field(const Attributes& attributes, const std::string& name) {
  for (const auto& [key, value] : attributes.fields()) {
    if (key != name) continue;
    if (const T* found = std::get_if<T>(&value)) return *found;
  }
  throw Error(ErrorKind::kInternal, "no such attribute: " + name);
}

inline bool flag(const Attributes& attributes, const std::string& name) {
  return field<int64_t>(attributes, name) != 0;
}

}  // namespace camlucida::shape
