#include "tools/diff_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/fs.h"
#include "explain/metrics/math/confidence.h"
#include "explain/render.h"
#include "tools/output_files.h"
#include "tools/program.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;
using metrics::CommonMaps;
using metrics::MapAgreement;

/// Height of the pictures that are put side by side.
constexpr int kMinHeight = 224;
constexpr int kMaxHeight = 448;

/// `error` of what one of the two models cannot do.
Error about_model(const Error& error, const std::string& path) {
  return error.message().find(path) == std::string::npos ? error.with_context("'" + path + "'")
                                                         : error;
}

/// Where the network input lies in the picture when that is scaled to width x height.
Placement scaled(Placement placement, int width, int height) {
  const double x = static_cast<double>(width) / placement.picture_width;
  const double y = static_cast<double>(height) / placement.picture_height;
  placement.picture_width = width;
  placement.picture_height = height;
  placement.scale_x *= x;
  placement.left *= x;
  placement.scale_y *= y;
  placement.top *= y;
  return placement;
}

Tensor difference_of(const CommonMaps& maps) {
  Tensor difference(maps.a.shape());
  for (int64_t p = 0; p < difference.count(); ++p) {
    difference.floats()[p] = maps.b.floats()[p] - maps.a.floats()[p];
  }
  return difference;
}

/// Picture, map A, map B, and where B sees more (red) or less (blue) than A; without the picture if
/// there is none.
Image draw_drift(const Explanation& a, const Explanation& b, const CommonMaps& maps) {
  const Tensor difference = difference_of(maps);
  const RenderOptions signed_options{
      .colormap = Colormap::kBwr, .alpha = 0.7, .low = -0.5, .high = 0.5};
  std::vector<Image> panels;
  if (a.picture == nullptr) {
    const int height = std::clamp(static_cast<int>(maps.a.shape()[0]), kMinHeight, kMaxHeight);
    for (const Image& map :
         {render_map(maps.a), render_map(maps.b), render_map(difference, signed_options)}) {
      panels.push_back(scaled_to_height(map, height));
    }
    return side_by_side(panels);
  }
  const int height = std::clamp(a.picture->height(), kMinHeight, kMaxHeight);
  const Image picture = scaled_to_height(*a.picture, height);
  const auto overlay = [&](const Tensor& map, const Placement& placement,
                           const RenderOptions& options) {
    return render_overlay(picture, map, scaled(placement, picture.width(), height), options);
  };
  panels = {picture, overlay(a.map, a.placement, {}), overlay(b.map, b.placement, {}),
            overlay(difference, maps.placement, signed_options)};
  return side_by_side(panels);
}

/// Why maps cannot be compared; empty if they can.
std::string failure_of(const Explanation& a, const Explanation& b, const CommonMaps& maps) {
  if (a.statistics.nonfinite > 0) return "the map of A has values that are not finite";
  if (b.statistics.nonfinite > 0) return "the map of B has values that are not finite";
  const bool constant_a = metrics::is_constant(maps.a);
  const bool constant_b = metrics::is_constant(maps.b);
  if (constant_a && constant_b) {
    return fmt::format("both maps are constant ({}, {})", name_of(a.status), name_of(b.status));
  }
  if (constant_a) return fmt::format("the map of A is constant ({})", name_of(a.status));
  if (constant_b) return fmt::format("the map of B is constant ({})", name_of(b.status));
  return "";
}

Json side_json(const Explanation& explanation) {
  return {{"layer", explanation.layer},
          {"status", name_of(explanation.status)},
          {"score", explanation.score}};
}

}  // namespace

// ---- Two models, one request --------------------------------------------------------------------

DiffRun::Side::Side(const DiffFlags& flags, const ModelFlags& model_flags,
                    const RequestFlags& request_flags)
    : model(load_model(model_flags, flags.output)), sha256(sha256_file(model.path())), request([&] {
        try {
          ExplainRequest checked(request_flags, model, flags.output);
          checked.leave_out_artefacts();
          return checked;
        } catch (const Error& error) {
          throw about_model(error, model_flags.model);
        }
      }()) {}

Json DiffRun::Side::to_json() const {
  Json json = model_json(model, sha256);
  json["preprocess"] = cli::to_json(model.preprocessing());
  json["preprocess"]["source"] = model.preprocessing_source();
  json["target_layer"] = request.options().layer;
  return json;
}

ModelFlags DiffRun::model_flags(const std::string& model, const std::string& manifest) const {
  ModelFlags result = flags_.common;
  result.model = model;
  if (!manifest.empty()) result.manifest = manifest;
  return result;
}

