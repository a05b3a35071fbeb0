#include "tools/analyse_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "engine/fs.h"
#include "tools/explain_request.h"
#include "tools/program.h"
#include "tools/report.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

/// How much work an unexpected end may cost.
constexpr std::chrono::seconds kBetweenSaves(60);

/// Pictures are told apart by the first 52 bits of their digest.
uint64_t key_of(const LoadedInput& loaded) {
  return std::stoull(loaded.sha256.substr(0, 13), nullptr, 16);
}

ChannelSelection selection_of(const std::string& name) {
  if (name == "top") return ChannelSelection::kTop;
  if (name == "max") return ChannelSelection::kMax;
  if (name == "diff_top") return ChannelSelection::kDiffTop;
  if (name == "reverse_diff_top") return ChannelSelection::kReverseDiff;
  return ChannelSelection::kAll;
}

std::string text_of(const std::vector<uint8_t>& mask) {
  std::string channels;
  for (size_t k = 0; k < mask.size(); ++k) {
    if (mask[k] != 0) channels += (channels.empty() ? "" : ",") + std::to_string(k);
  }
  return channels;
}

/// Whether `path` is an array of the analysis `file`: both may lie in the folder that is analysed.
bool is_own_array(const fs::path& path, const fs::path& file) {
  return path.extension() == ".npy" &&
         path.filename().string().rfind(file.stem().string() + ".", 0) == 0 &&
         fs::absolute(path).lexically_normal().parent_path() ==
             fs::absolute(file).lexically_normal().parent_path();
}

std::string figure(double value) { return std::isnan(value) ? "-" : fmt::format("{:.4f}", value); }

}  // namespace

AnalyseRun::AnalyseRun(const AnalyseFlags& flags)
    : flags_(flags),
      model_(load_model(flags.model, flags.output)),
      method_(choose_method(flags.method).name()),
      items_(find_evaluation_items(flags.data, model_)),
      file_(start()) {
  std::erase_if(items_, [&](const EvaluationItem& item) {
    return is_own_array(item.input.path, flags.file);
  });
  for (const std::string& list : flags.classes) {
    for (const std::string& name : split_list(list)) {
      if (name != "none") model_.class_index(name);  // refuses what does not exist
    }
  }
}

/// The analysis to go on with: that of an earlier run, or an empty one.
IfaFile AnalyseRun::start() const {
  const Subject subject = model_.subject(flags_.layer);
  const Graph& graph = *subject.graph;
  const Shape& scores = graph.value(graph.require(subject.score)).desc.shape;
  const Value& layer = graph.value(graph.require(subject.layer));
  if (layer.is_constant() || layer.desc.shape.rank() != 4) {
    throw Error(ErrorKind::kUsage,
                "'" + layer.name + "' of shape " + layer.desc.shape.to_string() +
                    " is not a layer with channels and pixels",
                "`camlucida inspect MODEL --layers` lists the possible ones");
  }
  IfaFile fresh{IfaAnalysis({.model = model_.name(),
                             .model_sha256 = sha256_file(model_.path()),
                             .weights = weights_digest(graph),
                             .score = subject.score,
                             .layer = subject.layer,
                             .base = method_,
                             .channels = layer.desc.shape[1],
                             .classes = class_count(scores)}),
                false,
                {}};
  std::error_code code;
  if (!fs::exists(flags_.file, code) || flags_.force) return fresh;
  if (!flags_.resume) {
    throw Error(ErrorKind::kUsage, "'" + flags_.file + "' exists already",
                "use --force to replace it, --resume to go on, or another -o FILE");
  }
  IfaFile former = load_ifa(flags_.file);
  if (former.analysis.identity() != fresh.analysis.identity()) {
    throw Error(ErrorKind::kUsage,
                "'" + flags_.file + "' is the analysis of another model, layer or method",
                "use --force to replace it, or another -o FILE");
  }
  former.complete = false;
  former.consistency.clear();
  return former;
}

int AnalyseRun::run() {
  Progress progress(items_.size(), flags_.progress, flags_.output.quiet);
  catch_interrupts();
  gather(progress);
  if (file_.analysis.pictures().empty()) {
    return finish(failures_, 0, 0, items_.size(), "analysed", flags_.output);
  }
  file_.complete = !interrupted();
  save_ifa(flags_.file, file_);
  if (!interrupted()) {
    measure_consistency(progress);
    if (!interrupted()) save_ifa(flags_.file, file_);
  }
  progress.clear();
  if (flags_.output.json) {
    print_json(report());
  } else if (!flags_.output.quiet) {
    print_report();
  }
  return finish(failures_, done_, resumed_, items_.size(), "analysed", flags_.output);
}

