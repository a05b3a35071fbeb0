#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>

namespace camlucida {

/// The parameters of one method or metric in one run: what was asked for, checked as it is read,
/// and a record of every value used, for the JSON. A parameter exists because it is read: what was
/// given and never read is a typing error (`check_all_read`).
///
/// Every reader throws Error(kUsage) that names parameter, value and range.
class Settings {
 public:
  Settings() = default;
  /// `given`: by key without the method's name. `owner` appears in messages.
  Settings(std::string owner, std::string variant, std::map<std::string, std::string> given,
           uint64_t seed = 0);

  const std::string& owner() const { return owner_; }
  /// Name of the chosen variant; a method's variants only change the fallbacks of its parameters.
  const std::string& variant() const { return variant_; }

  int64_t integer(const std::string& key, int64_t fallback, int64_t low, int64_t high);
  double number(const std::string& key, double fallback, double low, double high);
  bool flag(const std::string& key, bool fallback);
  std::string choice(const std::string& key, const std::string& fallback,
                     std::initializer_list<const char*> options);
  /// Free text: a file, a list.
  std::string text(const std::string& key, const std::string& fallback);
  /// The seed of the run, for methods that draw random numbers.
  uint64_t seed();

  /// Records a value that followed from the data rather than from the caller.
  void record(const std::string& key, const std::string& value) { used_[key] = value; }
  void record(const std::string& key, double value);

  /// Everything read or recorded so far.
  const std::map<std::string, std::string>& used() const { return used_; }
  /// Throws Error(kUsage) for a given parameter that nobody read, with the list of those there are.
  void check_all_read() const;

 private:
  const std::string* find(const std::string& key) const;

  std::string owner_;
  std::string variant_;
  std::map<std::string, std::string> given_;
  std::map<std::string, std::string> used_;
  uint64_t seed_ = 0;
};

/// The shortest text that reads back as the same double.
std::string to_text(double value);

}  // namespace camlucida
