#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace camlucida {

/// The names of a network's classes. Immutable after loading.
class Labels {
 public:
  Labels() = default;  ///< none known
  explicit Labels(std::vector<std::string> names) : names_(std::move(names)) {}

  /// Reads a text file with one class per line, line number = output index. A line may start with
  /// an identifier and a tab ("n01440764<tab>tench"). Throws Error(kInput).
  static Labels load(const std::filesystem::path& path);
  /// The same from the text of such a file; `origin` is for messages.
  static Labels parse(std::string_view text, const std::string& origin = "labels");
  /// Text that parses to the same labels; empty if there are none.
  std::string to_text() const;

  bool empty() const { return names_.empty(); }
  int size() const { return static_cast<int>(names_.size()); }
  const std::vector<std::string>& names() const { return names_; }
  /// The label of a class, or "class 17" if it has none: always fit for printing.
  std::string name(int index) const;

  /// The class meant by `text`, ignoring case. The first rule with a match decides:
  ///   1. a whole label, or a whole identifier;
  ///   2. one of the synonyms of a label ("tiger cat" in "tabby, tiger cat");
  ///   3. whole words in a row within a label ("shepherd" in "German shepherd").
  /// Throws Error(kUsage) that lists the candidates if several classes match, or those that come
  /// nearest if none does.
  int find(std::string_view text) const;

 private:
  std::vector<std::string> names_;
  std::vector<std::string> identifiers_;  ///< empty, or one per class
};

}  // namespace camlucida
