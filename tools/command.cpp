#include "tools/command.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>

namespace camlucida::cli {

Flag Flag::type_name(const std::string& name) const {
  option_->type_name(name);
  return *this;
}

Flag Flag::group(const std::string& heading) const {
  option_->group(heading);
  return *this;
}

Flag Flag::required() const {
  option_->required();
  return *this;
}

Flag Flag::environment(const std::string& variable) const {
  option_->envname(variable);
  return *this;
}

Flag Flag::separated_by(char character) const {
  option_->delimiter(character);
  return *this;
}

Flag Flag::one_word() const {
  option_->allow_extra_args(false);
  return *this;
}

Flag Flag::repeatable() const {
  option_->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return one_word();
}

template <class T>
Flag Flag::within(T low, T high) const {
  option_->check(CLI::Range(low, high));
  return *this;
}

Flag Flag::not_negative() const {
  option_->check(CLI::NonNegativeNumber);
  return *this;
}

Flag Flag::one_of(const std::vector<std::string>& names) const {
  option_->check(CLI::IsMember(names));
  return *this;
}

template <class T>
Flag Command::add_option(const std::string& names, T& value, const std::string& help) const {
  return Flag(*app_->add_option(names, value, help));
}

Flag Command::add_option(const std::string& names, std::function<void(const std::string&)> take,
                         const std::string& help) const {
  CLI::Option* option = app_->add_option_function<std::string>(names, std::move(take), help);
  // At once, not after all flags: so the words keep the order of the command line.
  option->trigger_on_parse();
  return Flag(*option).repeatable();
}

Flag Command::add_flag(const std::string& names, bool& value, const std::string& help) const {
  return Flag(*app_->add_flag(names, value, help));
}

Command Command::add_command(const std::string& name, const std::string& description,
                             const std::string& examples, std::function<void()> chosen) const {
  app_->require_subcommand(1);
  CLI::App* action = app_->add_subcommand(name, description);
  action->footer(examples);
  action->callback(std::move(chosen));
  return Command(*action);
}

template Flag Flag::within(int, int) const;
template Flag Flag::within(int64_t, int64_t) const;
template Flag Flag::within(double, double) const;

#define CAMLUCIDA_OPTION(...)                                                      \
  template Flag Command::add_option<__VA_ARGS__>(const std::string&, __VA_ARGS__&, \
                                                 const std::string&) const
CAMLUCIDA_OPTION(std::string);
CAMLUCIDA_OPTION(int);
CAMLUCIDA_OPTION(int64_t);
CAMLUCIDA_OPTION(uint64_t);
CAMLUCIDA_OPTION(double);
CAMLUCIDA_OPTION(std::optional<double>);
CAMLUCIDA_OPTION(std::vector<std::string>);
CAMLUCIDA_OPTION(std::vector<double>);
#undef CAMLUCIDA_OPTION

}  // namespace camlucida::cli
