#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "engine/fs.h"
#include "explain/batch_explainer.h"
#include "tools/common_flags.h"
#include "tools/concept_request.h"
#include "tools/explain_request.h"
#include "tools/file_flags.h"
#include "tools/inputs.h"
#include "tools/layer_sweep.h"
#include "tools/output_files.h"
#include "tools/pipeline.h"
#include "tools/program.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida explain -m resnet50.onnx cat.jpg                     # best class, Grad-CAM
  camlucida explain -m resnet50.onnx cat.jpg -c top3 -o maps/    # the three best classes
  camlucida explain -m resnet50.onnx cat.jpg -c "tabby cat" --method cam,gradcam
  camlucida explain -m resnet50.onnx photos/ --method all-gradient -o maps/ --resume
  camlucida explain -m resnet50.onnx photos/ -o maps/ --device cuda --batch-size 32
  camlucida explain -m resnet50.onnx cat.jpg -t layer3           # `inspect --layers` lists them
  camlucida explain -m clip.onnx cat.jpg --concepts words.npy --concept-names words.txt -c top3
  camlucida explain -m resnet50.onnx cat.jpg --layer-sweep       # which layer explains best here

Files in DIR for cat.jpg, Grad-CAM, class 281 (choose with --format):
  cat.gradcam.c281.png      the map over the picture (png)
  cat.gradcam.c281.raw.npy  float32 [h, w] at layer resolution, signed, not scaled (raw)
  cat.gradcam.c281.map.npy  float32 [H, W] at network-input resolution, 0 to 1 (map)
  cat.gradcam.c281.weights.npy  what else the method found: channel weights, components (parts)
  cat.gradcam.c281.truth.png  the picture, the object of cat.mask.png beside it, the overlay (truth)
  cat.fmgcam.png            fmgcam only: all its classes in one picture, a colour each (png)
  cat.json                  predictions, statistics, status, parameters; written last (json)
Inputs of one run with the same stem keep their extension (cat.jpg.*, cat.png.*), or get the name of
their folder in front (siamese__cat.*). With --json the content of each JSON file is printed too,
one line per input. A map whose status is not ok comes with one sentence of advice.)";

struct Flags {
  ModelFlags model;
  OutputFlags output;
  RequestFlags request;
  ConceptFlags concepts;
  std::vector<std::string> inputs;
  FileFlags files;
  bool strict = false, progress = false, layer_sweep = false;
};

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  return took.count();
}

/// Everything a run over many inputs shares, and what it has come to so far.
class ExplainRun {
 public:
  explicit ExplainRun(const Flags& flags)
      : flags_(flags),
        start_(std::chrono::steady_clock::now()),
        model_(load_model(flags.model, flags.output)),
        load_ms_(milliseconds_since(start_)),
        sha256_(model_.digest()),
        request_flags_(flags.request),
        concepts_(read_concepts()),
        request_(request_flags_, model_, flags.output),
        files_(file_options(flags.files, request_.normalisation())) {
    if (!files_.parts) request_.leave_out_artefacts();
  }

  int run() {
    if (flags_.layer_sweep && concepts_) {
      throw Error(ErrorKind::kUsage, "--layer-sweep ranks layers for classes, not for concepts",
                  "leave out --concepts");
    }
    const std::vector<Input> inputs = find_inputs(flags_.inputs);
    if (flags_.layer_sweep) {
      return run_layer_sweep(model_, request_, inputs, flags_.output, flags_.progress);
    }
    prepare_folder(files_.folder);
    if (!flags_.files.force && !flags_.files.resume) check_free(inputs);
    Progress progress(inputs.size(), flags_.progress, flags_.output.quiet);
    catch_interrupts();
    explain_all(inputs, progress);
    progress.clear();
    return finish(failures_, done_, skipped_, inputs.size(), "explained", flags_.output);
  }

 private:
  /// An input as it comes from the threads that read.
  struct Ready {
    LoadedInput loaded;
    Json same;  ///< see identity()
    bool complete = false;
  };
  /// An input that was read, or why not, on its way through the network.
  struct Waiting {
    const Input* input = nullptr;
    size_t index = 0;
    Ready ready = {};
    std::vector<ConceptLevel> levels = {};
    std::vector<Target> targets = {};  ///< of concepts, else those of the request
    std::optional<Error> failure = std::nullopt;
  };
  /// What is known of an input once its maps are, on its way to the thread that writes.
  struct Explained {
    Ready input;
    std::vector<ConceptLevel> levels;
    Answer answer;
  };

