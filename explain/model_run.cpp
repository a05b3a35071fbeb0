#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <sstream>

#include "engine/passes/passes.h"
#include "explain/heatmap.h"
#include "explain/model_state.h"
#include "explain/render.h"
#include "explain/status.h"

namespace camlucida {
namespace {

/// Milliseconds since the last call, or since construction.
class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double, std::milli> took = now - last_;
    last_ = now;
    return took.count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  std::stringstream stream(list);
  for (std::string part; std::getline(stream, part, ',');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

bool has_classes(const Shape& scores) {
  return scores.rank() >= 2 && scores.count(2, scores.rank()) == 1;
}

/// All classes, best first; ties in index order. Probabilities are a softmax in double.
std::vector<ClassScore> rank_classes(const Tensor& scores, const Labels& labels) {
  if (!has_classes(scores.shape())) return {};
  const int64_t classes = scores.shape()[1];
  const float* logits = scores.floats();
  double peak = -INFINITY;
  for (int64_t c = 0; c < classes; ++c) peak = std::max<double>(peak, logits[c]);
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(logits[c] - peak);
  std::vector<int64_t> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), int64_t{0});
  // NaN compares false with everything; ranking it last keeps the order a strict weak one.
  const auto key = [&](int64_t c) { return std::isnan(logits[c]) ? -INFINITY : logits[c]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return key(a) > key(b); });
  std::vector<ClassScore> ranking;
  for (int64_t c : order) {
    ranking.push_back(
        {c, labels.name(static_cast<int>(c)), logits[c], std::exp(logits[c] - peak) / sum});
  }
  return ranking;
}

/// "top3" → 3, "top1" → 1, "topk" → k; 0 if it is not of that form.
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

}  // namespace

/// One call of Model::explain on one input: choose, plan, run, judge.
class ExplainCall {
 public:
  ExplainCall(const Model& model, ModelState& state, const ExplainOptions& options)
      : model_(model), state_(state), options_(options) {
    for (const std::string& name : split(options.method)) {
      methods_.push_back(&ExplainerRegistry::instance().require(name));
    }
    if (methods_.empty()) throw Error(ErrorKind::kUsage, "no method was given");
  }

  void bind(const Shape& input_shape) {
    if (input_shape == model_.input_shape()) {
      bound_ = &state_.bound;
    } else {
      own_bound_ = bind_shapes(state_.graph, {{state_.input, input_shape}});
      bound_ = &own_bound_;
    }
    for (const std::string& name : split(options_.layer)) {
      layers_.push_back({bound_->require(name), "as asked"});
    }
    if (layers_.empty()) {
      LayerChoice choice = model_.default_layer();
      choice.value = bound_->require(state_.bound.value(choice.value).name);
      layers_.push_back(choice);
    }
    for (const LayerChoice& layer : layers_) check_layer(layer.value);
    check_classes();
    for (const LayerChoice& layer : layers_) {
      subjects_.push_back(Subject{bound_, state_.input, state_.score,
                                  bound_->value(layer.value).name, options_.settings});
    }
  }

  Needs needs() const {
    Needs all;
    all.score = state_.score;
    all.outputs = {state_.score};
    for (const ExplainerDef* method : methods_) {
      for (const Subject& subject : subjects_) all = all | method->needs(subject);
    }
    all.seeds_per_image = static_cast<int>(target_count());
    return all;
  }

  std::vector<Explanation> explain(Session& session, const std::vector<ClassScore>& ranking,
                                   const PreparedInput& input, double* backward_ms) {
    std::vector<Target> targets;
    std::vector<ClassScore> classes = resolve(ranking);
    for (const ClassScore& score : classes) targets.push_back(Target::of_class(score.index));
    std::vector<std::unique_ptr<Evidence>> evidence;
    for (const Subject& subject : subjects_) {
      evidence.push_back(std::make_unique<Evidence>(session, subject, targets));
    }
    std::vector<Explanation> explanations;
    for (const ExplainerDef* method : methods_) {
      std::vector<std::vector<RawMap>> maps;  // [layer][target]
      for (auto& one : evidence) maps.push_back(method->explain(*one));
      for (size_t t = 0; t < targets.size(); ++t) {
        explanations.push_back(describe(*method, evidence, maps, t, classes[t], input));
      }
    }
    for (const auto& one : evidence) *backward_ms += one->backward_ms();
    return explanations;
  }

 private:
  void check_layer(ValueId id) const {
    const Value& value = bound_->value(id);
    if (value.is_constant() || value.desc.shape.rank() != 4) {
      throw Error(ErrorKind::kUsage,
                  "'" + value.name + "' of shape " + value.desc.shape.to_string() +
                      " is not a layer with channels and pixels",
                  "`camlucida inspect MODEL --layers` lists the possible ones");
    }
  }

  /// A manifest may say that the entries of the output are not classes, whatever their shape.
  void check_classes() const {
    if (!state_.manifest || !state_.options.output.empty()) return;
    for (const Manifest::Output& output : state_.manifest->outputs) {
      if (output.kind.empty() || output.kind == "logits") return;
    }
    if (state_.manifest->outputs.empty()) return;
    throw Error(ErrorKind::kUsage,
                "the output of '" + state_.name + "' is of kind '" +
                    state_.manifest->outputs[0].kind + "', it has no classes to explain",
                "use a classifier, or name an output that holds class scores with --output");
  }

  size_t target_count() const {
    size_t count = 0;
    const Shape& scores = bound_->value(bound_->require(state_.score)).desc.shape;
    for (const std::string& text : options_.target.classes) {
      const int top = top_count(text, options_.target.k);
      count += top > 0 ? static_cast<size_t>(std::min<int64_t>(top, class_count(scores))) : 1;
    }
    if (count == 0) throw Error(ErrorKind::kUsage, "no class was given");
    return count;
  }

