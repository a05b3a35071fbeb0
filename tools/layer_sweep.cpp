#include "tools/layer_sweep.h"

#include <fmt/format.h>

#include <cmath>

#include "explain/metrics/layer_sweep.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

using metrics::LayerScore;

Json to_json(const LayerScore& score) {
  Json json = {{"layer", score.layer.name},
               {"aliases", score.layer.aliases},
               {"shape", cli::to_json(score.layer.shape)},
               {"stride", score.layer.stride}};
  if (!score.problem.empty()) {
    json["problem"] = score.problem;
    return json;
  }
  json["insertion"] = score.insertion;
  json["deletion"] = score.deletion;
  json["score"] = score.score;
  return json;
}

void print_scores(const std::vector<LayerScore>& scores, const std::string& usual) {
  using Align = Table::Align;
  Table table({{"insertion - deletion", Align::kRight},
               {"insertion", Align::kRight},
               {"deletion", Align::kRight},
               {"layer"},
               {"also called"},
               {"shape"},
               {""}});
  for (const LayerScore& score : scores) {
    const std::string alias = score.layer.aliases.empty() ? "" : score.layer.aliases[0];
    std::string note = score.problem;
    if (score.layer.name == usual) note = "chosen by default";
    const bool known = score.problem.empty();
    table.add({known ? fmt::format("{:.4f}", score.score) : "",
               known ? fmt::format("{:.4f}", score.insertion) : "",
               known ? fmt::format("{:.4f}", score.deletion) : "", score.layer.name, alias,
               score.layer.shape.to_string(), note});
  }
  table.print(2);
}

}  // namespace

int run_layer_sweep(const Model& model, const ExplainRequest& request,
                    const std::vector<Input>& inputs, const OutputFlags& output, bool progress) {
  const ExplainOptions& options = request.options();
  if (options.method.find(',') != std::string::npos || options.target.classes.size() != 1) {
    throw Error(ErrorKind::kUsage, "--layer-sweep ranks layers for one method and one class",
                "give one --method and one --class");
  }
  const std::string usual = model.bound().value(model.default_layer().value).name;
  Failures failures;
  Progress line(inputs.size(), progress, output.quiet);
  catch_interrupts();
  size_t done = 0;
  for (size_t i = 0; i < inputs.size() && !interrupted(); ++i) {
    line.show(i, inputs[i].path.string());
    try {
      const LoadedInput loaded = load_input(inputs[i], model);
      const Tensor tensor =
          loaded.is_tensor() ? loaded.tensor() : model.prepare(loaded.image()).tensor;
      const std::vector<LayerScore> scores =
          metrics::sweep_layers(model, tensor, options, line.steps());
      line.clear();
      ++done;
      if (output.json) {
        Json json = {{"input", inputs[i].path.string()},
                     {"method", options.method},
                     {"target", options.target.classes[0]},
                     {"default_layer", usual},
                     {"layers", Json::array()}};
        for (const LayerScore& score : scores) json["layers"].push_back(to_json(score));
        print_json(json);
      } else if (!output.quiet) {
        fmt::print("{}  {} of {}\n", inputs[i].path.string(), options.method,
                   options.target.classes[0]);
        print_scores(scores, usual);
      }
    } catch (const Error& error) {
      line.clear();
      if (error.kind() == ErrorKind::kUsage) throw;
      failures.add(error, inputs[i].path.string());
    }
  }
  line.clear();
  return finish(failures, done, 0, inputs.size(), "swept", output);
}

}  // namespace camlucida::cli
