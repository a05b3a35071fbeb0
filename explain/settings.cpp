#include "explain/settings.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/error.h"

namespace camlucida {
namespace {

template <class T>
bool parse(const std::string& text, T* value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && stop == end;
}

[[noreturn]] void refuse(const std::string& owner, const std::string& key, const std::string& value,
                         const std::string& allowed) {
  throw Error(ErrorKind::kUsage, "parameter " + owner + "." + key + " cannot be '" + value + "'",
              "use " + allowed);
}

}  // namespace

std::string to_text(double value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, end);
}

Settings::Settings(std::string owner, std::string variant, std::map<std::string, std::string> given,
                   uint64_t seed)
    : owner_(std::move(owner)),
      variant_(std::move(variant)),
      given_(std::move(given)),
      seed_(seed) {}

const std::string* Settings::find(const std::string& key) const {
  const auto it = given_.find(key);
  return it == given_.end() ? nullptr : &it->second;
}

int64_t Settings::integer(const std::string& key, int64_t fallback, int64_t low, int64_t high) {
  int64_t value = fallback;
  if (const std::string* text = find(key)) {
    if (!parse(*text, &value) || value < low || value > high) {
      refuse(owner_, key, *text,
             "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    }
  }
  used_[key] = std::to_string(value);
  return value;
}

double Settings::number(const std::string& key, double fallback, double low, double high) {
  double value = fallback;
  if (const std::string* text = find(key)) {
    if (!parse(*text, &value) || !(value >= low && value <= high)) {
      refuse(owner_, key, *text, "a number from " + to_text(low) + " to " + to_text(high));
    }
  }
  used_[key] = to_text(value);
  return value;
}

bool Settings::flag(const std::string& key, bool fallback) {
  return choice(key, fallback ? "true" : "false", {"true", "false"}) == "true";
}

std::string Settings::choice(const std::string& key, const std::string& fallback,
                             std::initializer_list<const char*> options) {
  std::string value = fallback;
  if (const std::string* text = find(key)) {
    value = *text;
    if (std::find(options.begin(), options.end(), value) == options.end()) {
      std::string allowed;
      for (const char* option : options)
        allowed += (allowed.empty() ? "" : " or ") + std::string(option);
      refuse(owner_, key, value, allowed);
    }
  }
  used_[key] = value;
  return value;
}

std::string Settings::text(const std::string& key, const std::string& fallback) {
  const std::string* given = find(key);
  used_[key] = given ? *given : fallback;
  return used_[key];
}

uint64_t Settings::seed() {
  used_["seed"] = std::to_string(seed_);
  return seed_;
}

void Settings::record(const std::string& key, double value) { used_[key] = to_text(value); }

void Settings::check_all_read() const {
  for (const auto& [key, value] : given_) {
    if (used_.count(key) > 0) continue;
    std::string known;
    for (const auto& [name, unused] : used_) known += (known.empty() ? "" : ", ") + name;
    throw Error(ErrorKind::kUsage, owner_ + " has no parameter '" + key + "'",
                known.empty() ? "it has none" : "it has " + known);
  }
}

}  // namespace camlucida
