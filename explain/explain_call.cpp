#include "explain/explain_call.h"

#include <algorithm>
#include <cctype>

#include "engine/passes/passes.h"
#include "explain/model_state.h"
#include "explain/target_grammar.h"

namespace camlucida {
namespace {

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    if (end > begin) parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

int top_count(const std::string& text, int k) {
  if (text.rfind("top", 0) != 0) return 0;
  if (text == "topk") return k;
  const std::string digits = text.substr(3);
  if (digits.empty() || digits.size() > 6 ||
      !std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c); })) {
    return 0;
  }
  return std::stoi(digits);
}

ExplainCall::ExplainCall(const Model& model, ModelState& state, const ExplainOptions& options,
                         const Shape& input_shape)
    : model_(model), state_(state), options_(options), input_shape_(input_shape) {
  for (const std::string& name : split(options.method)) add_request(choose_method(name));
  if (requests_.empty()) throw Error(ErrorKind::kUsage, "no method was given");
  check_settings();
  if (input_shape.rank() > 0 && input_shape[0] != 1) {
    throw Error(ErrorKind::kUsage,
                "explain takes one picture at a time, the input is " + input_shape.to_string(),
                "give the pictures one by one: each has its own classes");
  }
  if (input_shape == model_.input_shape()) {
    bound_ = &state_.bound;
  } else {
    own_bound_ = bind_shapes(state_.graph, {{state_.input, input_shape}});
    bound_ = &own_bound_;
  }
  choose_score();
  choose_layers();
  for (Request& request : requests_) {
    request.needs = Needs{.outputs = {score_}, .score = score_};
    for (const Subject& subject : subjects_) {
      request.needs = request.needs | request.choice.method->needs(subject, request.settings);
    }
  }
}

void ExplainCall::add_request(const MethodChoice& choice) {
  std::map<std::string, std::string> given;
  for (const auto& [key, value] : options_.settings) {
    const size_t dot = key.find('.');
    if (dot == std::string::npos) continue;
    if (choose_method(key.substr(0, dot)).method == choice.method) {
      given[key.substr(dot + 1)] = value;
    }
  }
  requests_.push_back(
      {choice, Settings(choice.method->name, choice.variant, given, options_.seed), {}});
}

void ExplainCall::check_settings() const {
  for (const auto& [key, value] : options_.settings) {
    const std::string owner = key.substr(0, key.find('.'));
    const MethodChoice choice = choose_method(owner);
    if (key.find('.') == std::string::npos ||
        std::none_of(requests_.begin(), requests_.end(), [&](const Request& request) {
          return request.choice.method == choice.method;
        })) {
      throw Error(ErrorKind::kUsage, "the setting '" + key + "' is for no method of this run",
                  "write METHOD.PARAMETER for a method that is asked for");
    }
  }
}

/// The score tensor all targets are functions of: the network's, unless a target names another.
void ExplainCall::choose_score() {
  score_ = state_.score;
  if (!options_.output.empty()) score_ = bound_->value(bound_->require(options_.output)).name;
  bool named = false;
  for (const std::string& text : options_.target.classes) {
    const std::string output = target_output(text);
    if (output.empty()) {
      check_classes(text);
      continue;
    }
    const std::string name = bound_->value(bound_->require(output)).name;
    if (named && name != score_) {
      throw Error(ErrorKind::kUsage,
                  "targets of different outputs ('" + score_ + "', '" + name +
                      "') cannot be explained together",
                  "run them one after the other");
    }
    score_ = name;
    named = true;
  }
  if (named && options_.target.classes.size() > 1) {
    for (const std::string& text : options_.target.classes) {
      if (target_output(text).empty()) {
        throw Error(
            ErrorKind::kUsage,
            "'" + text + "' and a target of output '" + score_ + "' cannot be explained together",
            "run them one after the other");
      }
    }
  }
}

