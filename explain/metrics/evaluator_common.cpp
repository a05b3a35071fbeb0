#include <algorithm>

#include "engine/error.h"
#include "explain/metrics/evaluator.h"
#include "explain/metrics/randomise_common.h"
#include "explain/target.h"

namespace camlucida::metrics {

Probe probe_of(const Model& model, const Shape& input_shape) {
  return [&model, input_shape](int64_t count, const FillRow& fill) {
    const Needs needs{.outputs = {model.score_name()}, .score = model.score_name()};
    const RowSource variants{.on_host = fill};
    RowBatch rows(input_shape, variants);
    Tensor all;
    model.sessions().in_passes(
        input_shape, count, needs, [&](Session& session, int64_t first, int64_t used) {
          const int64_t batch = session.plan().desc(model.input_name()).shape[0];
          session.forward(rows.fill(session.stream(), batch, first, used));
          put_rows(session.activation(model.score_name()), first, used, count, &all);
        });
    return all;
  };
}

Evaluator::Evaluator(const Model& model, ExplainOptions options)
    : model_(model), options_(std::move(options)) {}

PictureCase Evaluator::picture(const Tensor& input, const Prediction& prediction,
                               int64_t class_index) const {
  const int64_t classes = class_count(prediction.scores.shape());
  if (class_index < 0 || class_index >= classes) {
    throw Error(ErrorKind::kUsage,
                "class " + std::to_string(class_index) + " does not exist: the network has " +
                    std::to_string(classes) + " classes",
                "use 0 to " + std::to_string(classes - 1));
  }
  PictureCase picture;
  picture.input = input;
  picture.scores = prediction.scores;
  picture.class_index = class_index;
  picture.preprocessing = model_.preprocessing();
  picture.probe = probe_of(model_, input.shape());
  picture.threads = model_.options().threads;
  return picture;
}

MapCase Evaluator::map(PictureCase& picture, const Explanation& explanation) {
  ExplainOptions options = options_;
  const MethodChoice choice = choose_method(explanation.method + "@" + explanation.variant);
  options.method = choice.name();
  options.layer = explanation.layer;
  options.normalisation = Normalisation::kMinMax;
  options.settings.clear();
  for (const auto& [key, value] : options_.settings) {
    if (key.rfind(explanation.method + ".", 0) == 0) options.settings[key] = value;
  }
  const auto explain = [options](const Model& model, const Tensor& input, int64_t class_index) {
    ExplainOptions own = options;
    own.target = {.classes = {std::to_string(class_index)}};
    return model.explain(input, own).explanations.at(0).map;
  };
  MapCase map{picture, explanation.raw, explanation.map, {}, {}, {}, choice.name()};
  const auto components = explanation.artefacts.find("components");
  if (components != explanation.artefacts.end()) map.components = components->second;
  map.explain = [this, explain](const Tensor& input, int64_t class_index) {
    return explain(model_, input, class_index);
  };
  map.explain_randomised = [this, explain, &picture](int stage, int stages) {
    return explain(randomised(stage, stages), picture.input, picture.class_index);
  };
  return map;
}

const Model& Evaluator::randomised(int stage, int stages) {
  const auto key = std::make_pair(stage, stages);
  const auto found = randomised_.find(key);
  if (found != randomised_.end()) return found->second;
  const auto layers = static_cast<int>(layers_with_weights(model_.bound()).size());
  const auto count = static_cast<size_t>((layers * stage + stages - 1) / stages);
  Graph graph = randomise_weights(model_.graph(), model_.bound(), count, options_.seed);
  return randomised_.emplace(key, model_.with_graph(std::move(graph))).first->second;
}

}  // namespace camlucida::metrics
