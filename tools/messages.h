#pragma once

#include <string>
#include <vector>

#include "engine/error.h"

/// What the program says on standard error, always one line at a time.
namespace camlucida::cli {

/// "camlucida: LINE". Line breaks in `message` become spaces.
void report_error(const std::string& message);
/// "camlucida: notice: LINE".
void report_notice(const std::string& message);

/// Errors of single inputs of a run that goes on with the others.
class Failures {
 public:
  /// Prints the error with the input's name, if its message does not have it yet, and keeps its
  /// exit code if it is the first.
  void add(const Error& error, const std::string& input);
  /// Keeps an exit code without printing.
  void note(int code);

  int count() const { return count_; }
  int exit_code() const { return exit_code_; }  ///< of the first failure, 0 if there was none

 private:
  int count_ = 0;
  int exit_code_ = 0;
};

/// `error` with the input's name in front, unless the message has it already.
Error about_input(const Error& error, const std::string& input);

/// What std::bad_alloc means to a user.
Error out_of_memory();

}  // namespace camlucida::cli