  /// Reads on some threads, computes on this one and writes on another, in the order of the inputs.
  /// Everything that is printed or counted is so by the thread that writes. On a GPU pictures of
  /// one shape wait for each other until a batch is full.
  void explain_all(const std::vector<Input>& inputs, Progress& progress) {
    constexpr size_t kWaiting = 2;
    const int threads = inputs.size() > 1 ? reading_threads(model_) : 0;
    ReadAhead<Ready> reader(inputs.size(), static_cast<size_t>(threads) + 1, threads,
                            [&](size_t i) { return read(inputs[i]); });
    TaskQueue writer(kWaiting);
    BatchExplainer explainer(model_, request_.options(progress.steps(), concepts_.has_value()),
                             inputs.size());
    std::vector<Waiting> waiting;
    size_t pictures = 0;  // of those waiting, the others are failures
    size_t full = 0;      // pictures that the batch takes
    const auto explain_waiting = [&] {
      explain(std::exchange(waiting, {}), explainer, writer, progress);
      pictures = full = 0;
    };
    for (size_t i = 0; i < inputs.size() && !interrupted(); ++i) {
      const Input& input = inputs[i];
      // What goes into a batch shows when its turn has come.
      if (!model_.takes_batches()) progress.show(i, input.path.string());
      Waiting one = take(input, i, reader);
      if (one.ready.complete) {
        if (model_.takes_batches()) progress.show(i, input.path.string());
        writer.add([this] { ++skipped_; });
        continue;
      }
      if (!one.failure) {
        const LoadedInput& loaded = one.ready.loaded;
        if (pictures > 0 && shape_of(waiting) != loaded.prepared->tensor.shape()) explain_waiting();
        if (pictures++ == 0) {
          full = batch_of(explainer, loaded);
          reader.look_ahead(static_cast<size_t>(threads) + full);  // the next batch
        }
      }
      waiting.push_back(std::move(one));
      if (pictures >= full) explain_waiting();
    }
    if (!interrupted()) explain_waiting();
    writer.finish();
  }

  Waiting take(const Input& input, size_t index, ReadAhead<Ready>& reader) const {
    Waiting one{.input = &input, .index = index};
    try {
      one.ready = reader.take();
      if (concepts_ && !one.ready.complete) {
        one.levels = concepts_->rank(one.ready.loaded);
        one.targets = concepts_->targets(one.levels);
      }
    } catch (const Error& error) {
      one.failure = error;
    } catch (const std::bad_alloc&) {
      one.failure = out_of_memory();
    }
    return one;
  }

  /// Of the pictures that wait, of which there is one.
  static const Shape& shape_of(const std::vector<Waiting>& waiting) {
    const auto picture = std::find_if(waiting.begin(), waiting.end(),
                                      [](const Waiting& one) { return !one.failure; });
    return picture->ready.loaded.prepared->tensor.shape();
  }

  /// How many pictures like this one go through the network together: what the network takes, but
  /// not so many that the pictures themselves, which the overlays need, fill the memory. There are
  /// two batches at a time, one in work and one being read.
  static size_t batch_of(BatchExplainer& explainer, const LoadedInput& loaded) {
    constexpr size_t kHeldBytes = size_t{1} << 29;
    const Shape& shape = loaded.prepared->tensor.shape();
    const bool held = !loaded.is_tensor() && loaded.picture() != nullptr;
    const size_t bytes = held ? loaded.image().pixels().size() : 0;
    const size_t rows = explainer.batch(shape);
    size_t most = rows;
    while (most > 1 && most * bytes > kHeldBytes) most /= 2;
    if (most == rows) return rows;
    explainer.limit(most);
    return explainer.batch(shape);
  }

