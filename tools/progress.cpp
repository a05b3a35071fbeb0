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
  enabled_ = insist || (terminal_ && !quiet && total > 1);
}

void Progress::show(size_t index, const std::string& name) {
  if (!enabled_) return;
  if (!terminal_) {
    std::fprintf(stderr, "[%zu/%zu] %s\n", index + 1, total_, name.c_str());
    return;
  }
  std::fprintf(stderr, "\r\033[K[%zu/%zu] %s", index + 1, total_, name.c_str());
  std::fflush(stderr);
  visible_ = true;
}

void Progress::clear() {
  if (!visible_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  visible_ = false;
}

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return interrupt_seen != 0; }

}  // namespace camlucida::cli
