#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "tools/common_flags.h"
#include "tools/device.h"
#include "tools/inputs.h"
#include "tools/json_output.h"
#include "tools/network_check.h"
#include "tools/program.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida check -m resnet50.onnx                 # on a random picture
  camlucida check -m resnet50.onnx cat.jpg --layers
  camlucida check -m resnet50.onnx --device cuda --precision fp16

Five comparisons, each with the tolerance it must keep; the exit code is 1 if one does not:
  forward    every step of the fast plan against the reference function of its layer, fed with the
             same inputs; error = largest difference / largest reference value
  backward   likewise every gradient between the picture and the score
  scores     the whole network, fast and reference plan, against an oracle that computes in double
             from end to end without folding or fusing anything
  gradients  of the layer `explain` takes by default and of the picture, fast and reference plan
             against the oracle at the activations that plan computed; error = distance / length
  derivative gradients of the oracle against central differences of its score along a random
             direction, at the picture and at layers on the way
The fast plan is that of --device. --precision tf32, fp16 and bf16 widen its tolerances to what
rounding to that precision costs; references and oracle are always the processor's.)";

struct Flags {
  ModelFlags model;
  OutputFlags output;
  std::vector<std::string> inputs;
  bool layers = false;
  int taps = 3;
  double tolerance = 1.0;
  uint64_t seed = 0;
};

/// Worst of each kind, in order of first appearance.
std::vector<std::pair<StepError, int>> worst_by_kind(const CheckSection& section) {
  std::vector<std::pair<StepError, int>> rows;
  for (const StepError& error : section.errors) {
    const auto row = std::find_if(rows.begin(), rows.end(),
                                  [&](const auto& r) { return r.first.kind == error.kind; });
    if (row == rows.end()) {
      rows.emplace_back(error, 1);
      continue;
    }
    ++row->second;
    if (error.error / error.tolerance > row->first.error / row->first.tolerance) {
      row->first = error;
    }
  }
  return rows;
}

void print_section(const CheckSection& section, bool every_step) {
  using Align = Table::Align;
  fmt::print("{}{}{}\n", section.name, section.note.empty() ? "" : ": ", section.note);
  if (section.errors.empty() && section.note.empty()) fmt::print("  nothing to compare\n");
  const bool steps = section.name == "forward" || section.name == "backward";
  Table table({{steps ? "kind" : "what"},
               {steps && !every_step ? "steps" : "", Align::kRight},
               {"error", Align::kRight},
               {"tolerance", Align::kRight},
               {""},
               {steps && !every_step ? "worst at" : "at"},
               {section.name == "forward" ? "kernel" : ""}});
  const auto add_row = [&](const StepError& error, const std::string& count) {
    table.add({shortened(error.kind, 40), count, fmt::format("{:.2e}", error.error),
               fmt::format("{:.2e}", error.tolerance), error.passed() ? "ok" : "FAIL",
               shortened(error.name, 60), error.kernel});
  };
  if (steps && !every_step) {
    for (const auto& [error, count] : worst_by_kind(section)) {
      add_row(error, std::to_string(count));
    }
  } else {
    for (const StepError& error : section.errors) add_row(error, "");
  }
  table.print(2);
}

void print(const CheckReport& report, const std::string& title, bool every_step) {
  fmt::print("{}; gradients of {}\n", title, report.score);
  for (const CheckSection& section : report.sections) print_section(section, every_step);
  if (report.failures() == 0) {
    fmt::print("all {} comparisons within tolerance\n", report.comparisons());
  } else {
    fmt::print("{} of {} comparisons over tolerance\n", report.failures(), report.comparisons());
  }
}

void print_as_json(const CheckReport& report, const Model& model, const std::string& input) {
  Json json = {{"schema", 1}, {"model", model.path().string()}, {"input", input}};
  json["device"] = device_name(model.options().gpu.get());
  json["precision"] = name_of(model.options().precision);
  json["score"] = report.score;
  json["sections"] = Json::array();
  for (const CheckSection& section : report.sections) {
    Json entry = {{"name", section.name}, {"note", section.note}, {"comparisons", Json::array()}};
    for (const StepError& error : section.errors) {
      entry["comparisons"].push_back({{"kind", error.kind},
                                      {"name", error.name},
                                      {"kernel", error.kernel},
                                      {"error", error.error},
                                      {"tolerance", error.tolerance},
                                      {"passed", error.passed()}});
    }
    json["sections"].push_back(std::move(entry));
  }
  json["failures"] = report.failures();
  print_json(json);
}

/// The one input that was given, as the network gets it; undefined if none was.
Tensor given_picture(const Flags& flags, const Model& model) {
  if (flags.inputs.empty()) return {};
  const std::vector<Input> found = find_inputs(flags.inputs);
  if (found.size() != 1) {
    throw Error(ErrorKind::kUsage,
                "check takes one input, but there are " + std::to_string(found.size()));
  }
  const LoadedInput loaded = load_input(found[0], model);
  return loaded.is_tensor() ? loaded.tensor() : model.prepare(loaded.image()).tensor;
}

int run(const Flags& flags) {
  OutputFlags silent = flags.output;
  silent.quiet = silent.quiet || flags.inputs.empty();
  const Model model = load_model(flags.model, silent);
  const CheckReport report =
      check_network(model, given_picture(flags, model),
                    {flags.model.threads, flags.taps, flags.tolerance, flags.seed});
  const std::string input =
      flags.inputs.empty() ? fmt::format("random picture, seed {}", flags.seed) : flags.inputs[0];
  if (flags.output.json) {
    print_as_json(report, model, input);
  } else if (!flags.output.quiet) {
    std::string title = model.path().string() + " on " + input;
    if (const Gpu* gpu = model.options().gpu.get()) {
      title += fmt::format(", {}, {}", device_name(gpu), name_of(model.options().precision));
    }
    print(report, title, flags.layers);
  }
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace

void add_check(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Command command = program.add(
      "check", "Fast kernels against reference functions, gradients against differences", kExamples,
      [flags] { return run(*flags); });
  add_input_arguments(command, flags->inputs);
  add_model_flags(command, flags->model, ModelArgument::kOption);
  command.add_flag("--layers", flags->layers, "Every step, not only the worst of each kind");
  command.add_option("--taps", flags->taps, "Layers at which derivatives are measured [3]")
      .within(0, 1000)
      .type_name("N");
  command.add_option("--tolerance", flags->tolerance, "Factor on all tolerances [1]")
      .not_negative()
      .type_name("F");
  command.add_option("--seed", flags->seed, "Seed of the random picture and directions [0]")
      .type_name("N");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
