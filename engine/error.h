#pragma once

#include <stdexcept>
#include <string>

namespace camlucida {

/// What went wrong, as a caller has to react to it. The program maps a kind to its exit code
/// (`exit_code`), a library user switches over it.
enum class ErrorKind {
  kUsage,        ///< wrong argument: unknown layer, class, method, flag
  kInput,        ///< image, tensor or manifest unreadable or malformed
  kModel,        ///< model file unreadable, malformed or inconsistent
  kUnsupported,  ///< model is valid but uses operators or forms this build does not have
  kMeaningless,  ///< an explanation would carry no meaning and the caller asked to be strict
  kResource,     ///< memory, disk or device exhausted or not writable
  kInternal,     ///< a broken invariant of the engine itself
};

/// The one exception type of the library. Thrown while importing, planning and checking arguments;
/// never from inside a kernel. `what()` is one line: what happened, where, what to do about it.
class Error : public std::runtime_error {
 public:
  /// Where in a model an error belongs to; empty members are left out of the message.
  struct Place {
    std::string node;       ///< node name, or the name of its first output
    std::string operation;  ///< operator as the file spells it, for instance "Conv"
    int opset = 0;          ///< operator-set version the file asked for, 0 = not applicable
  };

  Error(ErrorKind kind, const std::string& message, const std::string& hint = "");
  Error(ErrorKind kind, const std::string& message, const Place& place,
        const std::string& hint = "");

  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const Place& place() const { return place_; }
  const std::string& hint() const { return hint_; }

  /// The same error with `context` ("while reading cat.jpg") put in front of the message.
  Error with_context(const std::string& context) const;

 private:
  ErrorKind kind_;
  std::string message_;
  Place place_;
  std::string hint_;
};

/// Process exit code of an error kind: 2 usage, 3 input, 4 model, 5 meaningless, 1 anything else.
int exit_code(ErrorKind kind);

}  // namespace camlucida