void AnalyseRun::gather(Progress& progress) {
  auto saved = std::chrono::steady_clock::now();
  std::set<uint64_t> known;
  for (const IfaAnalysis::Picture& picture : file_.analysis.pictures()) known.insert(picture.key);
  std::set<uint64_t> seen;
  for (size_t i = 0; i < items_.size() && !interrupted(); ++i) {
    const EvaluationItem& item = items_[i];
    progress.show(i, item.input.path.string());
    try {
      const LoadedInput loaded = load_item(item, model_).input;
      const uint64_t key = key_of(loaded);
      if (!seen.insert(key).second) {
        ++repeated_;
        continue;
      }
      labelled_ += label_of(item).has_value();
      if (known.count(key) > 0) {
        ++resumed_;
      } else {
        add(item, loaded, progress);
        ++done_;
      }
      analysed_.push_back(&item);
    } catch (const Error& error) {
      progress.clear();
      if (error.kind() == ErrorKind::kUsage || error.kind() == ErrorKind::kResource) throw;
      failures_.add(error, item.input.path.string());
      failed_.push_back(failure_json(error, item.input));
    } catch (const std::bad_alloc&) {
      progress.clear();
      throw out_of_memory();
    }
    if (std::chrono::steady_clock::now() - saved > kBetweenSaves) {
      save_ifa(flags_.file, file_);
      saved = std::chrono::steady_clock::now();
    }
  }
  progress.clear();
}

void AnalyseRun::add(const EvaluationItem& item, const LoadedInput& loaded, Progress& progress) {
  int64_t predicted = 0;
  const Explanation map = explain(loaded, "top1", {}, &predicted, progress);
  const std::optional<int64_t> label = label_of(item);
  if (label && *label >= file_.analysis.identity().classes) {
    throw Error(ErrorKind::kInput,
                fmt::format("class {} is none of the network's {}", *label,
                            file_.analysis.identity().classes),
                "correct the index, or use --labels-from answer");
  }
  file_.analysis.add({.key = key_of(loaded),
                      .predicted = predicted,
                      .label = label.value_or(IfaAnalysis::kUnknownClass),
                      .low = map.statistics.min,
                      .high = map.statistics.max},
                     map.artefacts.at("importance").to_doubles());
}

std::optional<int64_t> AnalyseRun::label_of(const EvaluationItem& item) const {
  if (flags_.labels == "answer") return std::nullopt;
  if (flags_.labels != "folder" && item.class_index) return item.class_index;
  if (flags_.labels == "index") return std::nullopt;
  try {
    return model_.class_index(item.input.path.parent_path().filename().string());
  } catch (const Error&) {
    return std::nullopt;  // the folder is not named after a class
  }
}

Explanation AnalyseRun::explain(const LoadedInput& loaded, const std::string& target,
                                std::map<std::string, std::string> settings, int64_t* predicted,
                                Progress& progress) const {
  settings["ifa.base"] = method_;
  const ExplainOptions options{.method = "ifa",
                               .layer = file_.analysis.identity().layer,
                               .target = {.classes = {target}, .k = 1},
                               .settings = std::move(settings),
                               .progress = progress.steps()};
  Answer answer = loaded.is_tensor() ? model_.explain(loaded.tensor(), options)
                                     : model_.explain(loaded.image(), options);
  *predicted = answer.prediction.ranking.at(0).index;
  return std::move(answer.explanations.at(0));
}

