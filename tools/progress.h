#pragma once

#include <cstddef>
#include <string>

namespace camlucida::cli {

/// A line on standard error that is rewritten as work goes on: "[ 12/200] cat.jpg". Silent unless
/// standard error is a terminal or the caller insists.
class Progress {
 public:
  Progress(size_t total, bool insist, bool quiet);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Work on item `index` (from 0) starts.
  void show(size_t index, const std::string& name);
  /// Wipes the line so that something else can be printed.
  void clear();

 private:
  size_t total_;
  bool enabled_;
  bool terminal_;
  bool visible_ = false;
};

/// Ctrl-C: the first one asks the program to stop after the picture it is working on, a second one
/// ends it at once.
void catch_interrupts();
bool interrupted();

}  // namespace camlucida::cli
