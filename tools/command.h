#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

/// The words of the command line. The parser is CLI11, whose headers take seconds to compile: what
/// adds flags to a command sees these handles only.
namespace camlucida::cli {

/// A flag or argument of a command, to be described further. A handle: the command owns the flag.
class Flag {
 public:
  explicit Flag(CLI::Option& option) : option_(&option) {}

  /// What its help shows for the value; "" = nothing.
  Flag type_name(const std::string& name) const;
  /// Heading of the help that it stands under.
  Flag group(const std::string& heading) const;
  Flag required() const;
  /// Value to take from an environment variable if the flag is not given.
  Flag environment(const std::string& variable) const;

  /// Several values in one word, parted by `character`.
  Flag separated_by(char character) const;
  /// Takes one word each time it is given, so that words behind it are arguments again.
  Flag one_word() const;
  /// one_word(), and may be given again to add to the values.
  Flag repeatable() const;
  /// The smallest and largest value allowed. T: int, int64_t, double.
  template <class T>
  Flag within(T low, T high) const;
  Flag not_negative() const;
  Flag one_of(const std::vector<std::string>& names) const;

 private:
  CLI::Option* option_;
};

/// A sub-command. A handle: the Program owns the command.
class Command {
 public:
  explicit Command(CLI::App& app) : app_(&app) {}

  /// `names`: "-t,--target-layer", or "DATA" for an argument by its place. `value` is written when
  /// the command line is parsed and has to live as long. T: std::string, int, int64_t, uint64_t,
  /// double, std::optional<double>, and std::vector of std::string or double. Throws
  /// Error(kInternal) if a name is taken.
  template <class T>
  Flag add_option(const std::string& names, T& value, const std::string& help) const;
  /// A flag whose every word is handed to `take`, in the order of the command line.
  Flag add_option(const std::string& names, std::function<void(const std::string&)> take,
                  const std::string& help) const;
  Flag add_flag(const std::string& names, bool& value, const std::string& help) const;

  /// A command of this command; one of them must then be chosen. `chosen` is called if it is this
  /// one.
  Command add_command(const std::string& name, const std::string& description,
                      const std::string& examples, std::function<void()> chosen) const;

 private:
  CLI::App* app_;
};

}  // namespace camlucida::cli
