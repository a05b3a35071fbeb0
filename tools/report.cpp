#include "tools/report.h"

#include <fmt/format.h>

#include "tools/program.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace camlucida::cli {

void print_ranking(const Prediction& prediction) {
  using Align = Table::Align;
  Table table({{"class", Align::kRight},
               {"label"},
               {"logit", Align::kRight},
               {"probability", Align::kRight}});
  for (const ClassScore& score : prediction.ranking) {
    table.add({std::to_string(score.index), shortened(score.label, 40),
               fmt::format("{:.4f}", score.logit), fmt::format("{:.4f}", score.probability)});
  }
  table.print(2);
}

Json failure_json(const Error& error, const Input& input) {
  const std::string path = input.path.string();
  return {{"input", {{"path", path}}},
          {"error",
           {{"message", about_input(error, path).what()}, {"exit_code", exit_code(error.kind())}}}};
}

int finish(const Failures& failures, size_t done, size_t skipped, size_t total, const char* verb,
           const OutputFlags& output) {
  if (total > 1) {
    std::string line = fmt::format("{} of {} inputs {}", done, total, verb);
    if (skipped > 0) line += fmt::format(", {} skipped as complete", skipped);
    if (failures.count() > 0) line += fmt::format(", {} with errors", failures.count());
    if (failures.count() > 0 || interrupted()) {
      report_error(line);
    } else if (!output.quiet && !output.json) {
      fmt::print("{}\n", line);
    }
  }
  return interrupted() ? kExitInterrupted : failures.exit_code();
}

}  // namespace camlucida::cli
