#include <numeric>
#include <vector>

#include "explain/metrics/masking_common.h"
#include "explain/metrics/math/statistics.h"
#include "explain/random.h"

/// Faithfulness correlation. Bhatt, Weller, Moura: "Evaluating and Aggregating Feature-based Model
/// Explanations", IJCAI 2020, definition 3: over random sets S of pixels, the correlation of
///
///     sum_{p in S} M(p)   and   s(x) - s(x without S)
namespace camlucida::metrics {
namespace {

/// `size` different pixels per row (the first steps of a Fisher-Yates shuffle).
std::vector<std::vector<int32_t>> draw_sets(const PictureCase& picture, int64_t runs, int64_t size,
                                            uint64_t seed) {
  Random random(seed, picture.number);
  std::vector<int32_t> pixels(static_cast<size_t>(picture.pixels()));
  std::iota(pixels.begin(), pixels.end(), 0);
  std::vector<std::vector<int32_t>> sets;
  for (int64_t run = 0; run < runs; ++run) {
    for (int64_t i = 0; i < size; ++i) {
      const int64_t other = i + random.below(picture.pixels() - i);
      std::swap(pixels[static_cast<size_t>(i)], pixels[static_cast<size_t>(other)]);
    }
    sets.emplace_back(pixels.begin(), pixels.begin() + size);
  }
  return sets;
}

Measurement measure(MapCase& map, Settings& settings) {
  PictureCase& picture = map.picture;
  const int64_t runs = settings.integer("runs", 100, 3, 100000);
  const int64_t size =
      settings.integer("subset", std::max<int64_t>(std::min<int64_t>(224, picture.pixels() / 8), 1),
                       1, picture.pixels());
  const ScoreOf score = read_score(map, settings, "probability");
  const Fill fill = fill_of(settings.choice("fill", "black", {"zero", "mean", "blur", "black"}));
  const uint64_t seed = settings.seed();

  const auto sets = draw_sets(picture, runs, size, seed);
  const std::string key = "sets." + std::to_string(runs) + "." + std::to_string(size) + "." +
                          name_of(fill) + "." + std::to_string(seed);
  const Tensor& scores = picture.memo.get<Tensor>(key, [&] {
    const Tensor substrate = fill_picture(picture.input, fill, picture.preprocessing);
    return picture.probe(runs, [&](int64_t row, float* values) {
      std::copy_n(picture.input.floats(), picture.input.count(), values);
      for (int32_t p : sets[static_cast<size_t>(row)]) {
        for (int64_t i = p; i < picture.input.count(); i += picture.pixels()) {
          values[i] = substrate.floats()[i];
        }
      }
    });
  });

  const double before = score(picture.scores, 0);
  std::vector<double> attributed, lost;
  for (int64_t run = 0; run < runs; ++run) {
    double sum = 0;
    for (int32_t p : sets[static_cast<size_t>(run)]) sum += map.map.floats()[p];
    attributed.push_back(sum);
    lost.push_back(before - score(scores, run));
  }
  Measurement result = Measurement::of(pearson(attributed, lost));
  if (std::isnan(result.value)) result.failure = "the map or the score is the same for all subsets";
  return result;
}

}  // namespace

void register_faithfulness_correlation(MetricRegistry& registry) {
  registry.add({.name = "faithfulness_correlation",
                .title = "Faithfulness correlation",
                .formula = "Pearson over random sets of (sum of M, drop of s without the set)",
                .source = "Bhatt et al. 2020, def. 3",
                .better = Better::kHigher,
                .passes = "100, once per picture",
                .measure = measure});
}

}  // namespace camlucida::metrics
