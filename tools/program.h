#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "tools/command.h"

/// The command line program: one parser, and for every sub-command what it runs.
namespace camlucida::cli {

/// Exit codes that no ErrorKind stands for; the others come from exit_code(ErrorKind).
constexpr int kExitUsage = 2;
constexpr int kExitDrift = 6;          ///< `diff`: the maps or predictions crossed a limit
constexpr int kExitInterrupted = 130;  ///< 128 + SIGINT, as shells report it

class Program {
 public:
  Program();
  ~Program();

  /// Adds a sub-command. `examples` are shown below its --help. `run` returns the exit code; it is
  /// called after the flags it refers to have been parsed.
  Command add(const std::string& name, const std::string& description, const std::string& examples,
              std::function<int()> run);

  /// Parses, runs, and turns every exception into one line on standard error and an exit code.
  int run(int argc, char** argv);

 private:
  int dispatch(int argc, char** argv);

  std::unique_ptr<CLI::App> app_;
  std::map<const CLI::App*, std::function<int()>> runners_;
};

/// One function per sub-command, each in the file of its name.
void add_inspect(Program& program);
void add_predict(Program& program);
void add_explain(Program& program);
void add_evaluate(Program& program);
void add_analyse(Program& program);
void add_pair(Program& program);
void add_diff(Program& program);
void add_check(Program& program);
void add_bench(Program& program);
void add_convert(Program& program);
void add_menagerie(Program& program);
void add_methods(Program& program);
void add_operators(Program& program);
void add_zoo(Program& program);
void add_version(Program& program);

}  // namespace camlucida::cli