RequestFlags DiffRun::request_flags_a() const {
  RequestFlags request = flags_.request;
  if (!flags_.layers_a.empty()) request.layers = flags_.layers_a;
  return request;
}

/// The methods that fit A; which targets is said picture by picture.
RequestFlags DiffRun::request_flags_b() const {
  RequestFlags request = flags_.request;
  if (!flags_.layers_b.empty()) request.layers = flags_.layers_b;
  request.methods = a_.request.methods();
  request.classes.clear();
  return request;
}

DiffRun::DiffRun(const DiffFlags& flags)
    : flags_(flags),
      a_(flags, model_flags(flags.model_a, flags.manifest_a), request_flags_a()),
      b_(flags, model_flags(flags.model_b, flags.manifest_b), request_flags_b()),
      inputs_(find_inputs(flags.inputs)) {
  judge_drift({}, flags.limits);  // refuses limits that are none
  if (flags.folder.empty() && (flags.resume || flags.force)) {
    throw Error(ErrorKind::kUsage, "--resume and --force are about files, and none are written",
                "name a folder with -o");
  }
}

/// What two runs must share so that one can go on with the other's comparisons.
Json DiffRun::identity() const {
  Json json;
  for (const auto& [name, side] : {std::pair{"a", &a_}, std::pair{"b", &b_}}) {
    json[name] = side->to_json();
    json[name].erase("path");
  }
  json["request"] = a_.request.to_json();
  json["top_share"] = flags_.top_share;
  json["tolerance"] = flags_.tolerance;
  const Json engine = engine_json(a_.model);
  json["engine"] = {{"name", engine["name"]}, {"version", engine["version"]}};
  return json;
}

void DiffRun::open_log() {
  if (flags_.folder.empty()) return;
  prepare_folder(flags_.folder);
  const auto mode = flags_.resume  ? EvaluationLog::Mode::kResume
                    : flags_.force ? EvaluationLog::Mode::kReplace
                                   : EvaluationLog::Mode::kFresh;
  log_ = std::make_unique<EvaluationLog>(fs::path(flags_.folder) / "diff.jsonl", identity(), mode,
                                         [](const Json& record) { return record; });
}

int DiffRun::run() {
  open_log();
  Progress progress(inputs_.size(), flags_.progress, flags_.output.quiet);
  catch_interrupts();
  for (size_t i = 0; i < inputs_.size() && !interrupted(); ++i) {
    const std::string path = inputs_[i].path.string();
    progress.show(i, path);
    try {
      records_.push_back(compare(inputs_[i], progress));
    } catch (const Error& error) {
      progress.clear();
      if (error.kind() == ErrorKind::kUsage || error.kind() == ErrorKind::kResource) throw;
      failures_.add(error, path);
      failed_.push_back(failure_json(error, inputs_[i]));
    } catch (const std::bad_alloc&) {
      progress.clear();
      throw out_of_memory();
    }
  }
  progress.clear();
  if (interrupted()) {
    report_error(fmt::format("stopped after {} of {} pictures{}", records_.size(), inputs_.size(),
                             log_ ? "; the same command with --resume goes on from there" : ""));
    return kExitInterrupted;
  }
  return finish_run();
}

// ---- One picture --------------------------------------------------------------------------------

Json DiffRun::compare(const Input& input, Progress& progress) {
  const LoadedInput loaded = load_input(input, a_.model);
  if (loaded.is_tensor()) load_input(input, b_.model);  // it must fit both
  const std::string key = loaded.sha256 + " " + input.name;
  if (const Json* known = log_ ? log_->find(key) : nullptr; known && complete(*known)) {
    ++resumed_;
    return *known;
  }
  const Answer a = a_.request.run(a_.model, loaded, progress.steps());
  std::vector<std::string> targets;
  for (size_t i = 0; i < a.explanations.size() / a_.request.methods().size(); ++i) {
    targets.push_back(target_in_b(a.explanations[i].target_text));
  }
  const Answer b = explain_b(loaded, targets, progress);
  Json record = compare_answers(input, loaded, a, b);
  record["key"] = key;
  if (log_) log_->append(record);
  return record;
}

/// Whether all files that the record names are there, and it names those that are wanted.
bool DiffRun::complete(const Json& record) const {
  return std::all_of(record["results"].begin(), record["results"].end(), [&](const Json& one) {
    if (flags_.no_pictures) return true;
    std::error_code code;
    return one.contains("picture") &&
           fs::exists(fs::path(flags_.folder) / one["picture"].get<std::string>(), code);
  });
}

