#include <vector>

#include "explain/metrics/masking_common.h"
#include "explain/random.h"

/// Infidelity. Yeh, Hsieh, Suggala, Inouye, Ravikumar: "On the (In)fidelity and Sensitivity of
/// Explanations", NeurIPS 2019, definition 2.1, with square patches taken out:
///
///     mean_j (b sum_{p in patch j} M(p) - (s(x) - s(x without patch j)))^2
///
/// A map in [0, 1] has no unit, so that it is first scaled by the b that fits best (least squares),
/// as the paper does in 2.2; `scale=none` leaves it. Divided by the mean square of the score
/// changes, 0 is a perfect map and 1 a map that explains none of them.
namespace camlucida::metrics {
namespace {

struct Patch {
  int x, y, side;
};

std::vector<Patch> draw_patches(const PictureCase& picture, int64_t count, int side,
                                uint64_t seed) {
  Random random(seed, picture.number);
  std::vector<Patch> patches;
  for (int64_t i = 0; i < count; ++i) {
    const auto y = static_cast<int>(random.below(picture.height() - side + 1));
    const auto x = static_cast<int>(random.below(picture.width() - side + 1));
    patches.push_back({x, y, side});
  }
  return patches;
}

template <class Visit>
void visit_patch(const Patch& patch, int width, const Visit& visit) {
  for (int y = patch.y; y < patch.y + patch.side; ++y) {
    for (int x = patch.x; x < patch.x + patch.side; ++x) visit(int64_t{y} * width + x);
  }
}

Measurement measure(MapCase& map, Settings& settings) {
  PictureCase& picture = map.picture;
  const int64_t smaller = std::min(picture.height(), picture.width());
  const int64_t samples = settings.integer("samples", 64, 2, 100000);
  const auto side =
      static_cast<int>(settings.integer("patch", std::max<int64_t>(smaller / 7, 1), 1, smaller));
  const bool scaled = settings.choice("scale", "best", {"best", "none"}) == "best";
  const ScoreOf score = read_score(map, settings, "probability");
  const Fill fill = fill_of(settings.choice("fill", "zero", {"zero", "mean", "blur", "black"}));
  const uint64_t seed = settings.seed();

  const std::vector<Patch> patches = draw_patches(picture, samples, side, seed);
  const std::string key = "patches." + std::to_string(samples) + "." + std::to_string(side) + "." +
                          name_of(fill) + "." + std::to_string(seed);
  const Tensor& scores = picture.memo.get<Tensor>(key, [&] {
    const Tensor substrate = fill_picture(picture.input, fill, picture.preprocessing);
    return picture.probe(samples, [&](int64_t row, float* values) {
      std::copy_n(picture.input.floats(), picture.input.count(), values);
      visit_patch(patches[static_cast<size_t>(row)], picture.width(), [&](int64_t p) {
        for (int64_t i = p; i < picture.input.count(); i += picture.pixels()) {
          values[i] = substrate.floats()[i];
        }
      });
    });
  });

  const double before = score(picture.scores, 0);
  std::vector<double> predicted, actual;
  double cross = 0, square = 0, power = 0;
  for (int64_t j = 0; j < samples; ++j) {
    double sum = 0;
    visit_patch(patches[static_cast<size_t>(j)], picture.width(),
                [&](int64_t p) { sum += map.map.floats()[p]; });
    predicted.push_back(sum);
    actual.push_back(before - score(scores, j));
    cross += predicted.back() * actual.back();
    square += sum * sum;
    power += actual.back() * actual.back();
  }
  const double b = !scaled ? 1 : square > 0 ? cross / square : 0;
  double error = 0;
  for (size_t j = 0; j < actual.size(); ++j) {
    const double miss = b * predicted[j] - actual[j];
    error += miss * miss;
  }
  if (!(power > 0)) return Measurement::failed("no patch changes the score");
  Measurement result =
      Measurement::of(scaled ? error / power : error / static_cast<double>(samples));
  result.details = {{"scale", b}, {"mean_square_change", power / static_cast<double>(samples)}};
  return result;
}

}  // namespace

void register_infidelity(MetricRegistry& registry) {
  registry.add({.name = "infidelity",
                .title = "Infidelity",
                .formula = "mean (b sum of M in a patch - drop of s without it)^2 / mean drop^2",
                .source = "Yeh et al. 2019, def. 2.1",
                .better = Better::kLower,
                .passes = "64, once per picture",
                .measure = measure});
}

}  // namespace camlucida::metrics
