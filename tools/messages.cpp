#include "tools/messages.h"

#include <cstdio>

namespace camlucida::cli {
namespace {

void print_line(const char* prefix, std::string message) {
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  std::fflush(stdout);  // keeps the order where both streams share a terminal or a log
  std::fprintf(stderr, "%s%s\n", prefix, message.c_str());
}

}  // namespace

void report_error(const std::string& message) { print_line("camlucida: ", message); }
void report_notice(const std::string& message) { print_line("camlucida: notice: ", message); }

Error about_input(const Error& error, const std::string& input) {
  const bool named = std::string(error.what()).find(input) != std::string::npos;
  return named ? error : error.with_context(input);
}

Error out_of_memory() {
  return Error(ErrorKind::kResource, "out of memory", "use a smaller picture, model or batch");
}

void Failures::add(const Error& error, const std::string& input) {
  report_error(about_input(error, input).what());
  note(camlucida::exit_code(error.kind()));
}

void Failures::note(int code) {
  ++count_;
  if (exit_code_ == 0) exit_code_ = code;
}

}  // namespace camlucida::cli
