#include "explain/target_grammar.h"

#include <array>

#include "engine/error.h"

namespace camlucida {
namespace {

struct Kind {
  const char* name;
  Target (*parse)(const std::string& argument, const TargetContext& context);
};

Target parse_margin(const std::string& argument, const TargetContext& context) {
  // Labels may hold hyphens: the split where both sides are classes counts.
  for (size_t dash = argument.find('-'); dash != std::string::npos;
       dash = argument.find('-', dash + 1)) {
    try {
      return Target::margin(context.class_index(argument.substr(0, dash)),
                            context.class_index(argument.substr(dash + 1)));
    } catch (const Error&) {
    }
  }
  throw Error(ErrorKind::kUsage, "'margin:" + argument + "' does not name two classes",
              "write margin:281-282");
}

template <Target (*make)(int64_t)>
Target parse_class(const std::string& argument, const TargetContext& context) {
  return make(context.class_index(argument));
}

constexpr std::array kKinds = {
    Kind{"class", parse_class<Target::of_class>},
    Kind{"margin", parse_margin},
    Kind{"probability", parse_class<Target::probability>},
    Kind{"log-probability", parse_class<Target::log_probability>},
    Kind{"rest", parse_class<Target::logit_and_log_probability>},
};

const Kind* kind_of(const std::string& text) {
  const std::string name = text.substr(0, text.find(':'));
  for (const Kind& kind : kKinds) {
    if (name.size() < text.size() && name == kind.name) return &kind;
  }
  return nullptr;
}

}  // namespace

bool is_target(const std::string& text) { return kind_of(text) != nullptr; }

std::string target_output(const std::string&) { return ""; }

Target parse_target(const std::string& text, const TargetContext& context) {
  const Kind* kind = kind_of(text);
  if (kind == nullptr) {
    std::string known;
    for (const Kind& one : kKinds) known += (known.empty() ? "" : ", ") + std::string(one.name);
    throw Error(ErrorKind::kUsage, "'" + text + "' is not a target", "kinds are " + known);
  }
  return kind->parse(text.substr(text.find(':') + 1), context);
}

}  // namespace camlucida
