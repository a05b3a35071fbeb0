#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "engine/fs.h"
#include "explain/metrics/evaluator.h"
#include "explain/target_grammar.h"
#include "tools/common_flags.h"
#include "tools/evaluation_data.h"
#include "tools/evaluation_log.h"
#include "tools/evaluation_summary.h"
#include "tools/explain_request.h"
#include "tools/output_files.h"
#include "tools/pipeline.h"
#include "tools/program.h"
#include "tools/progress.h"
#include "tools/report.h"

namespace camlucida::cli {
namespace {

using metrics::MetricRegistry;

constexpr const char* kExamples = R"(Examples:
  camlucida evaluate -m resnet50.onnx photos/ --method gradcam,gradcam++ -o scores/
  camlucida evaluate -m resnet50.onnx set/index.json -c label --method all-gradient \
      --metric avg_drop,avg_gain,insertion_auc,deletion_auc,pointing_game -o scores/
  camlucida evaluate ... -o scores/ --resume             # go on after Ctrl-C or a crash
  camlucida evaluate ... --set deletion_auc.step=224 --set road_combined.score=probability
  camlucida evaluate ... -c label --bins accuracy        # the protocol of Decom-CAM
  camlucida evaluate -m NETWORK --data menagerie:500 -c label --method all-gradient \
      --metric pxap,part_energy,part_match -o scores/

DATA is a picture, folder, 'glob', .txt list or .npy tensor, or the index.json of a picture set with
classes, boxes, masks and parts (a folder that holds one stands for it):
  {"images": [{"file": "images/a.jpg", "class": 281, "box": [x0, y0, x1, y1],
               "mask": "masks/a.png", "parts": "parts/a.png"}, ...],
   "mask_values": {"0": "background", "1": "object", "2": "unsure"},
   "part_values": {"1": "ears", "2": "eyes"}}
Everything but "file" is optional. "boxes" is a list of boxes; x1 and y1 are exclusive. A "label" or
a "wnid" that the network's labels know may stand for "class".

DATA menagerie[:COUNT[:SEED]] draws COUNT [200] pictures of animals, nothing is written: classes,
boxes, masks and parts are exact. In menagerie-shortcut every second picture has a marker that has
nothing to do with the animal: does a map show it where a network learned to cheat by it? It counts
as the part "marker". The network must know the animals by name. docs/menagerie.md has figures.

Files in DIR: evaluation.jsonl (one line per picture, written as the run goes), evaluation.csv
(method x metric) and evaluation.json (all settings), written at the end.
)";

/// The table of metrics for --help.
std::string metric_list() {
  std::string text = "Metrics (cost in forwards per map):\n";
  for (const auto& metric : MetricRegistry::instance().all()) {
    const std::string needs = metric->truth == metrics::Truth::kNothing
                                  ? ""
                                  : fmt::format("; needs a {}", name_of(metric->truth));
    text += fmt::format("  {:<24} {} ({} is better; cost {}{})\n", metric->name, metric->formula,
                        name_of(metric->better), metric->passes, needs);
  }
  return text;
}

struct Flags {
  ModelFlags model;
  OutputFlags output;
  RequestFlags request;
  std::vector<std::string> data;
  std::vector<std::string> metrics = {"avg_drop,conf_increase,avg_gain,deletion_auc,insertion_auc"};
  std::string class_choice = "top1";
  std::string folder = ".";
  std::string bins = "none";
  int64_t limit = 0;
  bool force = false, resume = false, progress = false;
};

/// Splits --set into what belongs to methods and what to metrics.
std::vector<std::string> settings_for(const std::vector<std::string>& all, bool of_metrics) {
  std::vector<std::string> chosen;
  for (const std::string& setting : all) {
    const std::string owner = setting.substr(0, setting.find('.'));
    bool is_metric = true;
    try {
      MetricRegistry::instance().require(owner);
    } catch (const Error&) {
      is_metric = false;
    }
    if (is_metric == of_metrics) chosen.push_back(setting);
  }
  return chosen;
}

RequestFlags request_flags(const Flags& flags) {
  RequestFlags request = flags.request;
  request.settings = settings_for(flags.request.settings, false);
  request.classes = {flags.class_choice == "label" ? "top1" : flags.class_choice};
  return request;
}

/// Whether `item` has what the metric wants to know.
bool fits(const metrics::MetricDef& metric, const EvaluationItem& item) {
  switch (metric.truth) {
    case metrics::Truth::kNothing:
      return true;
    case metrics::Truth::kBox:
      return item.has_box();
    case metrics::Truth::kMask:
      return item.has_mask();
    case metrics::Truth::kParts:
      return item.has_parts();
  }
  return false;
}

std::vector<MetricChoice> choose_metrics(const Flags& flags,
                                         const std::vector<EvaluationItem>& items) {
  std::vector<MetricChoice> chosen;
  const auto take = [&](const metrics::MetricDef& metric) {
    const bool known = std::any_of(chosen.begin(), chosen.end(),
                                   [&](const MetricChoice& one) { return one.metric == &metric; });
    if (!known) chosen.push_back({&metric, {}});
  };
  const auto possible = [&](const metrics::MetricDef& metric) {
    return std::any_of(items.begin(), items.end(),
                       [&](const EvaluationItem& item) { return fits(metric, item); });
  };
  for (const std::string& list : flags.metrics) {
    for (const std::string& name : split_list(list)) {
      if (name == "all") {
        for (const auto& metric : MetricRegistry::instance().all()) {
          if (possible(*metric)) take(*metric);
        }
        continue;
      }
      const metrics::MetricDef& metric = MetricRegistry::instance().require(name);
      if (!possible(metric)) {
        throw Error(
            ErrorKind::kUsage,
            fmt::format("metric {} needs a {}, and no picture of DATA has one", metric.name,
                        name_of(metric.truth)),
            "give an index.json with boxes, masks or parts, see `camlucida evaluate --help`");
      }
      take(metric);
    }
  }
  if (chosen.empty()) throw Error(ErrorKind::kUsage, "no metric was given");
  for (const std::string& setting : settings_for(flags.request.settings, true)) {
    const size_t dot = setting.find('.');
    const size_t equals = setting.find('=');
    if (dot == std::string::npos || equals == std::string::npos || dot > equals) {
      throw Error(ErrorKind::kUsage, "--set " + setting + " is not of the form METRIC.KEY=VALUE",
                  "for instance --set deletion_auc.step=224");
    }
    const auto& metric = MetricRegistry::instance().require(setting.substr(0, dot));
    const auto found = std::find_if(chosen.begin(), chosen.end(),
                                    [&](const MetricChoice& one) { return one.metric == &metric; });
    if (found == chosen.end()) {
      throw Error(ErrorKind::kUsage, "--set " + setting + ": " + metric.name + " is not measured",
                  "add it with --metric");
    }
    found->given[setting.substr(dot + 1, equals - dot - 1)] = setting.substr(equals + 1);
  }
  return chosen;
}

/// Everything a run over many pictures shares, and what it has come to so far.
class EvaluateRun {
 public:
  explicit EvaluateRun(const Flags& flags)
      : flags_(flags),
        model_(load_model(flags.model, flags.output)),
        items_(read_items()),
        request_(request_flags(flags), model_, flags.output),
        metrics_(choose_metrics(flags, items_)),
        evaluator_(model_, request_.options()),
        bins_(flags.bins == "accuracy" ? Bins::kAccuracy : Bins::kNone) {
    check_class();
    const bool labelled = flags.class_choice == "label" || bins_ == Bins::kAccuracy;
    for (const EvaluationItem& item : items_) {
      if (!labelled || item.class_index || item.input.problem) continue;
      throw Error(ErrorKind::kUsage, "the class of '" + item.input.path.string() + "' is not known",
                  "give an index.json with classes for -c label and --bins accuracy");
    }
  }

