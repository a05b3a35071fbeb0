#include "engine/attributes.h"

#include <array>
#include <charconv>

namespace camlucida {
namespace {

std::string to_text(const std::string& text) { return text; }

/// The shortest text that reads back as the same number.
template <class Number>
std::string to_text(Number number) {
  std::array<char, 32> text;
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), number).ptr};
}

template <class T>
std::string to_text(const std::vector<T>& list) {
  std::string text;
  for (const T& element : list) text += (text.empty() ? "" : ", ") + to_text(element);
  return "[" + text + "]";
}

}  // namespace

std::string to_string(const FieldList& fields) {
  std::string text;
  for (const auto& [name, value] : fields) {
    if (!text.empty()) text += ' ';
    text += name + "=" + std::visit([](const auto& v) { return to_text(v); }, value);
  }
  return text;
}

}  // namespace camlucida
