#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "engine/fs.h"
#include "engine/npy.h"
#include "explain/similarity/matches.h"
#include "explain/similarity/pair.h"
#include "tools/common_flags.h"
#include "tools/explain_request.h"
#include "tools/file_flags.h"
#include "tools/pair_candidates.h"
#include "tools/program.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExamples = R"(Examples:
  camlucida pair -m trunk.onnx cat.jpg lynx.jpg                    # FAM on both pictures
  camlucida pair -m faces.onnx a.png b.png --embedding output --method similarity,gradcam
  camlucida pair -m encoder.onnx query.png --support shots/        # the mean of several pictures
  camlucida pair -m encoder.onnx query.png --support classes/ --top 2   # a sub-folder per class
  camlucida pair -m trunk.onnx query.jpg --gallery photos/ --top 5 -o hits/   # search, explain hits

Embeddings: gap, mean over the pixels of the layer; gem, generalised mean; flat, the layer position
by position; output, the network's output vector. auto takes output if the manifest calls it an
embedding, else gap.

Files in DIR for cat.jpg and lynx.jpg (choose with --format):
  cat.pair.lynx.fam.a.png, .b.png       the maps over both pictures (png)
  cat.pair.lynx.fam.a.raw.npy, .map.npy float32 [h, w] and [H, W], as those of explain (raw, map)
  cat.pair.lynx.correspondence.b.npy    float32 [pixels of a, pixels of b]: sums to the cosine (raw)
  cat.pair.lynx.correspondence.b.png    lines between what belongs together (png)
  cat.pair.lynx.json                    similarity, maps, matches; written last (json)
  cat.ranking.json                      --gallery and classes: all of them, most similar first
  pair.embeddings.npy, .json            --gallery and classes: kept for the next run)";

struct Flags {
  ModelFlags model;
  OutputFlags output;
  FileFlags files;
  PairChoice choice;
  std::vector<std::string> methods = {"fam"};
  std::string similarity = "cosine", embedding = "auto", layer, normalise = "minmax";
  double gem_power = 3;
  std::vector<std::string> settings;
  uint64_t seed = 0;
  int top = 0;  ///< 0 = 1 class, 5 pictures of a gallery
  int matches = 20;
  bool strict = false, progress = false;
};

Comparison comparison_of(const Flags& flags) {
  Comparison comparison;
  comparison.measure = flags.similarity == "euclidean" ? Measure::kEuclidean : Measure::kCosine;
  for (const Comparison::Source source : {Comparison::Source::kMean, Comparison::Source::kGem,
                                          Comparison::Source::kFlat, Comparison::Source::kOutput}) {
    if (flags.embedding == name_of(source)) comparison.embedding = source;
  }
  comparison.gem_power = flags.gem_power;
  comparison.layer = flags.layer;
  return comparison;
}

PairRequest request_of(const Flags& flags) {
  PairRequest request;
  request.method.clear();
  for (const std::string& list : flags.methods) {
    for (const std::string& name : split_list(list)) {
      const MethodChoice choice = choose_method(name);
      if (choice.method->joint) {
        throw Error(ErrorKind::kUsage, choice.method->name + " compares several classes",
                    "a pair has one similarity: use fam, similarity or gradcam");
      }
      request.method += (request.method.empty() ? "" : ",") + choice.name();
    }
  }
  if (request.method.empty()) {
    throw Error(ErrorKind::kUsage, "no method was given",
                "`camlucida methods` lists what this build can do");
  }
  request.normalisation = flags.normalise == "none"      ? Normalisation::kRaw
                          : flags.normalise == "maxonly" ? Normalisation::kMaxOnly
                                                         : Normalisation::kMinMax;
  request.settings = parse_settings(flags.settings);
  request.seed = flags.seed;
  return request;
}

