#include "tools/explain_request.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "explain/names.h"
#include "explain/target_grammar.h"
#include "tools/messages.h"

namespace camlucida::cli {
namespace {

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",") + part;
  return text;
}

/// All parts of all lists.
std::vector<std::string> split_all(const std::vector<std::string>& lists) {
  std::vector<std::string> parts;
  for (const std::string& list : lists) {
    for (std::string& part : split_list(list)) parts.push_back(std::move(part));
  }
  return parts;
}

/// The parameters given for one method, without its name.
std::map<std::string, std::string> settings_of(const std::map<std::string, std::string>& all,
                                               const std::string& method) {
  std::map<std::string, std::string> own;
  const std::string prefix = method + ".";
  for (const auto& [key, value] : all) {
    if (key.rfind(prefix, 0) == 0) own[key.substr(prefix.size())] = value;
  }
  return own;
}

bool is_top(const std::string& text) {
  if (text == "topk") return true;
  return text.size() > 3 && text.size() <= 9 && text.rfind("top", 0) == 0 && text[3] != '0' &&
         text.find_first_not_of("0123456789", 3) == std::string::npos;
}

}  // namespace

std::vector<std::string> split_list(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream stream(list);
  for (std::string part; std::getline(stream, part, ',');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

std::map<std::string, std::string> parse_settings(const std::vector<std::string>& texts) {
  std::map<std::string, std::string> settings;
  for (const std::string& setting : texts) {
    const size_t equals = setting.find('=');
    const size_t dot = setting.find('.');
    if (equals == std::string::npos || dot == std::string::npos || dot > equals) {
      throw Error(ErrorKind::kUsage, "--set " + setting + " is not of the form METHOD.KEY=VALUE",
                  "for instance --set scorecam.score=probability");
    }
    const std::string method = ExplainerRegistry::instance().require(setting.substr(0, dot)).name;
    settings[method + setting.substr(dot, equals - dot)] = setting.substr(equals + 1);
  }
  return settings;
}

void add_request_flags(const Command& command, RequestFlags& flags) {
  const std::string group = "What to explain";
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help).group(group);
  };
  add("--method", flags.methods,
      "Methods, NAME or NAME@VARIANT [gradcam]; all-gradient or all = every one that fits the "
      "network; see `camlucida methods`")
      .type_name("NAME,...")
      .repeatable();
  add("-t,--target-layer", flags.layers,
      "Layer: value, node or module name [chosen, with the reason printed]; "
      "several = mean of their maps")
      .type_name("NAME,...")
      .repeatable();
  add("-c,--class,--target", flags.classes,
      "Class index, label, topN (ranks 1 to N), topk (ranks 1 to K), or a target: margin:A-B, "
      "embed:FILE, distance:FILE, mask:FILE#C, pixel:X,Y#C, output:NAME[I,J], "
      "probability:C ... [top1; top3 for fmgcam]")
      .type_name("CLASS,...")
      .repeatable();
  add("-k,--topk", flags.k, "Classes in the prediction table, and K of topk [5]")
      .within(1, 1000000)
      .type_name("K");
  add("--normalise", flags.normalise,
      "Map: minmax (ReLU, 0 to 1), maxonly (divide by the largest magnitude), none (as the raw "
      "map)")
      .one_of({"minmax", "maxonly", "none"})
      .type_name("HOW");
  add("--set", flags.settings, "Parameter of a method, METHOD.KEY=VALUE; repeatable")
      .type_name("KEY=VALUE")
      .repeatable();
  const auto add_flag = [&](const char* name, bool& value, const char* help) {
    command.add_flag(name, value, help).group(group);
  };
  add_flag("--aug-smooth", flags.aug_smooth,
           "Mean of the maps of six views: mirrored or not, times 0.9, 1, 1.1");
  add_flag("--eigen-smooth", flags.eigen_smooth,
           "First principal component of the weighted activations instead of their sum");
  add("--seed", flags.seed, "Seed of methods that draw random numbers [0]").type_name("N");
}

ExplainRequest::ExplainRequest(const RequestFlags& flags, const Model& model,
                               const OutputFlags& output)
    : flags_(flags) {
  options_.normalisation = flags.normalise == "none"      ? Normalisation::kRaw
                           : flags.normalise == "maxonly" ? Normalisation::kMaxOnly
                                                          : Normalisation::kMinMax;
  options_.target.k = flags.k;
  options_.layer = join(split_all(flags.layers));
  for (const std::string& layer : split_all(flags.layers)) model.bound().require(layer);
  options_.settings = parse_settings(flags_.settings);
  options_.seed = flags_.seed;
  options_.aug_smooth = flags_.aug_smooth;
  options_.eigen_smooth = flags_.eigen_smooth;
  choose_methods(model, output);
  choose_classes(model);
}