  /// Explains what waits and hands it to the thread that writes; after an interruption no more.
  void explain(std::vector<Waiting> waiting, BatchExplainer& explainer, TaskQueue& writer,
               Progress& progress) {
    std::vector<PictureToExplain> pictures;
    for (const Waiting& one : waiting) {
      if (one.failure) continue;
      const LoadedInput& loaded = one.ready.loaded;
      pictures.push_back(
          {*loaded.prepared, loaded.is_tensor() ? nullptr : loaded.picture(), one.targets});
    }
    explainer.start(std::move(pictures));
    size_t picture = 0;
    for (Waiting& one : waiting) {
      if (interrupted()) break;
      if (model_.takes_batches()) progress.show(one.index, one.input->path.string());
      auto explained = std::make_shared<Explained>();
      if (!one.failure) {
        try {
          explained->answer =
              ExplainRequest::completed(explainer.explain(picture++), one.ready.loaded);
        } catch (const Error& error) {
          one.failure = error;
        } catch (const std::bad_alloc&) {
          one.failure = out_of_memory();
        }
      }
      explained->input = std::move(one.ready);
      explained->levels = std::move(one.levels);
      writer.add([this, &input = *one.input, &progress, explained, failure = one.failure] {
        conclude(input, *explained, failure, progress);
      });
    }
    explainer.start({});  // lets go of the pictures
  }

  /// Adapts request_flags_ to concepts, if they are asked for.
  std::optional<ConceptRequest> read_concepts() {
    const ConceptFlags& flags = flags_.concepts;
    if (!flags.vectors.empty()) return ConceptRequest(flags, model_, request_flags_);
    if (flags.names.empty() && flags.tree.empty()) return std::nullopt;
    throw Error(ErrorKind::kUsage, "--concept-names and --concept-tree name vectors",
                "give these with --concepts");
  }

  void check_free(const std::vector<Input>& inputs) const {
    for (const Input& input : inputs) FileWriter(files_, input).check_free({}, false, false);
  }

  /// What makes two runs on one input the same, as it stands in the JSON.
  Json identity(const Input& input, const LoadedInput& loaded) const {
    Json json;
    json["model"] = model_json(model_, sha256_);
    json["input"] = {{"path", input.path.string()},
                     {"sha256", loaded.sha256},
                     {"width", loaded.width},
                     {"height", loaded.height}};
    if (loaded.is_tensor()) {
      json["input"]["tensor"] = true;
      json["preprocess"] = {{"applied", false}};
    } else {
      json["preprocess"] = to_json(model_.preprocessing());
      json["preprocess"]["source"] = model_.preprocessing_source();
    }
    json["request"] = request_.to_json();
    json["request"]["format"] = flags_.files.formats;
    json["request"]["colormap"] = flags_.files.colormap;
    json["request"]["alpha"] = flags_.files.alpha;
    // Devices agree to rounding, precisions do not.
    const Precision precision = model_.options().precision;
    if (precision != Precision::kFp32) json["request"]["precision"] = name_of(precision);
    if (concepts_) json["request"]["concepts"] = concepts_->identity();
    return json;
  }

  /// On a thread that reads.
  Ready read(const Input& input) const {
    Ready ready{.loaded = load_input(input, model_)};
    ready.same = identity(input, ready.loaded);
    ready.complete = flags_.files.resume && is_complete(files_, input, ready.same);
    if (!ready.complete) prepare_input(ready.loaded, model_);
    if (!ready.loaded.is_tensor() && !files_.overlay && !files_.truth) {
      ready.loaded.data = std::shared_ptr<const Image>();  // nobody looks at it again
    }
    return ready;
  }

