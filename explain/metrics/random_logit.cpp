#include "explain/metrics/similarity_common.h"
#include "explain/random.h"

/// Random logit. Sixt, Granz, Landgraf: "When Explanations Lie", ICML 2020, 4: similarity of the
/// map of the explained class with that of another class drawn at random. A method whose maps are
/// all alike explains no class.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const PictureCase& picture = map.picture;
  const Similarity similarity = read_similarity(settings, "ssim");
  const uint64_t seed = settings.seed();
  if (picture.classes() < 2) return Measurement::failed("the network has a single class");
  Random random(seed, picture.number);
  int64_t other = random.below(picture.classes() - 1);
  if (other >= picture.class_index) ++other;
  const std::string key = "class." + std::to_string(other);
  const Tensor& map_of_other =
      map.memo.get<Tensor>(key, [&] { return map.explain(picture.input, other); });
  Measurement result = Measurement::of(similarity(map.map, map_of_other));
  result.details["class"] = static_cast<double>(other);
  if (std::isnan(result.value)) result.failure = "one of the two maps is constant";
  return result;
}

}  // namespace

void register_random_logit(MetricRegistry& registry) {
  registry.add({.name = "random_logit",
                .title = "Random logit",
                .formula = "similarity of M_c and M_r, r a random other class",
                .source = "Sixt et al. 2020, 4",
                .better = Better::kLower,
                .passes = "1 explanation",
                .measure = measure});
}

}  // namespace camlucida::metrics
