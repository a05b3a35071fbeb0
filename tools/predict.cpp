#include <fmt/format.h>

#include <memory>

#include "engine/npy.h"
#include "explain/heatmap.h"
#include "tools/common_flags.h"
#include "tools/inputs.h"
#include "tools/program.h"
#include "tools/progress.h"
#include "tools/report.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida predict -m resnet50.onnx cat.jpg
  camlucida predict -m resnet50.onnx photos/ -k 3 --json > answers.jsonl
  camlucida predict -m embedder.onnx face.png --save face.npy   # networks without classes
  camlucida predict -m model.onnx cat.jpg --size 256 --crop 224 --mean 0,0,0 --std 1,1,1

With --json one object per input is printed, each on its own line.)";

struct Flags {
  ModelFlags model;
  OutputFlags output;
  std::vector<std::string> inputs;
  int k = 5;
  std::string save;
  bool progress = false;
};

Json statistics_json(const RawStatistics& statistics) {
  return {{"min", statistics.min},
          {"max", statistics.max},
          {"mean", statistics.mean},
          {"nonfinite", statistics.nonfinite}};
}

/// A list of numbers need not be one of classes: the manifest knows an embedding.
bool has_classes(const Model& model) {
  if (!model.manifest()) return true;
  for (const Manifest::Output& output : model.manifest()->outputs) {
    if (output.name == model.score_name() && !output.kind.empty()) return output.kind == "logits";
  }
  return true;
}

void print_answer(const Input& input, const LoadedInput& loaded, const Prediction& prediction,
                  const Model& model) {
  fmt::print("{}  {} x {}\n", input.path.string(), loaded.width, loaded.height);
  if (!prediction.ranking.empty()) {
    print_ranking(prediction);
    return;
  }
  const RawStatistics statistics = statistics_of(prediction.scores);
  fmt::print(
      "  no classes: output '{}' {}, min {:.6g}, max {:.6g}, mean {:.6g}{}\n", model.score_name(),
      prediction.scores.shape().to_string(), statistics.min, statistics.max, statistics.mean,
      statistics.nonfinite > 0 ? fmt::format(", {} values are not finite", statistics.nonfinite)
                               : "");
}

void answer(const Flags& flags, const Model& model, const Input& input, Progress& progress) {
  const LoadedInput loaded = load_input(input, model);
  Prediction prediction = loaded.is_tensor() ? model.predict(loaded.tensor(), flags.k)
                                             : model.predict(loaded.image(), flags.k);
  if (!has_classes(model)) prediction.ranking.clear();
  if (!flags.save.empty()) write_npy(flags.save, prediction.scores);
  progress.clear();
  if (flags.output.json) {
    Json json;
    json["input"] = {{"path", input.path.string()},
                     {"sha256", loaded.sha256},
                     {"width", loaded.width},
                     {"height", loaded.height}};
    json["model"] = {{"path", model.path().string()}, {"name", model.name()}};
    json["prediction"] = to_json(prediction);
    json["output"] = statistics_json(statistics_of(prediction.scores));
    json["output"]["name"] = model.score_name();
    json["output"]["shape"] = to_json(prediction.scores.shape());
    print_json(json);
  } else if (!flags.output.quiet) {
    print_answer(input, loaded, prediction, model);
  }
}

int run(const Flags& flags) {
  require_inputs(flags.inputs);
  const Model model = load_model(flags.model, flags.output);
  const std::vector<Input> inputs = find_inputs(flags.inputs);
  if (!flags.save.empty() && inputs.size() != 1) {
    throw Error(ErrorKind::kUsage,
                "--save takes one input, but there are " + std::to_string(inputs.size()),
                "save them one by one");
  }
  Failures failures;
  size_t done = 0;
  Progress progress(inputs.size(), flags.progress, flags.output.quiet);
  catch_interrupts();
  for (size_t i = 0; i < inputs.size() && !interrupted(); ++i) {
    progress.show(i, inputs[i].path.string());
    try {
      answer(flags, model, inputs[i], progress);
      ++done;
    } catch (const Error& error) {
      progress.clear();
      failures.add(error, inputs[i].path.string());
      if (flags.output.json) print_json(failure_json(error, inputs[i]));
    } catch (const std::bad_alloc&) {
      progress.clear();
      failures.add(out_of_memory(), inputs[i].path.string());
    }
  }
  progress.clear();
  return finish(failures, done, 0, inputs.size(), "predicted", flags.output);
}

}  // namespace

void add_predict(Program& program) {
  const auto flags = std::make_shared<Flags>();
  CLI::App& command = program.add("predict", "Best classes of pictures, with logits", kExamples,
                                  [flags] { return run(*flags); });
  add_input_arguments(command, flags->inputs);
  add_model_flags(command, flags->model, ModelArgument::kOption);
  command.add_option("-k,--topk", flags->k, "How many classes [5]")
      ->check(CLI::Range(1, 1000000))
      ->type_name("K");
  add_batch_flags(command, flags->model);
  command.add_option("--save", flags->save, "Write the raw output as float32 array")
      ->type_name("FILE.npy");
  command.add_flag("--progress", flags->progress, "Show progress even without a terminal");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
