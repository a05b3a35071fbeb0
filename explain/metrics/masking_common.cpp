#include "explain/metrics/masking_common.h"

#include <numeric>

#include "explain/metrics/math/statistics.h"

namespace camlucida::metrics {

const Masked& masked(MapCase& map, Settings& settings, const std::string& fallback) {
  const std::string space = settings.choice("mask_space", fallback, {"normalised", "black"});
  return map.memo.get<Masked>("masked." + space, [&] {
    PictureCase& picture = map.picture;
    const Tensor fill = fill_picture(picture.input, space == "black" ? Fill::kBlack : Fill::kZero,
                                     picture.preprocessing);
    Masked result;
    result.input = Tensor(picture.input.shape());
    blend(picture.input, fill, map.map, result.input.floats());
    result.scores = picture.probe(1, [&](int64_t, float* values) {
      std::copy_n(result.input.floats(), result.input.count(), values);
    });
    return result;
  });
}

Confidence confidence_of(const MapCase& map, const Tensor& scores, int64_t row) {
  return confidence(scores_of(scores, row), map.picture.class_index);
}

ScoreOf read_score(const MapCase& map, Settings& settings, const std::string& fallback) {
  const int64_t c = map.picture.class_index;
  if (settings.choice("score", fallback, {"probability", "logit"}) == "logit") {
    return [c](const Tensor& scores, int64_t row) -> double {
      return scores_of(scores, row)[static_cast<size_t>(c)];
    };
  }
  return [c](const Tensor& scores, int64_t row) {
    return confidence(scores_of(scores, row), c).probability;
  };
}

double coherency(MapCase& map, Settings& settings, const std::string& space) {
  const Masked& seen = masked(map, settings, space);
  return map.memo.get<double>("coherency." + settings.used().at("mask_space"), [&] {
    const Tensor again = map.explain(seen.input, map.picture.class_index);
    return 0.5 * (pearson(map.map.to_doubles(), again.to_doubles()) + 1);
  });
}

double mean_complexity(const MapCase& map) {
  const std::span<const float> values = map.map.as<float>();
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace camlucida::metrics