class PairRun {
 public:
  explicit PairRun(const Flags& flags)
      : flags_(flags),
        model_(load_model(flags.model, flags.output)),
        sha256_(model_.digest()),
        embedder_(model_, comparison_of(flags)),
        request_(request_of(flags)),
        files_(file_options(flags.files, request_.normalisation)) {}

  int run() {
    first_ = find_first(flags_.choice);
    candidates_ = find_candidates(flags_.choice, first_);
    loaded_ = load_input(first_, model_);
    if (files_.truth) {
      throw Error(ErrorKind::kUsage, "--format truth is for explain: a pair has two pictures",
                  "leave it out");
    }
    prepare_folder(files_.folder);
    catch_interrupts();
    const bool ranked = !flags_.choice.gallery.empty() || candidates_.size() > 1;
    if (ranked) {
      rank();
      if (interrupted()) return kExitInterrupted;
    }
    const size_t top = flags_.top > 0                  ? static_cast<size_t>(flags_.top)
                       : flags_.choice.gallery.empty() ? size_t{1}
                                                       : size_t{5};
    Failures failures;
    Progress progress(std::min(top, candidates_.size()), flags_.progress, flags_.output.quiet);
    for (size_t i = 0; i < std::min(top, candidates_.size()) && !interrupted(); ++i) {
      progress.show(i, candidates_[i].name);
      explain(candidates_[i], progress, failures);
      progress.clear();
    }
    if (ranked) write_ranking(top);
    return interrupted() ? kExitInterrupted : failures.exit_code();
  }

 private:
  Json comparison_json() const {
    return {{"measure", name_of(embedder_.measure())},
            {"embedding", name_of(embedder_.source())},
            {"gem_power", embedder_.source() == Comparison::Source::kGem
                              ? Json(embedder_.comparison().gem_power)
                              : Json()},
            {"layer", embedder_.layer()},
            {"value", embedder_.value()}};
  }

  Json preprocess_json() const {
    Json json = to_json(model_.preprocessing());
    json["source"] = model_.preprocessing_source();
    return json;
  }

  /// Candidates by similarity, without the picture itself.
  void rank() {
    Json identity = {{"model", sha256_}, {"preprocess", preprocess_json()}};
    identity["comparison"] = comparison_json();
    identity["comparison"].erase("measure");
    EmbeddingStore store(files_.folder, identity);
    Progress progress(candidates_.size(), flags_.progress, flags_.output.quiet);
    const std::string left_out = flags_.choice.gallery.empty() ? "" : loaded_.sha256;
    candidates_ = rank_candidates(std::move(candidates_), embedder_, picture_of(first_, loaded_),
                                  left_out, store, progress);
  }

  /// As a user reads it: a distance is not squared and has no sign.
  double shown(double similarity) const {
    return embedder_.measure() == Measure::kCosine ? similarity : std::sqrt(-similarity);
  }

  void write_ranking(size_t top) const {
    Json json = {{"schema", 1}, {"engine", engine_json(model_)}};
    json["model"] = model_json(model_, sha256_);
    json["preprocess"] = preprocess_json();
    json["comparison"] = comparison_json();
    json["first"] = input_json(first_, loaded_);
    json["ranking"] = Json::array();
    Table table(
        {{"rank", Table::Align::kRight},
         {"name"},
         {embedder_.measure() == Measure::kCosine ? "cosine" : "distance", Table::Align::kRight},
         {"explained in"}});
    for (size_t i = 0; i < candidates_.size(); ++i) {
      const Candidate& candidate = candidates_[i];
      Json members = Json::array();
      for (const Input& input : candidate.members) members.push_back(input.path.string());
      json["ranking"].push_back({{"name", candidate.name},
                                 {"similarity", candidate.similarity},
                                 {"members", members},
                                 {"json", candidate.json.empty() ? Json() : Json(candidate.json)}});
      if (i < std::max<size_t>(top, 10)) {
        table.add({std::to_string(i + 1), candidate.name,
                   fmt::format("{:.4f}", shown(candidate.similarity)), candidate.json});
      }
    }
    const std::string name = first_.name + ".ranking.json";
    write_file_atomic(files_.folder / name, to_text(json, 2) + "\n");
    if (flags_.output.json) {
      print_json(json);
    } else if (!flags_.output.quiet) {
      fmt::print("{} of {}, most similar first\n", first_.path.string(), candidates_.size());
      table.print(2);
      fmt::print("  written to {}: {}\n", files_.folder.string(), name);
    }
  }