  int run() {
    prepare_folder(flags_.folder);
    const auto mode = flags_.resume  ? EvaluationLog::Mode::kResume
                      : flags_.force ? EvaluationLog::Mode::kReplace
                                     : EvaluationLog::Mode::kFresh;
    EvaluationLog log(path("evaluation.jsonl"), identity(), mode, [&](const Json& record) {
      remember(record);
      return reduced(record);
    });
    Progress progress(items_.size(), flags_.progress, flags_.output.quiet);
    catch_interrupts();
    const int threads = items_.size() > 1 ? reading_threads(model_) : 0;
    ReadAhead<LoadedItem> reader(items_.size(), static_cast<size_t>(threads) + 1, threads,
                                 [this](size_t i) { return read(items_[i]); });
    for (size_t i = 0; i < items_.size() && !interrupted(); ++i) {
      progress.show(i, items_[i].input.path.string());
      try {
        evaluate(items_[i], reader.take(), log, progress);
      } catch (const Error& error) {
        progress.clear();
        if (error.kind() == ErrorKind::kUsage || error.kind() == ErrorKind::kResource) throw;
        failures_.add(error, items_[i].input.path.string());
        failed_.push_back(failure_json(error, items_[i].input));
      } catch (const std::bad_alloc&) {
        progress.clear();
        throw out_of_memory();
      }
    }
    progress.clear();
    if (interrupted()) {
      report_error(
          fmt::format("stopped after {} of {} pictures; the same command with --resume "
                      "goes on from there",
                      records_.size(), items_.size()));
      return kExitInterrupted;
    }
    return finish_run();
  }

