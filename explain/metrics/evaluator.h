#pragma once

#include <map>
#include <utility>

#include "explain/metrics/metric.h"
#include "explain/model.h"

namespace camlucida::metrics {

/// Puts explanations of one model before metrics:
///
///     Answer answer = model.explain(image, options);
///     Evaluator evaluator(model, options);
///     PictureCase picture = evaluator.picture(input, answer.prediction, class_index);
///     MapCase map = evaluator.map(picture, answer.explanations[0]);
///     Settings settings("avg_drop", "", {});
///     Measurement m = measure_map(MetricRegistry::instance().require("avg_drop"), map, settings);
///
/// One thread at a time. Keeps networks with random weights for metrics that want them.
class Evaluator {
 public:
  /// `model` outlives this. Methods that are asked again get the settings and seed of `options`.
  Evaluator(const Model& model, ExplainOptions options);

  /// `input` [1, C, H, W] as the network got it. Throws Error(kUsage) if `class_index` is no class.
  PictureCase picture(const Tensor& input, const Prediction& prediction, int64_t class_index) const;
  /// `picture` and this outlive the result.
  MapCase map(PictureCase& picture, const Explanation& explanation);

 private:
  /// The model with the last `stage` of `stages` parts of its layers randomised.
  const Model& randomised(int stage, int stages);

  const Model& model_;
  ExplainOptions options_;
  std::map<std::pair<int, int>, Model> randomised_;
};

/// Runs variants of a picture of this shape ([1, C, H, W]) through the network, in batches.
Probe probe_of(const Model& model, const Shape& input_shape);

}  // namespace camlucida::metrics