  // ---- Explanation ------------------------------------------------------------------------------

  static Json input_json(const Input& input, const LoadedInput& loaded) {
    Json json = {{"path", input.path.string()},
                 {"sha256", loaded.sha256},
                 {"width", loaded.width},
                 {"height", loaded.height}};
    if (loaded.is_tensor()) json["tensor"] = true;
    return json;
  }

  Json request_json() const {
    Json json;
    json["methods"] = split_list(request_.method);
    json["embedding"] = flags_.embedding;
    json["layer"] = flags_.layer;
    json["normalise"] = flags_.normalise;
    json["settings"] = request_.settings;
    json["seed"] = request_.seed;
    json["matches"] = flags_.matches;
    json["format"] = flags_.files.formats;
    json["colormap"] = flags_.files.colormap;
    json["alpha"] = flags_.files.alpha;
    return json;
  }

  void explain(Candidate& candidate, Progress& progress, Failures& failures) {
    Input name = first_;
    name.name = first_.name + ".pair." + candidate.name;
    candidate.json = files_.json ? name.name + ".json" : "";
    std::vector<Picture> others;
    Json identity;
    identity["model"] = model_json(model_, sha256_);
    identity["preprocess"] = preprocess_json();
    identity["comparison"] = comparison_json();
    identity["first"] = input_json(first_, loaded_);
    identity["request"] = request_json();
    Json others_json = Json::array();
    for (const Input& input : candidate.members) {
      const LoadedInput loaded = load_input(input, model_);
      others_json.push_back(input_json(input, loaded));
      others.push_back(picture_of(input, loaded));
    }
    identity["others"] = others_json;
    if (flags_.files.resume && is_complete(files_, name, identity)) return;

    PairRequest request = request_;
    request.progress = progress.steps();
    const PairAnswer answer =
        compare_pictures(embedder_, picture_of(first_, loaded_), others, request);
    write(name, candidate, answer, identity);
    if (flags_.strict) check_meaning(answer, failures);
  }

  /// Names of the files of the correspondence with side `index`, without stem.
  static std::string correspondence_name(size_t index, const char* extension) {
    return "correspondence.b" + (index == 0 ? "" : std::to_string(index + 1)) + extension;
  }

  void write(const Input& name, const Candidate& candidate, const PairAnswer& answer,
             const Json& identity) {
    std::vector<Explanation> explanations = answer.first.explanations;
    Json json = {{"schema", 1}, {"engine", engine_json(model_)}};
    for (const char* key : {"model", "preprocess", "comparison", "first", "others"}) {
      json[key] = identity[key];
    }
    json["cosine"] = answer.cosine;
    json["distance"] = answer.distance;
    json["similarity"] = answer.similarity;
    json["length"] = answer.length;
    json["embedding_reason"] = embedder_.reason();
    json["explanations"] = Json::array();
    const auto add_side = [&](const PairSide& side, const std::string& path) {
      for (const Explanation& explanation : side.explanations) {
        Json one = to_json(explanation);
        one.erase("class");
        one["input"] = path;
        one["side"] = explanation.slug.substr(explanation.slug.rfind('.') + 1);
        json["explanations"].push_back(one);
      }
    };
    add_side(answer.first, first_.path.string());
    std::vector<std::string> extra;
    Json members = Json::array();
    for (size_t i = 0; i < answer.others.size(); ++i) {
      const PairSide& side = answer.others[i];
      add_side(side, candidate.members[i].path.string());
      explanations.insert(explanations.end(), side.explanations.begin(), side.explanations.end());
      members.push_back({{"path", candidate.members[i].path.string()},
                         {"similarity", side.similarity},
                         {"share", side.share}});
      if (!side.correspondence.defined()) continue;
      for (const char* extension : {".npy", ".png"}) {
        extra.push_back(correspondence_name(i, extension));
      }
    }
    json["members"] = members;

    FileWriter writer(files_, name);
    writer.check_free(explanations, false, flags_.files.force || flags_.files.resume, extra);
    writer.write_maps(explanations, false, json);
    json["correspondence"] = write_correspondences(writer, answer);
    json["request"] = identity["request"];
    writer.write_json(json);
    if (flags_.output.json) {
      if (flags_.choice.gallery.empty() && candidates_.size() == 1) print_json(json);
    } else if (!flags_.output.quiet) {
      print(candidate, answer, writer);
    }
  }

