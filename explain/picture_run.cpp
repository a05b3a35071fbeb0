#include "explain/picture_run.h"

#include <algorithm>
#include <iterator>

#include "explain/class_ranking.h"
#include "explain/heatmap.h"
#include "explain/model_state.h"
#include "explain/residence.h"
#include "explain/smoothing.h"
#include "explain/status.h"
#include "explain/stopwatch.h"
#include "explain/target_grammar.h"

namespace camlucida {
namespace {

void smooth(RawMap& map, Evidence& evidence) {
  if (smooth_over_channels(map, evidence.activation(evidence.subject().layer))) return;
  map.remark += (map.remark.empty() ? "" : " ") +
                std::string("Eigen smoothing does not apply: the map is no sum over channels.");
}

/// The explanations of the picture with the maps of all its views averaged.
std::vector<Explanation> average(std::vector<std::vector<Explanation>> by_view) {
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

}  // namespace

PictureRun::PictureRun(const ExplainCall& call, const PreparedInput& input, std::vector<Target> own)
    : call_(call), input_(input), own_(std::move(own)), explanations_(call.requests().size()) {
  for (const ExplainCall::Request& request : call.requests()) {
    settings_.push_back(request.settings);
  }
}

void PictureRun::see(const Tensor& scores) {
  if (scores_.defined()) return;
  scores_ = scores;
  if (call_.ranks_classes()) ranking_ = rank_classes(scores_, call_.state().labels);
  resolve_targets();
}

Tensor PictureRun::scores_of(const Image& image) const {
  const PreparedInput input = call_.model().prepare(image);
  const SessionPool::Lease session = call_.state().pool->lend(
      input.tensor.shape(), {.outputs = {call_.score()}, .score = call_.score()});
  session->forward(input.tensor);
  return on_host(session->activation(call_.score()));
}

void PictureRun::resolve_targets() {
  const TargetContext context{
      call_.bound(), scores_, input_.placement,
      [&](const std::string& text) { return call_.model().class_index(text); },
      [&](const Image& image) { return scores_of(image); }};
  const TargetChoice& choice = call_.options().target;
  if (own_.empty()) {
    for (const std::string& text : choice.classes) {
      if (const int top = top_count(text, choice.k); top > 0) {
        const size_t n = std::min(ranking_.size(), static_cast<size_t>(top));
        for (size_t i = 0; i < n; ++i) targets_.push_back(Target::of_class(ranking_[i].index));
      } else if (is_target(text)) {
        targets_.push_back(parse_target(text, context));
      } else {
        targets_.push_back(Target::of_class(call_.model().class_index(text)));
      }
    }
    targets_.insert(targets_.end(), choice.targets.begin(), choice.targets.end());
  } else {
    targets_ = own_;
  }
  for (const Target& target : targets_) target.score(scores_);  // refuses what does not exist
}

void PictureRun::run_alone(const std::vector<size_t>& requests) {
  SessionPool& pool = *call_.state().pool;
  const std::span<const PictureView> views =
      call_.options().aug_smooth ? smoothing_views() : smoothing_views().first(1);
  Stopwatch watch;
  for (const ExplainCall::Group& group : call_.groups(requests)) {
    Needs needs = group.needs;
    if (!needs.gradient_to.empty()) needs.seeds_per_image = static_cast<int>(target_count());
    const SessionPool::Lease session = pool.lend(input_.tensor.shape(), needs);
    timing_.plan += watch.lap();
    for (size_t v = 0; v < views.size(); ++v) {
      const Tensor picture =
          on_stream(v == 0 ? input_.tensor : make_view(input_.tensor, views[v]), session->stream());
      session->forward(picture);
      const Tensor scores = on_host(session->activation(call_.score()));
      see(scores);
      timing_.forward += watch.lap();
      std::vector<std::unique_ptr<Evidence>> evidence;
      for (const Subject& subject : call_.subjects()) {
        evidence.push_back(std::make_unique<Evidence>(pool, *session, picture, subject, targets_));
        evidence.back()->set_scores(scores);
        evidence.back()->share_backward(*evidence.front());
      }
      explain(group, evidence);
      double backward = 0;
      for (const auto& one : evidence) backward += one->backward_ms();
      timing_.backward += backward;
      timing_.explain += watch.lap() - backward;
    }
  }
}

void PictureRun::explain(const ExplainCall::Group& group,
                         const std::vector<std::unique_ptr<Evidence>>& evidence) {
  for (const auto& one : evidence) one->set_progress(call_.options().progress);
  for (const size_t request : group.requests) {
    explanations_[request].push_back(explain(request, evidence));
  }
}

std::vector<Explanation> PictureRun::explain(
    size_t request, const std::vector<std::unique_ptr<Evidence>>& evidence) {
  const ExplainerDef& method = *call_.requests()[request].choice.method;
  Settings& settings = settings_[request];
  const size_t layers = method.uses_layer ? evidence.size() : 1;
  Passes passes{.forwards = 1};
  bool shares_backward = false;
  std::vector<std::vector<RawMap>> maps;  // [layer][target]
  for (size_t i = 0; i < layers; ++i) {
    const Passes before = evidence[i]->passes();
    const int64_t reads = evidence[i]->gradient_reads();
    maps.push_back(method.explain(*evidence[i], settings));
    shares_backward = shares_backward || evidence[i]->gradient_reads() > reads;
    passes = passes + (evidence[i]->passes() - before);
    if (call_.options().eigen_smooth) {
      for (RawMap& map : maps.back()) smooth(map, *evidence[i]);
    }
    if (maps.back().size() != targets_.size()) {
      throw Error(ErrorKind::kInternal, "method " + method.name + " gave " +
                                            std::to_string(maps.back().size()) + " maps for " +
                                            std::to_string(targets_.size()) + " targets");
    }
  }
  if (shares_backward) passes.backwards += 1;
  settings.check_all_read();
  std::vector<Explanation> explanations;
  for (size_t t = 0; t < targets_.size(); ++t) {
    Explanation result = describe(request, evidence, maps, t);
    result.score = evidence[0]->score(t);
    result.target = shown(targets_[t], result.score, ranking_);
    result.passes = passes;
    if (call_.straight_through(method, passes)) {
      result.parameters["gradients"] = "by the straight-through rule, the network is quantised";
    }
    explanations.push_back(std::move(result));
  }
  return explanations;
}

Explanation PictureRun::describe(size_t request,
                                 const std::vector<std::unique_ptr<Evidence>>& evidence,
                                 std::vector<std::vector<RawMap>>& maps, size_t t) const {
  const MethodChoice& choice = call_.requests()[request].choice;
  const ExplainerDef& method = *choice.method;
  const ExplainOptions& options = call_.options();
  RawMap& first = maps[0][t];
  Explanation result;
  result.method = method.name;
  result.variant = choice.variant;
  result.target_text = targets_[t].describe();
  result.slug = choice.name() + "." + targets_[t].slug();
  result.raw = on_host(first.raw);
  result.parameters = settings_[request].used();
  if (options.eigen_smooth) result.parameters["eigen_smooth"] = "true";
  if (options.artefacts) {
    for (const auto& [name, artefact] : first.artefacts) {
      result.artefacts[name] = on_host(artefact);
    }
  }
  result.series = first.series;
  result.placement = input_.placement;
  result.statistics = statistics_of(result.raw);
  result.status = judge(method, *evidence[0], t, first, result.statistics, &result.advice);
  if (!first.remark.empty()) result.advice += (result.advice.empty() ? "" : " ") + first.remark;
  if (method.uses_layer) {
    const LayerChoice& layer = call_.layers()[0];
    result.layer_shape = call_.bound().value(layer.value).desc.shape;
    result.layer_reason = layer.reason;
    for (const Subject& subject : call_.subjects()) {
      result.layer += (result.layer.empty() ? "" : ",") + subject.layer;
    }
  }
  std::vector<Tensor> finished;
  for (std::vector<RawMap>& layer : maps) {
    RawMap& map = layer[t];
    const bool own = map.map.defined() && options.normalisation == Normalisation::kMinMax;
    finished.push_back(
        on_host(own ? map.map
                    : finish_map(map.raw, input_.placement.height, input_.placement.width,
                                 method.tail, options.normalisation)));
  }
  result.map = finished[0];
  if (finished.size() > 1) {
    // The maps of a joint method share one scale: fusing must not scale them one by one.
    result.map = fuse_maps(finished, method.joint ? Normalisation::kRaw : options.normalisation,
                           method.fusion);
    result.parameters["layer_fusion"] = name_of(method.fusion);
  }
  return result;
}

Answer PictureRun::answer(std::shared_ptr<const Image> picture, int k) {
  Answer answer;
  answer.prediction = {scores_, best_classes(std::move(ranking_), k)};
  answer.timing = timing_;
  for (std::vector<std::vector<Explanation>>& by_view : explanations_) {
    std::vector<Explanation> one = average(std::move(by_view));
    std::move(one.begin(), one.end(), std::back_inserter(answer.explanations));
  }
  for (Explanation& explanation : answer.explanations) explanation.picture = picture;
  return answer;
}

}  // namespace camlucida
