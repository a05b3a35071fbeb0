#include "tools/progress.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace camlucida::cli {
namespace {

volatile std::sig_atomic_t interrupt_seen = 0;

void on_interrupt(int) {
  interrupt_seen = 1;
  std::signal(SIGINT, SIG_DFL);
}

}  // namespace

Progress::Progress(size_t total, bool insist, bool quiet)
    : total_(total), terminal_(isatty(STDERR_FILENO) == 1) {
  enabled_ = insist || (terminal_ && !quiet);
}

void Progress::show(size_t index, const std::string& name) {
  if (!enabled_) return;
  const std::lock_guard lock(mutex_);
  item_ = "[" + std::to_string(index + 1) + "/" + std::to_string(total_) + "] " + name;
  if (!terminal_) {
    std::fprintf(stderr, "%s\n", item_.c_str());
    return;
  }
  shown_ = std::chrono::steady_clock::now();
  if (total_ == 1) return;  // soon done, or its steps will show
  std::fprintf(stderr, "\r\033[K%s", item_.c_str());
  std::fflush(stderr);
  visible_ = true;
}

std::function<void(int64_t, int64_t)> Progress::steps() {
  if (!enabled_ || !terminal_) return {};
  return [this](int64_t done, int64_t total) {
    constexpr std::chrono::milliseconds kInterval(200);
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now - shown_ < kInterval) return;
    shown_ = now;
    std::fprintf(stderr, "\r\033[K%s  %lld/%lld", item_.c_str(), static_cast<long long>(done),
                 static_cast<long long>(total));
    std::fflush(stderr);
    visible_ = true;
  };
}

void Progress::clear() { pause().unlock(); }

std::unique_lock<std::mutex> Progress::pause() {
  std::unique_lock lock(mutex_);
  if (visible_) {
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
    visible_ = false;
  }
  return lock;
}

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return interrupt_seen != 0; }

}  // namespace camlucida::cli