void ExplainCall::choose_layers() {
  for (const std::string& name : split(options_.layer)) {
    layers_.push_back({bound_->require(name), "as asked"});
  }
  if (layers_.empty() && score_ == state_.score) {
    LayerChoice choice = model_.default_layer();
    choice.value = bound_->require(state_.bound.value(choice.value).name);
    layers_.push_back(choice);
  } else if (layers_.empty()) {
    layers_.push_back(
        choose_layer(*bound_, bound_->require(state_.input), bound_->require(score_)));
  }
  for (const LayerChoice& layer : layers_) {
    check_layer(layer.value);
    subjects_.push_back(
        Subject{bound_, state_.input, score_, bound_->value(layer.value).name, state_.preprocessing,
                bound_ == &state_.bound ? &*state_.heads : nullptr, replay_rows(state_.options)});
  }
}

void ExplainCall::check_layer(ValueId id) const {
  const Value& value = bound_->value(id);
  if (value.is_constant() || value.desc.shape.rank() != 4) {
    throw Error(ErrorKind::kUsage,
                "'" + value.name + "' of shape " + value.desc.shape.to_string() +
                    " is not a layer with channels and pixels",
                "`camlucida inspect MODEL --layers` lists the possible ones");
  }
}

/// What the output is if the manifest says that its entries are not classes, else empty.
std::string ExplainCall::kind_without_classes() const {
  if (!state_.manifest || !state_.options.output.empty()) return "";
  for (const Manifest::Output& output : state_.manifest->outputs) {
    if (output.kind.empty() || output.kind == "logits") return "";
  }
  return state_.manifest->outputs.empty() ? "" : state_.manifest->outputs[0].kind;
}

void ExplainCall::check_classes(const std::string& text) const {
  const std::string kind = kind_without_classes();
  if (is_target(text) || kind.empty()) return;
  throw Error(
      ErrorKind::kUsage,
      "the output of '" + state_.name + "' is of kind '" + kind + "', it has no classes to explain",
      "use `camlucida pair`, a target such as embed:REF.npy, a classifier, or name an "
      "output that holds class scores with --output");
}

std::vector<size_t> ExplainCall::all_requests() const {
  std::vector<size_t> all;
  for (size_t i = 0; i < requests_.size(); ++i) all.push_back(i);
  return all;
}

std::vector<ExplainCall::Group> ExplainCall::groups(const std::vector<size_t>& requests) const {
  std::vector<Group> groups;
  for (const size_t i : requests) {
    const Needs& needs = requests_[i].needs;
    const auto fits = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
      return compatible(group.needs, needs);
    });
    if (fits == groups.end()) {
      groups.push_back({needs, {i}});
    } else {
      fits->needs = fits->needs | needs;
      fits->requests.push_back(i);
    }
  }
  return groups;
}

bool ExplainCall::ranks_classes() const {
  // Another value that a target names holds no classes.
  return score_ == state_.score && kind_without_classes().empty();
}

size_t ExplainCall::target_count() const {
  size_t count = options_.target.targets.size();
  const Shape& scores = bound_->value(bound_->require(score_)).desc.shape;
  for (const std::string& text : options_.target.classes) {
    const int top = top_count(text, options_.target.k);
    count += top > 0 ? static_cast<size_t>(std::min<int64_t>(top, class_count(scores))) : 1;
  }
  if (count == 0) throw Error(ErrorKind::kUsage, "no class was given");
  return count;
}

bool ExplainCall::straight_through(const ExplainerDef& method, const Passes& passes) const {
  if (passes.backwards == 0) return false;
  const ValueId score = bound_->require(score_);
  if (!method.uses_layer) return rounds_between(*bound_, bound_->require(state_.input), score);
  return std::any_of(layers_.begin(), layers_.end(), [&](const LayerChoice& layer) {
    return rounds_between(*bound_, layer.value, score);
  });
}

}  // namespace camlucida