  std::vector<ClassScore> resolve(const std::vector<ClassScore>& ranking) const {
    std::vector<ClassScore> classes;
    for (const std::string& text : options_.target.classes) {
      if (const int top = top_count(text, options_.target.k); top > 0) {
        const size_t n = std::min(ranking.size(), static_cast<size_t>(top));
        classes.insert(classes.end(), ranking.begin(), ranking.begin() + static_cast<long>(n));
        continue;
      }
      const int64_t index = model_.class_index(text);
      const auto it = std::find_if(ranking.begin(), ranking.end(),
                                   [&](const ClassScore& s) { return s.index == index; });
      if (it == ranking.end()) {
        throw Error(ErrorKind::kUsage,
                    "class " + std::to_string(index) + " does not exist: the network has " +
                        std::to_string(ranking.size()) + " classes",
                    "use 0 to " + std::to_string(ranking.size() - 1));
      }
      classes.push_back(*it);
    }
    return classes;
  }

  Explanation describe(const ExplainerDef& method,
                       const std::vector<std::unique_ptr<Evidence>>& evidence,
                       const std::vector<std::vector<RawMap>>& maps, size_t t,
                       const ClassScore& target, const PreparedInput& input) const {
    const RawMap& first = maps[0][t];
    Explanation result;
    result.method = method.name;
    result.variant = "paper";
    result.target = target;
    result.raw = first.raw;
    result.parameters = first.parameters;
    result.placement = input.placement;
    result.forwards = evidence[0]->forwards();
    result.statistics = statistics_of(result.raw);
    result.status = judge(method, *evidence[0], t, result.statistics, &result.advice);
    if (result.status == Status::kOk) result.advice = first.remark;
    result.backwards = method.uses_gradient ? 1 : 0;
    result.layer_shape = bound_->value(layers_[0].value).desc.shape;
    result.layer_reason = layers_[0].reason;
    for (const Subject& subject : subjects_) {
      result.layer += (result.layer.empty() ? "" : ",") + subject.layer;
    }
    std::vector<Tensor> finished;
    for (const std::vector<RawMap>& layer : maps) {
      finished.push_back(finish_map(layer[t].raw, input.placement.height, input.placement.width,
                                    method.tail, options_.normalisation));
    }
    result.map = finished[0];
    if (finished.size() > 1) {
      result.map = fuse_maps(finished, options_.normalisation);
      result.parameters["layer_fusion"] = "mean of scaled maps";
    }
    return result;
  }

  const Model& model_;
  ModelState& state_;
  const ExplainOptions& options_;
  std::vector<const ExplainerDef*> methods_;
  Graph own_bound_;
  const Graph* bound_ = nullptr;
  std::vector<LayerChoice> layers_;
  std::vector<Subject> subjects_;
};

Answer Model::run(const PreparedInput& input, std::shared_ptr<const Image> picture,
                  const ExplainOptions* options, int k) const {
  Answer answer;
  Stopwatch watch;
  const Shape& shape = input.tensor.shape();
  Needs needs{.outputs = {state_->score}, .score = state_->score};
  std::optional<ExplainCall> call;
  if (options != nullptr) {
    call.emplace(*this, *state_, *options);
    call->bind(shape);
    needs = call->needs();
  }
  LentSession session(*state_, shape, needs);
  answer.timing.plan = watch.lap();
  session->forward(input.tensor);
  answer.prediction.scores = session->activation(state_->score);
  std::vector<ClassScore> ranking = rank_classes(answer.prediction.scores, state_->labels);
  answer.timing.forward = watch.lap();
  if (call) {
    answer.explanations = call->explain(*session, ranking, input, &answer.timing.backward);
    for (Explanation& explanation : answer.explanations) explanation.picture = picture;
    answer.timing.explain = watch.lap() - answer.timing.backward;
  }
  ranking.resize(std::min(ranking.size(), static_cast<size_t>(std::max(k, 0))));
  answer.prediction.ranking = std::move(ranking);
  return answer;
}

namespace {

PreparedInput tensor_input(const Tensor& tensor) {
  const Shape& shape = tensor.shape();
  if (tensor.dtype() != DType::kFloat32 || shape.rank() != 4) {
    throw Error(ErrorKind::kInput, "the input tensor must be float32 [N, C, H, W], got " +
                                       std::string(name_of(tensor.dtype())) + " " +
                                       shape.to_string());
  }
  return {tensor, Placement::identity(static_cast<int>(shape[3]), static_cast<int>(shape[2]))};
}

}  // namespace

Prediction Model::predict(const Image& image, int k) const {
  return run(prepare(image), nullptr, nullptr, k).prediction;
}

Prediction Model::predict(const Tensor& input, int k) const {
  return run(tensor_input(input), nullptr, nullptr, k).prediction;
}

Answer Model::explain(const Image& image, const ExplainOptions& options) const {
  Stopwatch watch;
  const PreparedInput input = prepare(image);
  const double preprocess = watch.lap();
  Answer answer = run(input, std::make_shared<const Image>(image), &options, options.target.k);
  answer.timing.preprocess = preprocess;
  return answer;
}

Answer Model::explain(const Tensor& input, const ExplainOptions& options) const {
  return run(tensor_input(input), nullptr, &options, options.target.k);
}

void Explanation::save_overlay(const std::filesystem::path& path) const {
  if (picture == nullptr) {
    throw Error(ErrorKind::kUsage, "an overlay needs a picture, the input was a tensor",
                "use the map itself");
  }
  render_overlay(*picture, map, placement).save_png(path);
}

}  // namespace camlucida
