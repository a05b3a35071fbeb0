#include "engine/attributes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace camlucida {

std::string to_string(const FieldList& fields) {
  std::string text;
  for (const auto& [name, value] : fields) {
    if (!text.empty()) text += ' ';
    text += name + "=" + std::visit([](const auto& v) { return fmt::format("{}", v); }, value);
  }
  return text;
}

}  // namespace camlucida