void ExplainRequest::choose_methods(const Model& model, const OutputFlags& output) {
  const ExplainerRegistry& registry = ExplainerRegistry::instance();
  const std::vector<std::string> layers = split_list(options_.layer);
  const Subject subject = model.subject(layers.empty() ? "" : layers[0]);
  const auto take = [&](const MethodChoice& choice) {
    Settings settings(choice.method->name, choice.variant,
                      settings_of(options_.settings, choice.method->name), options_.seed);
    choice.method->needs(subject, settings);
    if (std::find(methods_.begin(), methods_.end(), choice.name()) == methods_.end()) {
      methods_.push_back(choice.name());
    }
  };
  const std::vector<std::string> usual = {"gradcam"};
  for (const std::string& name : split_all(flags_.methods.empty() ? usual : flags_.methods)) {
    const bool all = folded(name) == "all";
    if (!all && folded(name) != "allgradient") {
      take(choose_method(name));
      joint_ = joint_ || choose_method(name).method->joint;
      continue;
    }
    for (const auto& method : registry.all()) {
      if (!all && !method->shares_gradient()) continue;
      if (method->compares &&
          settings_of(options_.settings, method->name).count("reference") == 0) {
        if (!output.quiet) report_notice(method->name + " is left out: it compares two pictures");
        continue;
      }
      try {
        take({method.get(), method->variants.front().name});
      } catch (const Error& error) {
        if (!output.quiet) report_notice(method->name + " is left out: " + error.message());
      }
    }
  }
  if (methods_.empty()) {
    throw Error(ErrorKind::kUsage, "no method was given",
                "`camlucida methods` lists what this build can do");
  }
  options_.method = join(methods_);
}

void ExplainRequest::choose_classes(const Model& model) {
  options_.target.classes.clear();
  const auto check = [&](const std::string& text) {
    if (!is_top(text) && !is_target(text)) model.class_index(text);
    options_.target.classes.push_back(text);
  };
  if (flags_.classes.empty()) options_.target.classes = {joint_ ? "top3" : "top1"};
  const auto check_classes = [&](const std::string& text) {
    // Labels may hold commas ("tench, Tinca tinca"), so the whole text is tried first.
    const std::vector<std::string> parts = split_list(text);
    if (parts.size() > 1) {
      try {
        check(text);
        return;
      } catch (const Error&) {
      }
    }
    for (const std::string& part : parts) check(part);
  };
  for (const std::string& list : flags_.classes) {
    for (const std::string& text : split_targets(list)) {
      is_target(text) ? check(text) : check_classes(text);
    }
  }
}

ExplainOptions ExplainRequest::options(ProgressFunction progress, bool own_targets) const {
  ExplainOptions options = options_;
  if (own_targets) options.target = {.classes = {}, .k = options.target.k, .targets = {}};
  options.progress = std::move(progress);
  return options;
}

Answer ExplainRequest::run(const Model& model, const LoadedInput& input,
                           ProgressFunction progress) const {
  const ExplainOptions all = options(std::move(progress), false);
  return completed(
      input.is_tensor() ? model.explain(input.tensor(), all) : model.explain(input.image(), all),
      input);
}

Answer ExplainRequest::completed(Answer answer, const LoadedInput& input) {
  if (input.prepared) answer.timing.preprocess = input.preprocess_ms;
  std::map<std::string, std::set<std::string>> seen;  // targets by slug
  std::vector<Explanation> all = std::move(answer.explanations);
  answer.explanations.clear();
  for (Explanation& explanation : all) {
    std::set<std::string>& texts = seen[explanation.slug];
    if (!texts.insert(explanation.target_text).second) continue;
    // Different files may have the same name.
    if (texts.size() > 1) explanation.slug += "-" + std::to_string(texts.size());
    answer.explanations.push_back(std::move(explanation));
  }
  return answer;
}

Json ExplainRequest::to_json() const {
  Json json;
  json["methods"] = methods_;
  json["layer"] = options_.layer;
  json["classes"] = options_.target.classes;
  json["k"] = options_.target.k;
  json["normalise"] = flags_.normalise;
  json["settings"] = options_.settings;
  json["seed"] = options_.seed;
  json["aug_smooth"] = options_.aug_smooth;
  json["eigen_smooth"] = options_.eigen_smooth;
  return json;
}

}  // namespace camlucida::cli
