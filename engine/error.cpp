#include "engine/error.h"

namespace camlucida {
namespace {

std::string one_line(const std::string& message, const Error::Place& place,
                     const std::string& hint) {
  std::string line = message;
  std::string where;
  const auto add = [&where](const std::string& part) {
    if (!where.empty()) where += ", ";
    where += part;
  };
  if (!place.node.empty()) add("node '" + place.node + "'");
  if (!place.operation.empty()) add("operator " + place.operation);
  if (place.opset > 0) add("opset " + std::to_string(place.opset));
  if (!where.empty()) line += " (" + where + ")";
  if (!hint.empty()) line += "; " + hint;
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return line;
}

}  // namespace

Error::Error(ErrorKind kind, const std::string& message, const std::string& hint)
    : Error(kind, message, Place{}, hint) {}

Error::Error(ErrorKind kind, const std::string& message, const Place& place,
             const std::string& hint)
    : std::runtime_error(one_line(message, place, hint)),
      kind_(kind),
      message_(message),
      place_(place),
      hint_(hint) {}

Error Error::with_context(const std::string& context) const {
  return Error(kind_, context + ": " + message_, place_, hint_);
}

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
      return 2;
    case ErrorKind::kInput:
      return 3;
    case ErrorKind::kModel:
    case ErrorKind::kUnsupported:
      return 4;
    case ErrorKind::kMeaningless:
      return 5;
    case ErrorKind::kResource:
    case ErrorKind::kInternal:
      return 1;
  }
  return 1;
}

}  // namespace camlucida
