#include <cmath>

#include "explain/metrics/metric.h"
#include "explain/random.h"

/// Max-sensitivity. Yeh et al. 2019, definition 3.1, estimated with random samples:
///
///     max_j ||M(x + d_j) - M(x)|| / ||M(x)||        d_j uniform in [-radius, radius], normalised
///
/// The class stays the one that was explained, even if the noise changes the prediction.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const PictureCase& picture = map.picture;
  const double radius = settings.number("radius", 0.02, 1e-6, 10);
  const int64_t samples = settings.integer("samples", 10, 1, 10000);
  const uint64_t seed = settings.seed();
  double norm = 0;
  for (float v : map.map.as<float>()) norm += static_cast<double>(v) * v;
  if (!(norm > 0)) return Measurement::failed("the map is zero everywhere");

  Measurement result = Measurement::of(0);
  double sum = 0;
  for (int64_t j = 0; j < samples; ++j) {
    Random random(seed, (picture.number << 16) + static_cast<uint64_t>(j));
    Tensor noisy = picture.input.clone();
    for (float& v : noisy.as<float>()) {
      v += static_cast<float>(random.uniform(-radius, radius));
    }
    const Tensor other = map.explain(noisy, picture.class_index);
    double difference = 0;
    for (int64_t p = 0; p < map.map.count(); ++p) {
      const double d = static_cast<double>(other.floats()[p]) - map.map.floats()[p];
      difference += d * d;
    }
    const double sensitivity = std::sqrt(difference / norm);
    if (std::isnan(sensitivity)) return Measurement::failed("a map with noise is not finite");
    sum += sensitivity;
    result.value = std::max(result.value, sensitivity);
  }
  result.details["mean"] = sum / static_cast<double>(samples);
  return result;
}

}  // namespace

void register_max_sensitivity(MetricRegistry& registry) {
  registry.add({.name = "max_sensitivity",
                .aliases = {"sensitivity_max"},
                .title = "Max-sensitivity",
                .formula = "max ||M(x + d) - M(x)|| / ||M(x)||",
                .source = "Yeh et al. 2019, def. 3.1",
                .better = Better::kLower,
                .passes = "10 explanations",
                .measure = measure});
}

}  // namespace camlucida::metrics
