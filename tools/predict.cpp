#include <fmt/format.h>

#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "engine/npy.h"
#include "explain/heatmap.h"
#include "tools/batch_predict.h"
#include "tools/common_flags.h"
#include "tools/inputs.h"
#include "tools/pipeline.h"
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

/// A run over many inputs: threads read ahead, pictures of one shape go through the network
/// together, on a GPU one batch while the next is brought there, and answers come in the order of
/// the inputs.
class PredictRun {
 public:
  PredictRun(const Flags& flags, const Model& model, const std::vector<Input>& inputs)
      : flags_(flags),
        model_(model),
        inputs_(inputs),
        has_classes_(has_classes(model)),
        predictor_(model, inputs.size()),
        progress_(inputs.size(), flags.progress, flags.output.quiet) {}

  int run() {
    catch_interrupts();
    const int threads = inputs_.size() > 1 ? reading_threads(model_) : 0;
    // One batch being collected and the next one ready.
    ReadAhead<LoadedInput> reader(inputs_.size(), static_cast<size_t>(threads) + batch(), threads,
                                  [this](size_t i) { return read(inputs_[i]); });
    for (size_t i = 0; i < inputs_.size() && !interrupted(); ++i) {
      progress_.show(i, inputs_[i].path.string());
      const auto failure = attempt([&] { take(inputs_[i], reader.take()); });
      if (!failure) continue;
      // Behind the answers of those before.
      send_waiting();
      answer_sent(0);
      fail(inputs_[i], *failure);
    }
    if (!interrupted()) send_waiting();
    answer_sent(0);  // what was sent is in work: it is finished, interrupted or not
    progress_.clear();
    return finish(failures_, done_, 0, inputs_.size(), "predicted", flags_.output);
  }

 private:
  /// Pictures of one pass as far as that is known before one is read.
  size_t batch() const {
    constexpr size_t kUsual = 128;  // of a GPU
    if (!model_.takes_batches()) return 1;
    return flags_.model.batch_size > 0 ? static_cast<size_t>(flags_.model.batch_size) : kUsual;
  }

  struct Waiting {
    const Input* input;
    LoadedInput loaded;  // without the picture itself

    const Tensor& picture() const { return loaded.prepared->tensor; }
  };
  using Batch = std::vector<Waiting>;

  /// On a thread that reads.
  LoadedInput read(const Input& input) const {
    LoadedInput loaded = load_input(input, model_);
    prepare_input(loaded, model_);
    loaded.data = Tensor();  // only what was made of the picture is needed
    return loaded;
  }

  /// What `work` throws, if anything.
  template <class Work>
  static std::optional<Error> attempt(const Work& work) {
    try {
      work();
    } catch (const Error& error) {
      return error;
    } catch (const std::bad_alloc&) {
      return out_of_memory();
    }
    return std::nullopt;
  }

  void fail(const Input& input, const Error& error) {
    progress_.clear();
    failures_.add(error, input.path.string());
    if (flags_.output.json) print_json(failure_json(error, input));
  }

  void take(const Input& input, LoadedInput loaded) {
    const Shape& shape = loaded.prepared->tensor.shape();
    if (!waiting_.empty() && waiting_[0].picture().shape() != shape) send_waiting();
    const size_t batch = predictor_.batch(shape);
    waiting_.push_back({&input, std::move(loaded)});
    if (waiting_.size() >= batch) send_waiting();
  }

  void send_waiting() {
    Batch batch = std::exchange(waiting_, {});
    if (batch.empty()) return;
    std::vector<Tensor> pictures;
    for (const Waiting& one : batch) pictures.push_back(one.picture());
    try {
      predictor_.submit(std::move(pictures));
    } catch (const std::exception&) {
      answer_sent(0);
      answer_alone(batch);
      return;
    }
    sent_.push_back(std::move(batch));
    answer_sent(predictor_.ahead());
  }

  /// Answers the oldest batches that were sent until only `left` are.
  void answer_sent(size_t left) {
    while (sent_.size() > left) {
      const Batch batch = std::move(sent_.front());
      sent_.pop_front();
      std::vector<Tensor> scores;
      try {
        scores = predictor_.collect();
      } catch (const std::exception&) {
        answer_alone(batch);
        continue;
      }
      for (size_t i = 0; i < batch.size(); ++i) {
        const auto failure = attempt([&] { answer(batch[i], std::move(scores[i])); });
        if (failure) fail(*batch[i].input, *failure);
      }
    }
  }

  /// Which picture made its batch fail shows when they run one by one.
  void answer_alone(const Batch& batch) {
    for (const Waiting& one : batch) {
      const auto failure = attempt([&] { answer(one, predictor_.scores({one.picture()})[0]); });
      if (failure) fail(*one.input, *failure);
    }
  }

  void answer(const Waiting& one, Tensor scores) {
    const Input& input = *one.input;
    const LoadedInput& loaded = one.loaded;
    Prediction prediction = model_.prediction_of(std::move(scores), flags_.k);
    if (!has_classes_) prediction.ranking.clear();
    if (!flags_.save.empty()) write_npy(flags_.save, prediction.scores);
    ++done_;
    progress_.clear();
    if (flags_.output.json) {
      print_as_json(input, loaded, prediction);
    } else if (!flags_.output.quiet) {
      print_answer(input, loaded, prediction, model_);
    }
  }

  void print_as_json(const Input& input, const LoadedInput& loaded,
                     const Prediction& prediction) const {
    Json json;
    json["input"] = {{"path", input.path.string()},
                     {"sha256", loaded.sha256},
                     {"width", loaded.width},
                     {"height", loaded.height}};
    json["model"] = {{"path", model_.path().string()}, {"name", model_.name()}};
    json["prediction"] = to_json(prediction);
    json["output"] = statistics_json(statistics_of(prediction.scores));
    json["output"]["name"] = model_.score_name();
    json["output"]["shape"] = to_json(prediction.scores.shape());
    json["engine"] = engine_json(model_);
    print_json(json);
  }

  const Flags& flags_;
  const Model& model_;
  const std::vector<Input>& inputs_;
  bool has_classes_;
  BatchPredictor predictor_;
  Progress progress_;
  Batch waiting_;           // read, all of one shape, not sent yet
  std::deque<Batch> sent_;  // in the network, not answered yet
  Failures failures_;
  size_t done_ = 0;
};

int run(const Flags& flags) {
  require_inputs(flags.inputs);
  const Model model = load_model(flags.model, flags.output);
  const std::vector<Input> inputs = find_inputs(flags.inputs);
  if (!flags.save.empty() && inputs.size() != 1) {
    throw Error(ErrorKind::kUsage,
                "--save takes one input, but there are " + std::to_string(inputs.size()),
                "save them one by one");
  }
  return PredictRun(flags, model, inputs).run();
}

}  // namespace

void add_predict(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Command command = program.add("predict", "Best classes of pictures, with logits", kExamples,
                                      [flags] { return run(*flags); });
  add_input_arguments(command, flags->inputs);
  add_model_flags(command, flags->model, ModelArgument::kOption);
  command.add_option("-k,--topk", flags->k, "How many classes [5]")
      .within(1, 1000000)
      .type_name("K");
  add_batch_flags(command, flags->model);
  command.add_option("--save", flags->save, "Write the raw output as float32 array")
      .type_name("FILE.npy");
  command.add_flag("--progress", flags->progress, "Show progress even without a terminal");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