  /// Where a pixel of the layer lies, [x, y] in cells.
  static Json cell(const Explanation& explanation, int64_t index) {
    const int64_t width = explanation.layer_shape[3];
    return Json::array({index % width, index / width});
  }

  Json write_correspondences(FileWriter& writer, const PairAnswer& answer) const {
    if (!answer.no_correspondence.empty()) return {{"none", answer.no_correspondence}};
    Json sides = Json::array();
    const Explanation& from = answer.first.explanations[0];
    for (size_t i = 0; i < answer.others.size(); ++i) {
      const Tensor& matrix = answer.others[i].correspondence;
      const Explanation& to = answer.others[i].explanations[0];
      if (!matrix.defined()) continue;
      const std::vector<Match> matches =
          strongest_matches(matrix, static_cast<size_t>(flags_.matches));
      Json side = {{"shape", to_json(matrix.shape())}, {"sum", statistics_of(matrix).sum}};
      side["matches"] = Json::array();
      for (const Match& match : matches) {
        side["matches"].push_back({{"a", cell(from, match.from)},
                                   {"b", cell(to, match.to)},
                                   {"strength", match.strength}});
      }
      side["files"] = Json::object();
      if (files_.raw) {
        side["files"]["matrix"] = writer.write_extra(
            correspondence_name(i, ".npy"), [&](const fs::path& path) { write_npy(path, matrix); });
      }
      if (files_.overlay && from.picture != nullptr && to.picture != nullptr) {
        side["files"]["picture"] = writer.write_extra(
            correspondence_name(i, ".png"),
            [&](const fs::path& path) { draw_matches(from, to, matches).save_png(path); });
      }
      sides.push_back(side);
    }
    return sides;
  }

  void print(const Candidate& candidate, const PairAnswer& answer, const FileWriter& writer) const {
    const bool one = candidate.members.size() == 1;
    fmt::print(
        "{} and {}\n", first_.path.string(),
        one ? candidate.members[0].path.string()
            : fmt::format("the mean of {} pictures, {}", candidate.members.size(), candidate.name));
    fmt::print("  cosine {:.6f}, distance {:.6g}  ({} values, {}: {})\n", answer.cosine,
               answer.distance, answer.length, name_of(embedder_.source()), embedder_.reason());
    const Explanation& first = answer.first.explanations[0];
    fmt::print("  layer {} {}\n", embedder_.layer(), first.layer_shape.to_string());
    Table table(
        {{"method"}, {"side"}, {"picture"}, {"share", Table::Align::kRight}, {"status"}, {""}});
    const auto add = [&](const PairSide& side) {
      for (const Explanation& explanation : side.explanations) {
        const size_t dot = explanation.slug.rfind('.');
        table.add({explanation.slug.substr(0, dot), explanation.slug.substr(dot + 1), side.name,
                   &side == &answer.first ? "" : fmt::format("{:.4f}", side.share),
                   name_of(explanation.status), explanation.advice});
      }
    };
    add(answer.first);
    for (const PairSide& side : answer.others) add(side);
    table.print(2);
    if (!answer.no_correspondence.empty()) {
      fmt::print("  no correspondence: {}\n", answer.no_correspondence);
    }
    fmt::print("  written to {}:\n", files_.folder.string());
    for (const std::string& file : writer.written()) fmt::print("    {}\n", file);
  }