/// The classes asked for, or the commonest answer.
std::vector<int64_t> AnalyseRun::consistency_classes() const {
  std::vector<int64_t> classes;
  for (const std::string& list : flags_.classes) {
    for (const std::string& name : split_list(list)) {
      if (name == "none") return {};
      classes.push_back(model_.class_index(name));
    }
  }
  if (!classes.empty()) return classes;
  std::map<int64_t, int64_t> answers;
  for (const IfaAnalysis::Picture& picture : file_.analysis.pictures())
    ++answers[picture.predicted];
  const auto commonest =
      std::max_element(answers.begin(), answers.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return {commonest->first};
}

void AnalyseRun::measure_consistency(Progress& progress) {
  const std::vector<int64_t> classes = consistency_classes();
  const IntensityScale scale = file_.analysis.scale();
  if (!classes.empty() && !(scale.high > scale.low && scale.high > 0)) {
    if (!flags_.output.quiet) {
      report_notice("the maps have no common range: their consistency is not measured");
    }
    return;
  }
  for (const int64_t class_index : classes) measure_class(class_index, progress);
}

/// All channels on the common scale, linear and tanh, and on a scale of their own; then the
/// selected channels.
void AnalyseRun::measure_class(int64_t class_index, Progress& progress) {
  const IntensityScale common = file_.analysis.scale();
  IntensityScale tanh = common;
  tanh.form = Rescaling::kTanh;
  const SelectionRule rule{.selection = selection_of(flags_.select), .ratio = flags_.ratio};
  std::string selected;
  if (needs_analysis(rule.selection) && file_.analysis.correct_of(class_index) > 0) {
    selected = text_of(
        select_channels(rule, &file_.analysis, class_index, file_.analysis.identity().channels));
  }
  std::vector<ConsistencySample> linear_all, tanh_all, own_all, linear_selected;
  for (size_t i = 0; i < analysed_.size() && !interrupted(); ++i) {
    progress.show(i, fmt::format("class {}: {}", class_index, analysed_[i]->input.path.string()));
    const LoadedInput loaded = load_item(*analysed_[i], model_).input;
    const auto sample = [&](const Explanation& map, const IntensityScale& scale, bool predicted) {
      const Placement& placement = map.placement;
      return ConsistencySample{
          .map_sum = map_sum(map.raw, scale, placement.height, placement.width),
          .logit = map.target.logit,
          .probability = map.target.probability,
          .predicted = predicted};
    };
    int64_t answer = 0;
    const std::string target = std::to_string(class_index);
    const Explanation whole = explain(loaded, target, {}, &answer, progress);
    const bool predicted = answer == class_index;
    linear_all.push_back(sample(whole, common, predicted));
    tanh_all.push_back(sample(whole, tanh, predicted));
    own_all.push_back(sample(whole, scale_of(whole.raw), predicted));
    if (selected.empty()) continue;
    const Explanation part = explain(
        loaded, target, {{"ifa.select", "index"}, {"ifa.channels", selected}}, &answer, progress);
    linear_selected.push_back(sample(part, common, predicted));
  }
  if (interrupted()) return;
  const auto add = [&](const std::string& channels, const char* scale,
                       const std::vector<ConsistencySample>& samples) {
    file_.consistency.push_back({class_index, channels, scale, consistency(samples)});
  };
  add("all", "norm", linear_all);
  add("all", "tanh", tanh_all);
  add("all", "per picture", own_all);
  if (!selected.empty()) {
    const bool share = rule.selection != ChannelSelection::kMax;
    add(flags_.select + (share ? fmt::format(" {}", flags_.ratio) : ""), "norm", linear_selected);
  }
}

/// The file that was written, and what this run came to.
Json AnalyseRun::report() const {
  const std::vector<uint8_t> bytes = read_file(flags_.file, uint64_t{1} << 26, "analysis");
  Json json = {{"file", flags_.file}};
  json.update(Json::parse(bytes));
  json["inputs"] = {{"total", items_.size()},
                    {"analysed", done_},
                    {"resumed", resumed_},
                    {"repeated", repeated_},
                    {"labelled", labelled_}};
  json["failures"] = failed_;
  return json;
}

void AnalyseRun::print_report() const {
  using Align = Table::Align;
  const IfaAnalysis& analysis = file_.analysis;
  fmt::print("{} on {} pictures, {} classified correctly; layer {}, {}\n", model_.name(),
             analysis.pictures().size(), analysis.correct(), analysis.identity().layer, method_);
  const std::vector<IfaAnalysis::Picture>& pictures = analysis.pictures();
  const auto unknown = std::count_if(pictures.begin(), pictures.end(), [](const auto& picture) {
    return picture.label == IfaAnalysis::kUnknownClass;
  });
  if (unknown > 0) fmt::print("  {} have no label and count as correct\n", unknown);
  if (repeated_ > 0) fmt::print("  {} pictures occur more than once and count once\n", repeated_);
  Table percentiles(
      {{"percentile", Align::kRight}, {"maxima", Align::kRight}, {"minima", Align::kRight}});
  for (const double percent : IfaAnalysis::kPercentiles) {
    percentiles.add({fmt::format("{}", percent),
                     fmt::format("{:.6g}", analysis.high_percentile(percent)),
                     fmt::format("{:.6g}", analysis.low_percentile(percent))});
  }
  percentiles.print(2);
  fmt::print("  common scale from {:.6g} to {:.6g}\n", analysis.scale().low, analysis.scale().high);
  if (!file_.consistency.empty())
    fmt::print("  consistency of the sum of the maps of one class:\n");
  Table table({{"class", Align::kRight},
               {"label"},
               {"channels"},
               {"scale"},
               {"r(logit)", Align::kRight},
               {"r(probability)", Align::kRight},
               {"AUROC", Align::kRight}});
  for (const ConsistencyEntry& entry : file_.consistency) {
    table.add({std::to_string(entry.class_index),
               shortened(model_.labels().name(static_cast<int>(entry.class_index)), 24),
               entry.channels, entry.scale, figure(entry.figures.pearson_logit),
               figure(entry.figures.pearson_probability), figure(entry.figures.auroc)});
  }
  table.print(2);
  fmt::print("  written to {}; use it with --method ifa --set ifa.scale={}\n", flags_.file,
             flags_.file);
}

}  // namespace camlucida::cli
