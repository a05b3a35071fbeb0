#include "explain/metrics/road_common.h"

#include <charconv>
#include <sstream>

#include "engine/error.h"
#include "explain/metrics/masking_common.h"
#include "explain/metrics/math/impute.h"
#include "explain/metrics/math/order.h"

namespace camlucida::metrics {
namespace {

struct Removal {
  bool least = false;  ///< LeRF
  double percentile = 0;
  std::string ties;
  double noise = 0;
  uint64_t seed = 0;

  std::string key() const {
    return "road." + std::string(least ? "lerf." : "morf.") + to_text(percentile) + "." + ties +
           "." + to_text(noise) + "." + std::to_string(seed);
  }
};

/// Scores of an imputed picture.
struct Outcome {
  Tensor scores;  ///< undefined if the system is singular
  int64_t removed = 0;
};

std::vector<double> read_percentiles(const std::string& text) {
  std::vector<double> percentiles;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    double value = -1;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || !(value > 0 && value < 100)) {
      throw Error(ErrorKind::kUsage, "'" + part + "' is not a percentile between 0 and 100",
                  "give a list such as 20,40,60,80");
    }
    percentiles.push_back(value);
  }
  if (percentiles.empty()) throw Error(ErrorKind::kUsage, "no percentile was given");
  return percentiles;
}

/// 1 - map, in float32 as the library computes it.
Tensor inverted(const Tensor& map) {
  Tensor result(map.shape());
  for (int64_t p = 0; p < map.count(); ++p) result.floats()[p] = 1.0f - map.floats()[p];
  return result;
}

std::vector<bool> pixels_to_remove(MapCase& map, const Removal& removal) {
  const Tensor& ranked = map.memo.get<Tensor>(removal.least ? "inverted" : "upright", [&] {
    return removal.least ? inverted(map.map) : map.map;
  });
  if (removal.ties == "value") return at_or_above_percentile(ranked, removal.percentile);
  const std::vector<int32_t>& order = map.memo.get<std::vector<int32_t>>(
      removal.least ? "order.inverted" : "order", [&] { return order_of_pixels(ranked); });
  return first_by_rank(order, removal.percentile);
}

/// Imputes and scores what has not been scored yet, in one go.
void run(MapCase& map, const std::vector<Removal>& removals) {
  PictureCase& picture = map.picture;
  std::map<std::string, Outcome>& done =
      *map.memo.get<std::shared_ptr<std::map<std::string, Outcome>>>(
          "road", [] { return std::make_shared<std::map<std::string, Outcome>>(); });
  std::vector<Tensor> pictures;
  std::vector<Outcome*> open;
  for (const Removal& removal : removals) {
    const auto [it, fresh] = done.emplace(removal.key(), Outcome{});
    if (!fresh) continue;
    const std::vector<bool> removed = pixels_to_remove(map, removal);
    it->second.removed = std::count(removed.begin(), removed.end(), true);
    std::optional<Tensor> imputed =
        impute(picture.input, removed, removal.noise,
               removal.seed ^ static_cast<uint64_t>(removal.percentile * 8 + removal.least));
    if (!imputed) continue;
    pictures.push_back(std::move(*imputed));
    open.push_back(&it->second);
  }
  if (open.empty()) return;
  const Tensor scores =
      picture.probe(static_cast<int64_t>(open.size()), [&](int64_t row, float* values) {
        const Tensor& from = pictures[static_cast<size_t>(row)];
        std::copy_n(from.floats(), from.count(), values);
      });
  for (size_t i = 0; i < open.size(); ++i) {
    const std::span<const float> row = scores_of(scores, static_cast<int64_t>(i));
    open[i]->scores = Tensor::from(Shape{1, static_cast<int64_t>(row.size())}, row);
  }
}

}  // namespace

RoadCurves road_curves(MapCase& map, Settings& settings, RoadSide side,
                       const std::string& percentiles, const std::string& score) {
  RoadCurves curves;
  curves.percentiles = read_percentiles(settings.text("percentiles", percentiles));
  const ScoreOf score_of = read_score(map, settings, score);
  Removal removal;
  removal.ties = settings.choice("ties", "rank", {"rank", "value"});
  removal.noise = settings.number("noise", 0, 0, 10);
  if (removal.noise > 0) removal.seed = settings.seed() + map.picture.number;

  std::vector<Removal> removals;
  for (const bool least : {false, true}) {
    if (side == (least ? RoadSide::kMorf : RoadSide::kLerf)) continue;
    removal.least = least;
    for (double percentile : curves.percentiles) {
      removal.percentile = percentile;
      removals.push_back(removal);
    }
  }
  run(map, removals);

  const double before = score_of(map.picture.scores, 0);
  const auto& done = *map.memo.get<std::shared_ptr<std::map<std::string, Outcome>>>(
      "road", [] { return nullptr; });
  for (const Removal& one : removals) {
    const Outcome& outcome = done.at(one.key());
    (one.least ? curves.lerf : curves.morf)
        .push_back(outcome.scores.defined() ? score_of(outcome.scores, 0) - before : NAN);
    (one.least ? curves.lerf_removed : curves.morf_removed).push_back(outcome.removed);
  }
  return curves;
}

Measurement road_measurement(const RoadCurves& curves, RoadSide side) {
  Measurement result;
  double sum = 0;
  for (size_t i = 0; i < curves.percentiles.size(); ++i) {
    const std::string suffix = "_" + to_text(curves.percentiles[i]);
    if (!curves.morf.empty()) result.details["morf" + suffix] = curves.morf[i];
    if (!curves.lerf.empty()) result.details["lerf" + suffix] = curves.lerf[i];
    switch (side) {
      case RoadSide::kMorf:
        sum += curves.morf[i];
        break;
      case RoadSide::kLerf:
        sum += curves.lerf[i];
        break;
      case RoadSide::kBoth:
        sum += 0.5 * (curves.lerf[i] - curves.morf[i]);
        break;
    }
  }
  result.value = sum / static_cast<double>(curves.percentiles.size());
  if (!std::isfinite(result.value)) {
    result.failure = "a percentile falls on a plateau of the map: every pixel would be removed";
  }
  return result;
}

}  // namespace camlucida::metrics
