#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "engine/passes/passes.h"
#include "explain/heatmap.h"
#include "explain/model_state.h"
#include "explain/render.h"
#include "explain/residence.h"
#include "explain/smoothing.h"
#include "explain/status.h"
#include "explain/target_grammar.h"

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
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    if (end > begin) parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
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

std::vector<ClassScore> best(std::vector<ClassScore> ranking, int k) {
  ranking.resize(std::min(ranking.size(), static_cast<size_t>(std::max(k, 0))));
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

/// A class as an Explanation shows it; index -1 for other targets.
ClassScore shown(const Target& target, double score, const std::vector<ClassScore>& ranking) {
  for (const ClassScore& one : ranking) {
    if (one.index == target.class_index()) return one;
  }
  return {-1, target.describe(), score, 0.0};
}

}  // namespace

/// One call of Model::explain on one input: choose, plan, run, judge. Methods whose needs fit
/// together share one forward and one backward pass.
class ExplainCall {
 public:
  ExplainCall(const Model& model, ModelState& state, const ExplainOptions& options)
      : model_(model), state_(state), options_(options) {
    for (const std::string& name : split(options.method)) add_request(choose_method(name));
    if (requests_.empty()) throw Error(ErrorKind::kUsage, "no method was given");
    for (const auto& [key, value] : options.settings) {
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

  Answer run(const PreparedInput& input, std::vector<ClassScore>* ranking) {
    Answer answer;
    Stopwatch watch;
    bind(input.tensor.shape());
    std::vector<std::vector<Explanation>> by_request(requests_.size());
    const std::span<const PictureView> views =
        options_.aug_smooth ? smoothing_views() : smoothing_views().first(1);
    for (const Group& group : groups()) {
      SessionPool::Lease session = state_.pool->lend(input.tensor.shape(), group.needs);
      answer.timing.plan += watch.lap();
      std::vector<std::vector<std::vector<Explanation>>> by_view(requests_.size());
      for (size_t v = 0; v < views.size(); ++v) {
        const Tensor picture =
            on_stream(v == 0 ? input.tensor : make_view(input.tensor, views[v]), session->stream());
        session->forward(picture);
        const Tensor scores = on_host(session->activation(score_));
        if (!answer.prediction.scores.defined()) {
          answer.prediction.scores = scores;
          // Another value that a target names holds no classes.
          if (score_ == state_.score && kind_without_classes().empty()) {
            *ranking = rank_classes(answer.prediction.scores, state_.labels);
          }
          resolve_targets(answer.prediction.scores, *ranking, input.placement);
        }
        answer.timing.forward += watch.lap();
        std::vector<std::unique_ptr<Evidence>> evidence;
        for (const Subject& subject : subjects_) {
          evidence.push_back(
              std::make_unique<Evidence>(*state_.pool, *session, picture, subject, targets_));
          evidence.back()->set_progress(options_.progress);
          evidence.back()->set_scores(scores);
          evidence.back()->share_backward(*evidence.front());
        }
        for (const size_t index : group.requests) {
          by_view[index].push_back(explain(requests_[index], evidence, *ranking, input));
        }
        double backward = 0;
        for (const auto& one : evidence) backward += one->backward_ms();
        answer.timing.backward += backward;
        answer.timing.explain += watch.lap() - backward;
      }
      for (const size_t index : group.requests) by_request[index] = average(by_view[index]);
    }
    for (std::vector<Explanation>& explanations : by_request) {
      std::move(explanations.begin(), explanations.end(), std::back_inserter(answer.explanations));
    }
    return answer;
  }

 private:
  struct Request {
    MethodChoice choice;
    Settings settings;
  };
  /// Requests that share a plan and its passes.
  struct Group {
    Needs needs;
    std::vector<size_t> requests;
  };

  void add_request(const MethodChoice& choice) {
    std::map<std::string, std::string> given;
    for (const auto& [key, value] : options_.settings) {
      const size_t dot = key.find('.');
      if (dot == std::string::npos) continue;
      if (choose_method(key.substr(0, dot)).method == choice.method) {
        given[key.substr(dot + 1)] = value;
      }
    }
    requests_.push_back(
        {choice, Settings(choice.method->name, choice.variant, given, options_.seed)});
  }

  void bind(const Shape& input_shape) {
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
      subjects_.push_back(Subject{
          bound_, state_.input, score_, bound_->value(layer.value).name, state_.preprocessing,
          bound_ == &state_.bound ? &*state_.heads : nullptr, replay_rows(state_.options)});
    }
  }

  /// The score tensor all targets are functions of: the network's, unless a target names another.
  void choose_score() {
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

  std::vector<Group> groups() {
    std::vector<Group> groups;
    for (size_t i = 0; i < requests_.size(); ++i) {
      Request& request = requests_[i];
      Needs needs{.outputs = {score_}, .score = score_};
      for (const Subject& subject : subjects_) {
        needs = needs | request.choice.method->needs(subject, request.settings);
      }
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
    for (Group& group : groups) {
      group.needs.seeds_per_image =
          group.needs.gradient_to.empty() ? 1 : static_cast<int>(target_count());
    }
    return groups;
  }

  std::vector<Explanation> explain(Request& request,
                                   const std::vector<std::unique_ptr<Evidence>>& evidence,
                                   const std::vector<ClassScore>& ranking,
                                   const PreparedInput& input) {
    const ExplainerDef& method = *request.choice.method;
    const size_t layers = method.uses_layer ? evidence.size() : 1;
    Passes passes{.forwards = 1};
    bool shares_backward = false;
    std::vector<std::vector<RawMap>> maps;  // [layer][target]
    for (size_t i = 0; i < layers; ++i) {
      const Passes before = evidence[i]->passes();
      const int64_t reads = evidence[i]->gradient_reads();
      maps.push_back(method.explain(*evidence[i], request.settings));
      shares_backward = shares_backward || evidence[i]->gradient_reads() > reads;
      passes = passes + (evidence[i]->passes() - before);
      if (options_.eigen_smooth) {
        for (RawMap& map : maps.back()) smooth(map, *evidence[i]);
      }
      if (maps.back().size() != targets_.size()) {
        throw Error(ErrorKind::kInternal, "method " + method.name + " gave " +
                                              std::to_string(maps.back().size()) + " maps for " +
                                              std::to_string(targets_.size()) + " targets");
      }
    }
    if (shares_backward) passes.backwards += 1;
    request.settings.check_all_read();
    std::vector<Explanation> explanations;
    for (size_t t = 0; t < targets_.size(); ++t) {
      Explanation result = describe(request, evidence, maps, t, input);
      result.score = evidence[0]->score(t);
      result.target = shown(targets_[t], result.score, ranking);
      result.passes = passes;
      if (straight_through(method, passes)) {
        result.parameters["gradients"] = "by the straight-through rule, the network is quantised";
      }
      explanations.push_back(std::move(result));
    }
    return explanations;
  }

  /// Whether gradients that the method used passed layers that round.
  bool straight_through(const ExplainerDef& method, const Passes& passes) const {
    if (passes.backwards == 0) return false;
    const ValueId score = bound_->require(score_);
    if (!method.uses_layer) return rounds_between(*bound_, bound_->require(state_.input), score);
    return std::any_of(layers_.begin(), layers_.end(), [&](const LayerChoice& layer) {
      return rounds_between(*bound_, layer.value, score);
    });
  }

  static void smooth(RawMap& map, Evidence& evidence) {
    if (smooth_over_channels(map, evidence.activation(evidence.subject().layer))) return;
    map.remark += (map.remark.empty() ? "" : " ") +
                  std::string("Eigen smoothing does not apply: the map is no sum over channels.");
  }

  /// The explanations of the picture with the maps of all its views averaged.
  static std::vector<Explanation> average(std::vector<std::vector<Explanation>>& by_view) {
    std::vector<Explanation> explanations = std::move(by_view[0]);
    if (by_view.size() == 1) return explanations;
    for (size_t t = 0; t < explanations.size(); ++t) {
      Explanation& result = explanations[t];
      std::vector<Tensor> raws = {result.raw};
      std::vector<Tensor> maps = {result.map};
      for (size_t v = 1; v < by_view.size(); ++v) {
        raws.push_back(by_view[v][t].raw);
        maps.push_back(by_view[v][t].map);
        result.passes = result.passes + by_view[v][t].passes;
      }
      result.raw = mean_over_views(raws);
      result.map = mean_over_views(maps);
      result.statistics = statistics_of(result.raw);
      result.parameters["aug_smooth"] = "true";
    }
    return explanations;
  }

  void check_layer(ValueId id) const {
    const Value& value = bound_->value(id);
    if (value.is_constant() || value.desc.shape.rank() != 4) {
      throw Error(ErrorKind::kUsage,
                  "'" + value.name + "' of shape " + value.desc.shape.to_string() +
                      " is not a layer with channels and pixels",
                  "`camlucida inspect MODEL --layers` lists the possible ones");
    }
  }

  /// What the output is if the manifest says that its entries are not classes, else empty.
  std::string kind_without_classes() const {
    if (!state_.manifest || !state_.options.output.empty()) return "";
    for (const Manifest::Output& output : state_.manifest->outputs) {
      if (output.kind.empty() || output.kind == "logits") return "";
    }
    return state_.manifest->outputs.empty() ? "" : state_.manifest->outputs[0].kind;
  }

  void check_classes(const std::string& text) const {
    const std::string kind = kind_without_classes();
    if (is_target(text) || kind.empty()) return;
    throw Error(ErrorKind::kUsage,
                "the output of '" + state_.name + "' is of kind '" + kind +
                    "', it has no classes to explain",
                "use `camlucida pair`, a target such as embed:REF.npy, a classifier, or name an "
                "output that holds class scores with --output");
  }

  size_t target_count() const {
    size_t count = options_.target.targets.size();
    const Shape& scores = bound_->value(bound_->require(score_)).desc.shape;
    for (const std::string& text : options_.target.classes) {
      const int top = top_count(text, options_.target.k);
      count += top > 0 ? static_cast<size_t>(std::min<int64_t>(top, class_count(scores))) : 1;
    }
    if (count == 0) throw Error(ErrorKind::kUsage, "no class was given");
    return count;
  }

  Tensor scores_of(const Image& image) const {
    const PreparedInput input = model_.prepare(image);
    const SessionPool::Lease session =
        state_.pool->lend(input.tensor.shape(), {.outputs = {score_}, .score = score_});
    session->forward(input.tensor);
    return on_host(session->activation(score_));
  }

  void resolve_targets(const Tensor& scores, const std::vector<ClassScore>& ranking,
                       const Placement& placement) {
    const TargetContext context{*bound_, scores, placement,
                                [&](const std::string& text) { return model_.class_index(text); },
                                [&](const Image& image) { return scores_of(image); }};
    for (const std::string& text : options_.target.classes) {
      if (const int top = top_count(text, options_.target.k); top > 0) {
        const size_t n = std::min(ranking.size(), static_cast<size_t>(top));
        for (size_t i = 0; i < n; ++i) targets_.push_back(Target::of_class(ranking[i].index));
      } else if (is_target(text)) {
        targets_.push_back(parse_target(text, context));
      } else {
        targets_.push_back(Target::of_class(model_.class_index(text)));
      }
    }
    targets_.insert(targets_.end(), options_.target.targets.begin(), options_.target.targets.end());
    for (const Target& target : targets_) target.score(scores);  // refuses what does not exist
  }

  Explanation describe(const Request& request,
                       const std::vector<std::unique_ptr<Evidence>>& evidence,
                       std::vector<std::vector<RawMap>>& maps, size_t t,
                       const PreparedInput& input) const {
    const ExplainerDef& method = *request.choice.method;
    RawMap& first = maps[0][t];
    Explanation result;
    result.method = method.name;
    result.variant = request.choice.variant;
    result.target_text = targets_[t].describe();
    result.slug = request.choice.name() + "." + targets_[t].slug();
    result.raw = on_host(first.raw);
    result.parameters = request.settings.used();
    if (options_.eigen_smooth) result.parameters["eigen_smooth"] = "true";
    if (options_.artefacts) {
      for (const auto& [name, artefact] : first.artefacts) {
        result.artefacts[name] = on_host(artefact);
      }
    }
    result.series = first.series;
    result.placement = input.placement;
    result.statistics = statistics_of(result.raw);
    result.status = judge(method, *evidence[0], t, first, result.statistics, &result.advice);
    if (!first.remark.empty()) result.advice += (result.advice.empty() ? "" : " ") + first.remark;
    if (method.uses_layer) {
      result.layer_shape = bound_->value(layers_[0].value).desc.shape;
      result.layer_reason = layers_[0].reason;
      for (const Subject& subject : subjects_) {
        result.layer += (result.layer.empty() ? "" : ",") + subject.layer;
      }
    }
    std::vector<Tensor> finished;
    for (std::vector<RawMap>& layer : maps) {
      RawMap& map = layer[t];
      const bool own = map.map.defined() && options_.normalisation == Normalisation::kMinMax;
      finished.push_back(
          on_host(own ? map.map
                      : finish_map(map.raw, input.placement.height, input.placement.width,
                                   method.tail, options_.normalisation)));
    }
    result.map = finished[0];
    if (finished.size() > 1) {
      // The maps of a joint method share one scale: fusing must not scale them one by one.
      result.map = fuse_maps(finished, method.joint ? Normalisation::kRaw : options_.normalisation,
                             method.fusion);
      result.parameters["layer_fusion"] = name_of(method.fusion);
    }
    return result;
  }

  const Model& model_;
  ModelState& state_;
  const ExplainOptions& options_;
  std::vector<Request> requests_;
  Graph own_bound_;
  const Graph* bound_ = nullptr;
  std::string score_;
  std::vector<LayerChoice> layers_;
  std::vector<Subject> subjects_;
  std::vector<Target> targets_;
};

Answer Model::run(const PreparedInput& input, std::shared_ptr<const Image> picture,
                  const ExplainOptions* options, int k) const {
  Answer answer;
  std::vector<ClassScore> ranking;
  if (options != nullptr) {
    answer = ExplainCall(*this, *state_, *options).run(input, &ranking);
    for (Explanation& explanation : answer.explanations) explanation.picture = picture;
  } else {
    Stopwatch watch;
    const Needs needs{.outputs = {state_->score}, .score = state_->score};
    SessionPool::Lease session = state_->pool->lend(input.tensor.shape(), needs);
    answer.timing.plan = watch.lap();
    session->forward(input.tensor);
    answer.prediction.scores = on_host(session->activation(state_->score));
    answer.timing.forward = watch.lap();
    ranking = rank_classes(answer.prediction.scores, state_->labels);
  }
  answer.prediction.ranking = best(std::move(ranking), k);
  return answer;
}

Prediction Model::prediction_of(Tensor scores, int k) const {
  std::vector<ClassScore> ranking = best(rank_classes(scores, state_->labels), k);
  return {std::move(scores), std::move(ranking)};
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

Answer Model::explain(const PreparedInput& input, std::shared_ptr<const Image> picture,
                      const ExplainOptions& options) const {
  return run(input, std::move(picture), &options, options.target.k);
}

void Explanation::save_overlay(const std::filesystem::path& path) const {
  if (picture == nullptr) {
    throw Error(ErrorKind::kUsage, "an overlay needs a picture, the input was a tensor",
                "use the map itself");
  }
  render_overlay(*picture, map, placement).save_png(path);
}

}  // namespace camlucida