  /// On the thread that writes: files, standard output and errors of one input.
  void conclude(const Input& input, const Explained& explained, const std::optional<Error>& failure,
                Progress& progress) {
    try {
      if (failure) throw *failure;
      write(input, explained, progress);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kUsage) throw;  // it is the same for every input
      fail(input, error, progress);
    } catch (const std::bad_alloc&) {
      fail(input, out_of_memory(), progress);
    }
  }

  void fail(const Input& input, const Error& error, Progress& progress) {
    const auto paused = progress.pause();
    failures_.add(error, input.path.string());
    if (flags_.output.json) print_json(failure_json(error, input));
  }

  void write(const Input& input, const Explained& explained, Progress& progress) {
    const LoadedInput& loaded = explained.input.loaded;
    const Json& same = explained.input.same;
    const Answer& answer = explained.answer;
    const std::vector<Explanation>& explanations = answer.explanations;
    FileWriter writer(files_, input);
    writer.check_free(explanations, loaded.is_tensor(), flags_.files.force || flags_.files.resume);

    Json json = {{"schema", 1}, {"engine", engine_json(model_)}};
    json["model"] = same["model"];
    json["input"] = same["input"];
    json["preprocess"] = same["preprocess"];
    json["prediction"] = to_json(answer.prediction);
    if (concepts_) json["concepts"] = concepts_->to_json(explained.levels);
    json["explanations"] = Json::array();
    for (const Explanation& explanation : explanations) {
      json["explanations"].push_back(to_json(explanation));
    }
    const auto start = std::chrono::steady_clock::now();
    writer.write_maps(explanations, loaded.is_tensor(), json);
    json["request"] = same["request"];
    json["timing_ms"] = {{"load", load_ms_},
                         {"preprocess", answer.timing.preprocess},
                         {"plan", answer.timing.plan},
                         {"forward", answer.timing.forward},
                         {"backward", answer.timing.backward},
                         {"explain", answer.timing.explain},
                         {"write", milliseconds_since(start)}};
    writer.write_json(json);
    ++done_;
    const auto paused = progress.pause();
    report(input, loaded, answer, explained.levels, writer, json);
    if (flags_.strict) check_meaning(input, explanations);
  }

  void report(const Input& input, const LoadedInput& loaded, const Answer& answer,
              const std::vector<ConceptLevel>& levels, const FileWriter& writer,
              const Json& json) const {
    if (flags_.output.json) {
      print_json(json);
    } else if (!flags_.output.quiet) {
      print_answer(input, loaded, answer, levels, writer);
    }
  }

  void print_answer(const Input& input, const LoadedInput& loaded, const Answer& answer,
                    const std::vector<ConceptLevel>& levels, const FileWriter& writer) const {
    fmt::print("{}  {} x {}{}\n", input.path.string(), loaded.width, loaded.height,
               loaded.is_tensor() ? ", a tensor: no preprocessing, no overlay" : "");
    if (!model_.score_reason().empty()) fmt::print("  {}\n", model_.score_reason());
    concepts_ ? concepts_->print(levels) : print_ranking(answer.prediction);
    const Explanation& first = answer.explanations[0];
    if (!first.layer.empty()) {
      fmt::print("  layer {} {}: {}\n", first.layer, first.layer_shape.to_string(),
                 first.layer_reason);
    }
    Table table({{"method"}, {"class", Table::Align::kRight}, {"label"}, {"status"}, {""}});
    for (const Explanation& explanation : answer.explanations) {
      const bool is_class = explanation.target.index >= 0;
      table.add({explanation.slug.substr(0, explanation.slug.find('.')),
                 is_class ? std::to_string(explanation.target.index) : "",
                 shortened(explanation.target.label, 24), name_of(explanation.status),
                 explanation.advice});
    }
    table.print(2);
    fmt::print("  written to {}:\n", files_.folder.string());
    for (const std::string& name : writer.written()) fmt::print("    {}\n", name);
  }

  /// --strict: the maps are written all the same, but the run fails.
  void check_meaning(const Input& input, const std::vector<Explanation>& explanations) {
    for (const Explanation& explanation : explanations) {
      // A map that ignores the class still shows something.
      if (explanation.status == Status::kOk || explanation.status == Status::kClassAgnostic) {
        continue;
      }
      failures_.add(Error(ErrorKind::kMeaningless,
                          fmt::format("{}: the {} map of {} is not meaningful ({})",
                                      input.path.string(), explanation.method,
                                      explanation.target_text, name_of(explanation.status)),
                          explanation.advice),
                    input.path.string());
      return;
    }
  }

  const Flags& flags_;
  std::chrono::steady_clock::time_point start_;
  Model model_;
  double load_ms_;
  std::string sha256_;
  RequestFlags request_flags_;
  std::optional<ConceptRequest> concepts_;
  ExplainRequest request_;
  FileOptions files_;
  Failures failures_;
  size_t done_ = 0;
  size_t skipped_ = 0;
};

}  // namespace

void add_explain(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Command command = program.add(
      "explain", "Best classes of pictures and maps of what speaks for them", kExamples, [flags] {
        require_inputs(flags->inputs);
        return ExplainRun(*flags).run();
      });
  add_input_arguments(command, flags->inputs);
  add_model_flags(command, flags->model, ModelArgument::kOption);
  add_request_flags(command, flags->request);
  add_concept_flags(command, flags->concepts);
  add_batch_flags(command, flags->model);
  add_file_flags(command, flags->files,
                 "Skip inputs whose JSON is complete and of the same model and request");
  command.add_flag("--layer-sweep", flags->layer_sweep,
                   "Instead of maps: rank all sensible layers by insertion minus deletion of the "
                   "method's map");
  command.add_flag("--strict", flags->strict, "Exit with 5 if a map is not meaningful");
  command.add_flag("--progress", flags->progress, "Show progress even without a terminal");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
