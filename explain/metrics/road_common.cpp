#include "explain/metrics/road_common.h"

#include <algorithm>
#include <charconv>
#include <exception>
#include <mutex>
#include <sstream>

#include "engine/cpu/thread_pool.h"
#include "engine/error.h"
#include "explain/metrics/masking_common.h"
#include "explain/metrics/math/impute.h"
#include "explain/metrics/math/order.h"
#include "explain/random.h"

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
  /// Another one for every removal.
  uint64_t stream() const {
    return mix_bits(seed + static_cast<uint64_t>(percentile * 8)) + (least ? 1 : 0);
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

/// The imputed pictures of `removals`, or nothing where the system is singular. Side by side on as
/// many threads as the picture has: each one is solved by one thread, so that the number of
/// threads changes nothing.
std::vector<std::optional<Tensor>> impute_all(const PictureCase& picture,
                                              const std::vector<Removal>& removals,
                                              const std::vector<std::vector<bool>>& removed) {
  std::vector<std::optional<Tensor>> pictures(removals.size());
  std::exception_ptr failure;
  std::mutex mutex;
  ThreadPool pool(picture.threads);
  pool.run(static_cast<int64_t>(removals.size()), [&](int64_t begin, int64_t end, int) {
    try {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        pictures[i] = impute(picture.input, removed[i], removals[i].noise, removals[i].stream());
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
  return pictures;
}

/// Scores by key, kept with the map.
using Outcomes = std::map<std::string, Outcome>;

Outcomes& outcomes_of(MapCase& map) {
  return *map.memo.get<std::shared_ptr<Outcomes>>("road",
                                                  [] { return std::make_shared<Outcomes>(); });
}

/// Imputes and scores what has not been scored yet, in one go.
void run(MapCase& map, const std::vector<Removal>& removals) {
  PictureCase& picture = map.picture;
  Outcomes& done = outcomes_of(map);
  std::vector<Removal> open;
  std::vector<std::vector<bool>> removed;
  for (const Removal& removal : removals) {
    if (!done.emplace(removal.key(), Outcome{}).second) continue;
    open.push_back(removal);
    removed.push_back(pixels_to_remove(map, removal));
  }
  const std::vector<std::optional<Tensor>> imputed = impute_all(picture, open, removed);
  std::vector<size_t> solved;
  for (size_t i = 0; i < open.size(); ++i) {
    done[open[i].key()].removed = std::count(removed[i].begin(), removed[i].end(), true);
    if (imputed[i]) solved.push_back(i);
  }
  if (solved.empty()) return;
  const Tensor scores =
      picture.probe(static_cast<int64_t>(solved.size()), [&](int64_t row, float* values) {
        const Tensor& from = *imputed[solved[static_cast<size_t>(row)]];
        std::copy_n(from.floats(), from.count(), values);
      });
  for (size_t i = 0; i < solved.size(); ++i) {
    const std::span<const float> row = scores_of(scores, static_cast<int64_t>(i));
    done[open[solved[i]].key()].scores =
        Tensor::from(Shape{1, static_cast<int64_t>(row.size())}, row);
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
  const Outcomes& done = outcomes_of(map);
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
