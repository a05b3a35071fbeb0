#include "tools/program.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <vector>

#include "engine/build_info.h"
#include "engine/error.h"
#include "tools/messages.h"

namespace camlucida::cli {
namespace {

constexpr const char* kOverview = R"(Examples:
  camlucida explain -m resnet50.onnx cat.jpg           # what is it, and why?
  camlucida explain -m resnet50.onnx photos/ -o maps/  # a whole folder
  camlucida predict -m resnet50.onnx cat.jpg
  camlucida inspect resnet50.onnx --layers             # which layers can be explained

`camlucida COMMAND --help` explains one command.
Exit codes: 0 success, 1 failure, 2 wrong usage, 3 unreadable picture, tensor or manifest,
4 unreadable or unsupported model, 5 a map is not meaningful (with --strict),
6 explanations drifted beyond a limit (diff).)";

/// The parser's message in the terms of this program. `left` are words it could not place.
std::string what_is_wrong(const CLI::ParseError& error, bool no_command,
                          const std::vector<std::string>& left) {
  const std::string text = error.what();
  if (no_command && left.empty()) return "a command is missing";
  if (no_command) return "there is no command or flag '" + left[0] + "'";
  return text;
}

}  // namespace

Program::Program()
    : app_(std::make_unique<CLI::App>("Runs convolutional networks and shows why they answered.")) {
  app_->name("camlucida");
  app_->require_subcommand(1);
  app_->footer(kOverview);
  app_->get_formatter()->column_width(34);
  app_->set_version_flag("--version", [] { return "camlucida " + build_info().version; });
}

Program::~Program() = default;

Command Program::add(const std::string& name, const std::string& description,
                     const std::string& examples, std::function<int()> run) {
  CLI::App* command = app_->add_subcommand(name, description);
  command->footer(examples);
  runners_[command] = std::move(run);
  return Command(*command);
}

int Program::dispatch(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app_->exit(error);  // --help, --version
    const std::vector<CLI::App*> chosen = app_->get_subcommands();
    const std::string command = chosen.empty() ? "" : " " + chosen[0]->get_name();
    report_error(what_is_wrong(error, chosen.empty(), app_->remaining()) + "; see `camlucida" +
                 command + " --help`");
    return kExitUsage;
  }
  return runners_.at(app_->get_subcommands().at(0))();
}

int Program::run(int argc, char** argv) {
  int code = 1;
  try {
    code = dispatch(argc, argv);
  } catch (const Error& error) {
    report_error(error.what());
    code = exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    report_error(out_of_memory().what());
  } catch (const std::exception& error) {
    report_error(std::string("internal error: ") + error.what());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    report_error(std::string("cannot write to standard output: ") + std::strerror(errno));
    if (code == 0) code = 1;
  }
  return code;
}

}  // namespace camlucida::cli