Answer DiffRun::explain_b(const LoadedInput& loaded, const std::vector<std::string>& targets,
                          Progress& progress) const {
  ExplainOptions options = b_.request.options();
  options.target.classes = targets;
  options.progress = progress.steps();
  try {
    return loaded.is_tensor() ? b_.model.explain(loaded.tensor(), options)
                              : b_.model.explain(loaded.image(), options);
  } catch (const Error& error) {
    throw about_model(error, b_.model.path().string());
  }
}

/// Networks may count their classes differently: with a background at 0, or in another order. Where
/// the labels tell, the class of the same name is taken, else that of the same number.
int64_t DiffRun::class_in_b(int64_t index) const {
  const std::vector<std::string>& names_a = a_.model.labels().names();
  const std::vector<std::string>& names_b = b_.model.labels().names();
  const auto at = static_cast<size_t>(index);
  if (at >= names_a.size() || (at < names_b.size() && names_a[at] == names_b[at])) return index;
  int64_t nearest = -1;  // a few labels name two classes
  for (size_t i = 0; i < names_b.size(); ++i) {
    const auto candidate = static_cast<int64_t>(i);
    if (names_b[i] != names_a[at]) continue;
    if (nearest < 0 || std::abs(candidate - index) < std::abs(nearest - index)) nearest = candidate;
  }
  return nearest < 0 ? index : nearest;
}

/// A target of A as B has to read it: classes get B's numbers.
std::string DiffRun::target_in_b(const std::string& target) const {
  const size_t colon = target.find(':');
  const std::string kind = target.substr(0, colon);
  if (kind != "class" && kind != "margin" && kind != "probability" && kind != "log-probability" &&
      kind != "rest") {
    return target;
  }
  std::string text = kind + ":";
  for (size_t at = colon + 1; at < target.size();) {  // "281" or "281-282"
    size_t digits = 0;
    text += std::to_string(class_in_b(std::stoll(target.substr(at), &digits)));
    at += digits;
    if (at < target.size()) text += target[at++];
  }
  return text;
}

Json DiffRun::compare_answers(const Input& input, const LoadedInput& loaded, const Answer& a,
                              const Answer& b) const {
  const std::vector<std::string>& methods = a_.request.methods();
  if (a.explanations.size() != b.explanations.size()) {
    throw Error(ErrorKind::kInternal, "the models gave different numbers of maps");
  }
  Json record;
  record["input"] = {{"path", input.path.string()},
                     {"sha256", loaded.sha256},
                     {"width", loaded.width},
                     {"height", loaded.height}};
  record["prediction"] = compare_predictions(a.prediction, b.prediction);
  record["results"] = Json::array();
  const size_t targets = a.explanations.size() / methods.size();
  for (size_t i = 0; i < a.explanations.size(); ++i) {
    record["results"].push_back(
        compare_explanations(input, methods[i / targets], a.explanations[i], b.explanations[i]));
  }
  return record;
}

/// Null if one of the networks has no classes.
Json DiffRun::compare_predictions(const Prediction& a, const Prediction& b) const {
  if (a.ranking.empty() || b.ranking.empty()) return nullptr;
  const ClassScore& best = a.ranking[0];
  const int64_t index = class_in_b(best.index);
  const std::span<const float> scores = b.scores.as<float>();
  if (index >= static_cast<int64_t>(scores.size())) {
    throw Error(
        ErrorKind::kUsage,
        fmt::format("class {} ('{}') of '{}' is none of the {} of '{}'", best.index, best.label,
                    a_.model.path().string(), scores.size(), b_.model.path().string()),
        "compare networks of the same classes");
  }
  const double logit = scores[static_cast<size_t>(index)];
  const double probability = metrics::confidence(scores, index).probability;
  Json json;
  json["a"] = cli::to_json(best);
  json["b"] = cli::to_json(b.ranking[0]);
  json["flipped"] = index != b.ranking[0].index;
  json["logit_of_a_in_b"] = logit;
  json["probability_of_a_in_b"] = probability;
  json["logit_change"] = logit - best.logit;
  json["probability_change"] = probability - best.probability;
  return json;
}