 private:
  std::vector<EvaluationItem> read_items() const {
    std::vector<EvaluationItem> items = find_evaluation_items(flags_.data, model_);
    if (flags_.limit > 0 && static_cast<size_t>(flags_.limit) < items.size()) {
      items.resize(static_cast<size_t>(flags_.limit));
    }
    return items;
  }

  void check_class() const {
    const std::string& choice = flags_.class_choice;
    const bool top =
        choice.rfind("top", 0) == 0 && choice != "top1" &&
        (choice == "topk" || choice.find_first_not_of("0123456789", 3) == std::string::npos);
    if (top || is_target(choice) || request_.options().target.classes.size() != 1) {
      throw Error(ErrorKind::kUsage,
                  "evaluate explains one class per picture, not '" + choice + "'",
                  "use -c label, -c top1, a class index or a label");
    }
  }

  std::filesystem::path path(const char* name) const {
    return std::filesystem::path(flags_.folder) / name;
  }

  /// What two runs must share so that one can go on with the other's measurements.
  Json identity() const {
    Json json;
    json["model"] = model_json(model_, model_.digest());
    json["model"].erase("path");
    json["model"].erase("weights");
    json["preprocess"] = to_json(model_.preprocessing());
    json["methods"] = request_.methods();
    json["layer"] = request_.options().layer;
    json["class"] = flags_.class_choice;
    json["method_settings"] = request_.options().settings;
    json["seed"] = request_.options().seed;
    json["metrics"] = Json::object();
    for (const MetricChoice& choice : metrics_) json["metrics"][choice.metric->name] = choice.given;
    json["engine"] = {{"name", engine_json(model_)["name"]},
                      {"version", engine_json(model_)["version"]}};
    // Devices agree to rounding, precisions do not.
    const Precision precision = model_.options().precision;
    if (precision != Precision::kFp32) json["engine"]["precision"] = name_of(precision);
    return json;
  }

  /// On a thread that reads.
  LoadedItem read(const EvaluationItem& item) const {
    LoadedItem whole = load_item(item, model_);
    prepare_input(whole.input, model_);
    return whole;
  }