  /// --strict: the maps are written all the same, but the run fails.
  static void check_meaning(const PairAnswer& answer, Failures& failures) {
    const auto check = [&](const PairSide& side) {
      for (const Explanation& explanation : side.explanations) {
        if (explanation.status == Status::kOk) continue;
        failures.add(Error(ErrorKind::kMeaningless,
                           fmt::format("{}: the {} map is not meaningful ({})", side.name,
                                       explanation.method, name_of(explanation.status)),
                           explanation.advice),
                     side.name);
        return;
      }
    };
    check(answer.first);
    for (const PairSide& side : answer.others) check(side);
  }

  const Flags& flags_;
  Model model_;
  std::string sha256_;
  Embedder embedder_;
  PairRequest request_;
  FileOptions files_;
  Input first_;
  LoadedInput loaded_;
  std::vector<Candidate> candidates_;
};

}  // namespace

void add_pair(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Command command =
      program.add("pair", "Similarity of two pictures and maps of where it comes from", kExamples,
                  [flags] { return PairRun(*flags).run(); });
  command
      .add_option("A B", flags->choice.pictures,
                  "The pictures (or .npy tensors); B may be replaced by --support or --gallery")
      .required()
      .type_name("");
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help).group("What to compare");
  };
  add("--support", flags->choice.support,
      "Compare with the mean of the pictures in this folder; with one mean per sub-folder if it "
      "has only those, best first")
      .type_name("DIR");
  add("--gallery", flags->choice.gallery,
      "Rank the pictures of this folder, explain the most similar")
      .type_name("DIR");
  add("--top", flags->top, "How many of them to explain [1 class, 5 pictures]")
      .within(1, 1000000)
      .type_name("N");
  add("--similarity", flags->similarity, "cosine or euclidean [cosine]")
      .one_of({"cosine", "euclidean"})
      .type_name("HOW");
  add("--embedding", flags->embedding, "auto, gap, gem, flat or output [auto]")
      .one_of({"auto", "gap", "gem", "flat", "output"})
      .type_name("HOW");
  add("--gem-power", flags->gem_power, "Power of gem [3]").within(1.0, 100.0).type_name("P");
  add("--method", flags->methods,
      "Methods, of `camlucida methods`: fam, similarity, or any that explains a target [fam]")
      .type_name("NAME,...")
      .one_word();
  add("-t,--target-layer", flags->layer, "Layer: value, node or module name [chosen]")
      .type_name("NAME");
  add("--normalise", flags->normalise, "Map: minmax, maxonly or none, as in explain")
      .one_of({"minmax", "maxonly", "none"})
      .type_name("HOW");
  add("--set", flags->settings, "Parameter of a method, METHOD.KEY=VALUE; repeatable")
      .type_name("KEY=VALUE")
      .one_word();
  add("--seed", flags->seed, "Seed of methods that draw random numbers [0]").type_name("N");
  add("--matches", flags->matches, "Correspondences to list and draw [20]")
      .within(1, 10000)
      .type_name("N");
  add_model_flags(command, flags->model, ModelArgument::kOption);
  add_batch_flags(command, flags->model);
  add_file_flags(command, flags->files,
                 "Skip pairs whose JSON is complete and of the same request");
  command.add_flag("--strict", flags->strict, "Exit with 5 if a map is not meaningful");
  command.add_flag("--progress", flags->progress, "Show progress even without a terminal");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