Json DiffRun::compare_explanations(const Input& input, const std::string& method,
                                   const Explanation& a, const Explanation& b) const {
  Json json = {{"method", method},
               {"target", a.target_text},
               {"label", a.target.label},
               {"a", side_json(a)},
               {"b", side_json(b)}};
  const CommonMaps maps = metrics::on_common_grid(a.map, a.placement, b.map, b.placement);
  json["grid"] = {{"of", maps.on_picture ? "picture" : "network input"},
                  {"width", maps.a.shape()[1]},
                  {"height", maps.a.shape()[0]}};
  if (const std::string failure = failure_of(a, b, maps); !failure.empty()) {
    json["failure"] = failure;
  } else {
    const MapAgreement agreement = metrics::compare_maps(maps.a, maps.b, flags_.top_share);
    const auto side = static_cast<double>(std::min(maps.a.shape()[0], maps.a.shape()[1]));
    json["correlation"] = agreement.correlation;
    json["overlap"] = agreement.overlap;
    json["pointing"] = agreement.peak_distance <= flags_.tolerance * side ? 1 : 0;
    json["peak_distance"] = agreement.peak_distance;
    json["rms_difference"] = agreement.rms_difference;
    json["max_difference"] = agreement.max_difference;
  }
  if (log_ && !flags_.no_pictures) {
    const std::string name = input.name + "." + a.slug + ".diff.png";
    draw_drift(a, b, maps).save_png(fs::path(flags_.folder) / name);
    json["picture"] = name;
  }
  return json;
}

// ---- All pictures -------------------------------------------------------------------------------

int DiffRun::finish_run() {
  const DriftSummary summary = summarise_drift(records_, a_.request.methods());
  const std::vector<DriftVerdict> verdicts = judge_drift(summary, flags_.limits);
  const Json json = report(summary, verdicts);
  if (log_) {
    const fs::path folder = flags_.folder;
    write_file_atomic(folder / "diff.csv", drift_csv(records_));
    write_file_atomic(folder / "diff.json", to_text(json, 1) + "\n");
  }
  if (flags_.output.json) {
    print_json(json);
  } else if (!flags_.output.quiet && !records_.empty()) {
    print(summary);
  }
  const int code = finish(failures_, records_.size() - resumed_, resumed_, inputs_.size(),
                          "compared", flags_.output);
  bool crossed = false;
  if (!records_.empty()) {
    for (const DriftVerdict& verdict : verdicts) {
      if (!verdict.crossed) continue;
      report_error(verdict.flag + " " + verdict.limit + " is crossed: " + verdict.text);
      crossed = true;
    }
  }
  if (code != 0) return code;
  return crossed ? kExitDrift : 0;
}

Json DiffRun::report(const DriftSummary& summary, const std::vector<DriftVerdict>& verdicts) const {
  Json json = {{"schema", 1}, {"engine", engine_json(a_.model)}};
  json["a"] = a_.to_json();
  json["b"] = b_.to_json();
  json["request"] = a_.request.to_json();
  json["top_share"] = flags_.top_share;
  json["tolerance"] = flags_.tolerance;
  json["data"] = {
      {"arguments", flags_.inputs}, {"pictures", inputs_.size()}, {"compared", records_.size()}};
  json["summary"] = to_json(summary);
  json["judge"] = flags_.limits.judge;
  json["limits"] = to_json(verdicts);
  json["pictures"] = records_;
  for (Json& record : json["pictures"]) record.erase("key");
  json["failures"] = failed_;
  return json;
}

void DiffRun::print(const DriftSummary& summary) const {
  const Json& first = records_[0]["results"][0];
  const auto print_side = [&](const char* title, const char* key, const Side& side) {
    const std::string layer = first[key]["layer"].get<std::string>();
    fmt::print("{} {}{}\n", title, side.model.path().string(),
               layer.empty() ? "" : ", layer " + layer);
  };
  print_side("A", "a", a_);
  print_side("B", "b", b_);
  std::string classes;
  for (const std::string& one : a_.request.options().target.classes) {
    classes += (classes.empty() ? "" : ",") + one;
  }
  const Json& grid = first["grid"];
  fmt::print("  {} pictures, target {} of A, maps compared at the {}, {} x {}\n", records_.size(),
             classes, grid["of"] == "picture" ? "picture" : "network input",
             grid["width"].get<int64_t>(), grid["height"].get<int64_t>());
  print_drift(summary, records_);
  if (log_) {
    fmt::print("\n  written to {}: diff.json, diff.csv, diff.jsonl{}\n", flags_.folder,
               flags_.no_pictures ? "" : fmt::format(", {} pictures *.diff.png", summary.maps));
  }
}

}  // namespace camlucida::cli
