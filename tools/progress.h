#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

namespace camlucida::cli {

/// A line on standard error that is rewritten as work goes on: "[ 12/200] cat.jpg". Silent unless
/// standard error is a terminal or the caller insists. Any thread may show, any other clear.
class Progress {
 public:
  Progress(size_t total, bool insist, bool quiet);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Work on item `index` (from 0) starts.
  void show(size_t index, const std::string& name);
  /// To be told how far the work on the item has come; shows it a few times per second.
  std::function<void(int64_t done, int64_t total)> steps();
  /// Wipes the line so that something else can be printed.
  void clear();
  /// The same, and keeps it wiped as long as the result lives.
  [[nodiscard]] std::unique_lock<std::mutex> pause();

 private:
  std::mutex mutex_;
  size_t total_;
  std::string item_;
  std::chrono::steady_clock::time_point shown_{};
  bool enabled_;
  bool terminal_;
  bool visible_ = false;
};

/// Ctrl-C: the first one asks the program to stop after the picture it is working on, a second one
/// ends it at once.
void catch_interrupts();
bool interrupted();

}  // namespace camlucida::cli
