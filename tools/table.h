#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace camlucida::cli {

/// Rows of text in aligned columns, for people.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// One cell per column.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  /// Prints to standard output with `indent` spaces in front; nothing if there are no rows.
  void print(int indent = 0) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

std::string with_thousands(int64_t value);  ///< "1,234,567"
std::string megabytes(double bytes);        ///< "4.21 MB", decimal
/// Cut to `width` characters with "..." at the end.
std::string shortened(const std::string& text, size_t width);

}  // namespace camlucida::cli