  void evaluate(const EvaluationItem& item, const LoadedItem& whole, EvaluationLog& log,
                Progress& progress) {
    const LoadedInput& loaded = whole.input;
    const std::string key_text = loaded.sha256 + " " + truth_text(item, whole);
    const std::string key =
        sha256({reinterpret_cast<const uint8_t*>(key_text.data()), key_text.size()}).substr(0, 32);
    if (const Json* known = log.find(key)) {
      records_.push_back(*known);
      ++resumed_;
      return;
    }
    const auto start = std::chrono::steady_clock::now();
    const PreparedInput& prepared = *loaded.prepared;
    ExplainOptions options = request_.options();
    if (flags_.class_choice == "label") {
      options.target.classes = {std::to_string(*item.class_index)};
    }
    options.progress = progress.steps();
    const Answer answer = model_.explain(prepared.tensor, options);

    metrics::PictureCase picture = evaluator_.picture(prepared.tensor, answer.prediction,
                                                      answer.explanations.at(0).target.index);
    // Of the picture itself, so that random numbers do not depend on its place in DATA.
    picture.number = std::stoull(loaded.sha256.substr(0, 12), nullptr, 16);
    if (item.has_box() || item.has_parts())
      picture.truth = load_truth(item, whole, prepared.placement);
    Json record = describe(item, loaded, key, answer, picture);
    for (size_t i = 0; i < answer.explanations.size(); ++i) {
      record["results"][request_.methods()[i]] =
          measure(answer.explanations[i], picture, record["settings"]);
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    record["ms"] = took.count();
    log.append(record);
    remember(record);
    records_.push_back(reduced(record));
  }

  /// Keeps what the report says about the run as a whole.
  void remember(const Json& record) {
    if (layer_.empty()) layer_ = record["layer"].get<std::string>();
    for (const auto& [name, used] : record["settings"].items()) {
      if (!settings_.contains(name)) settings_[name] = used;
    }
  }

  Json describe(const EvaluationItem& item, const LoadedInput& loaded, const std::string& key,
                const Answer& answer, const metrics::PictureCase& picture) const {
    const std::span<const float> scores = metrics::scores_of(picture.scores);
    Json record;
    record["key"] = key;
    record["input"] = {{"path", item.input.path.string()}, {"sha256", loaded.sha256}};
    record["class"] = picture.class_index;
    record["label"] = answer.explanations[0].target.label;
    record["logit"] = picture.logit();
    record["probability"] = picture.confidence().probability;
    record["predicted"] = answer.prediction.ranking.at(0).index;
    if (item.class_index) {
      record["true_class"] = *item.class_index;
      const bool exists = *item.class_index < picture.classes();
      record["true_probability"] =
          exists ? Json(metrics::confidence(scores, *item.class_index).probability) : Json();
    }
    record["layer"] = answer.explanations[0].layer;
    record["settings"] = Json::object();
    record["results"] = Json::object();
    return record;
  }

  /// All metrics of one map.
  Json measure(const Explanation& explanation, metrics::PictureCase& picture, Json& used) {
    Json json;
    json["status"] = name_of(explanation.status);
    json["parameters"] = to_json(explanation.parameters);
    json["metrics"] = Json::object();
    metrics::MapCase map = evaluator_.map(picture, explanation);
    const bool finite = explanation.statistics.nonfinite == 0;
    for (const MetricChoice& choice : metrics_) {
      Settings settings(choice.metric->name, "", choice.given, request_.options().seed);
      const metrics::Measurement measurement =
          finite ? metrics::measure_map(*choice.metric, map, settings)
                 : metrics::Measurement::failed("the map has values that are not finite");
      if (measurement.failure.empty()) {
        settings.check_all_read();
        used[choice.metric->name] = to_json(settings.used());
      }
      json["metrics"][choice.metric->name] = to_json(measurement);
    }
    return json;
  }

  int finish_run() {
    const std::vector<SummaryRow> rows = summarise(records_, request_.methods(), metrics_, bins_);
    const Json report = report_json(rows);
    write_file_atomic(path("evaluation.csv"), to_csv(rows));
    write_file_atomic(path("evaluation.json"), to_text(report, 1) + "\n");
    if (flags_.output.json) {
      print_json(report);
    } else if (!flags_.output.quiet && !records_.empty()) {
      print_report(rows);
    }
    return finish(failures_, records_.size() - resumed_, resumed_, items_.size(), "evaluated",
                  flags_.output);
  }

  Json report_json(const std::vector<SummaryRow>& rows) const {
    Json json = {{"schema", 1}, {"engine", engine_json(model_)}};
    const Json same = identity();
    for (const auto& [key, value] : same.items()) {
      if (key != "engine") json[key] = value;
    }
    json["data"] = {
        {"arguments", flags_.data}, {"pictures", items_.size()}, {"evaluated", records_.size()}};
    json["metrics"] = Json::object();
    for (const MetricChoice& choice : metrics_) {
      const metrics::MetricDef& metric = *choice.metric;
      json["metrics"][metric.name] = {
          {"title", metric.title},
          {"formula", metric.formula},
          {"source", metric.source},
          {"better", name_of(metric.better)},
          {"settings", settings_.contains(metric.name) ? settings_[metric.name] : Json::object()}};
    }
    json["bins"] = flags_.bins;
    json["summary"] = to_json(rows);
    json["failures"] = failed_;
    double milliseconds = 0;
    for (const Json& record : records_) milliseconds += record["ms"].get<double>();
    json["timing_ms"] = milliseconds;
    return json;
  }

  void print_report(const std::vector<SummaryRow>& rows) const {
    fmt::print("{} on {} pictures, class {}, layer {}\n\n", model_.name(), records_.size(),
               flags_.class_choice, layer_);
    print_summary(rows, metrics_, settings_);
    fmt::print("\nwritten to {}: evaluation.jsonl, evaluation.csv, evaluation.json\n",
               flags_.folder);
  }

  const Flags& flags_;
  Model model_;
  std::vector<EvaluationItem> items_;
  ExplainRequest request_;
  std::vector<MetricChoice> metrics_;
  metrics::Evaluator evaluator_;
  Bins bins_;
  std::vector<Json> records_;       // reduced
  Json settings_ = Json::object();  // of every metric, as used
  std::string layer_;
  Failures failures_;
  Json failed_ = Json::array();
  size_t resumed_ = 0;
};

}  // namespace

void add_evaluate(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Command command =
      program.add("evaluate", "How good maps are: metrics over a set of pictures",
                  kExamples + metric_list(), [flags] {
                    if (flags->data.empty()) {
                      throw Error(ErrorKind::kUsage, "DATA is missing",
                                  "name a folder, pictures or an index.json");
                    }
                    return EvaluateRun(*flags).run();
                  });
  command
      .add_option("DATA,--data", flags->data,
                  "Pictures, folder, 'glob', .txt list, index.json or menagerie[:COUNT[:SEED]]")
      .type_name("");
  add_model_flags(command, flags->model, ModelArgument::kOption);
  const std::string what = "What to measure";
  command
      .add_option("--method", flags->request.methods,
                  "Methods, NAME or NAME@VARIANT [gradcam]; all-gradient or all = every "
                  "one that fits the network")
      .repeatable()
      .type_name("NAME,...")
      .group(what);
  command
      .add_option("--metric", flags->metrics,
                  "Metrics, see below; all = every one that DATA allows "
                  "[avg_drop,conf_increase,avg_gain,deletion_auc,insertion_auc]")
      .repeatable()
      .type_name("NAME,...")
      .group(what);
  command
      .add_option(
          "-c,--class", flags->class_choice,
          "Class to explain: top1 = each picture's own best, label = its true class, or one "
          "class (index or label) for all [top1]")
      .type_name("CLASS")
      .group(what);
  command
      .add_option("-t,--target-layer", flags->request.layers,
                  "Layer: value, node or module name [chosen]")
      .repeatable()
      .type_name("NAME,...")
      .group(what);
  command
      .add_option("--set", flags->request.settings,
                  "Parameter of a method or metric, NAME.KEY=VALUE; repeatable")
      .repeatable()
      .type_name("KEY=VALUE")
      .group(what);
  command.add_option("--seed", flags->request.seed, "Seed of whatever draws random numbers [0]")
      .type_name("N")
      .group(what);
  command
      .add_option("--bins", flags->bins,
                  "accuracy: figures per tenth of the true class's probability too, misclassified "
                  "pictures left out [none]")
      .one_of({"none", "accuracy"})
      .type_name("HOW")
      .group(what);
  command.add_option("--limit", flags->limit, "Only the first N pictures")
      .within(int64_t{1}, int64_t{1} << 40)
      .type_name("N")
      .group(what);
  add_batch_flags(command, flags->model);
  const std::string files = "Files";
  command.add_option("-o,--output-dir", flags->folder, "Folder for the files, made if missing [.]")
      .type_name("DIR")
      .group(files);
  command.add_flag("--force", flags->force, "Replace an earlier run").group(files);
  command.add_flag("--resume", flags->resume, "Go on with an earlier run").group(files);
  command.add_flag("--progress", flags->progress, "Show progress even without a terminal");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
