#include <algorithm>
#include <cmath>

#include "explain/metrics/evaluator.h"
#include "explain/metrics/layer_sweep.h"

namespace camlucida::metrics {
namespace {

double area(const char* metric, MapCase& map) {
  Settings settings(metric, "", {});
  const Measurement measured =
      measure_map(MetricRegistry::instance().require(metric), map, settings);
  if (!measured.failure.empty()) throw Error(ErrorKind::kMeaningless, measured.failure);
  return measured.value;
}

}  // namespace

std::vector<LayerScore> sweep_layers(const Model& model, const Tensor& input,
                                     const ExplainOptions& options,
                                     const ProgressFunction& progress) {
  const Graph& bound = model.bound();
  std::vector<LayerScore> scores;
  for (LayerCandidate& layer :
       list_layers(bound, bound.require(model.input_name()), bound.require(model.score_name()))) {
    if (layer.good) scores.push_back({std::move(layer)});
  }
  if (scores.empty()) {
    throw Error(ErrorKind::kUsage, "the network has no layer to sweep over",
                "`camlucida inspect MODEL --layers` lists them with the reasons");
  }
  ExplainOptions own = options;
  own.normalisation = Normalisation::kMinMax;
  Evaluator evaluator(model, own);
  int64_t done = 0;
  for (LayerScore& one : scores) {
    own.layer = one.layer.name;
    try {
      const Answer answer = model.explain(input, own);
      const Explanation& explanation = answer.explanations.at(0);
      if (explanation.target.index < 0) {
        throw Error(ErrorKind::kUsage,
                    "a layer sweep needs a class, not " + explanation.target_text);
      }
      PictureCase picture = evaluator.picture(input, answer.prediction, explanation.target.index);
      MapCase map = evaluator.map(picture, explanation);
      one.insertion = area("insertion_auc", map);
      one.deletion = area("deletion_auc", map);
      one.score = one.insertion - one.deletion;
    } catch (const Error& error) {
      one.problem = error.message();
      one.score = NAN;
    }
    if (progress) progress(++done, static_cast<int64_t>(scores.size()));
  }
  std::stable_sort(scores.begin(), scores.end(), [](const LayerScore& a, const LayerScore& b) {
    if (std::isnan(a.score) || std::isnan(b.score)) return !std::isnan(a.score);
    return a.score > b.score;
  });
  return scores;
}

}  // namespace camlucida::metrics
