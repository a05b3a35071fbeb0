#include "explain/ifa/intensity.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "explain/heatmap.h"
#include "explain/settings.h"

namespace camlucida {
namespace {

constexpr double kEpsilon = 1e-7;
constexpr double kTanhLow = 0.05;
constexpr double kTanhHigh = 0.95;

}  // namespace

IntensityScale scale_of(const Tensor& raw, IntensityScale form) {
  const RawStatistics statistics = statistics_of(raw);
  form.low = statistics.min;
  const double start = form.remove_negative ? 0.0 : form.low;
  // A map with nothing above the start, or with values so large that 1e-7 is lost, becomes zeros.
  form.high = std::max(statistics.max, start) + kEpsilon;
  form.high = std::max(form.high, std::nextafter(start, INFINITY));
  form.ratio = 1;
  return form;
}

Tensor rescale(const Tensor& raw, const IntensityScale& scale) {
  double low = scale.low;
  double high = scale.high;
  if (scale.form == Rescaling::kLinear) {
    low = scale.remove_negative ? 0.0 : low * scale.ratio;
    high *= scale.ratio;
  }
  if (!(high > low)) {
    throw Error(ErrorKind::kUsage,
                "the intensity scale from " + to_text(low) + " to " + to_text(high) + " is empty",
                "analyse more pictures, or keep negative values");
  }
  const double slope = scale.form == Rescaling::kLinear
                           ? 1.0 / (high - low)
                           : (std::atanh(kTanhHigh) - std::atanh(kTanhLow)) / (high - low);
  const double at_low = scale.form == Rescaling::kLinear ? 0.0 : std::atanh(kTanhLow);
  const std::vector<double> values = raw.to_doubles();
  Tensor result(raw.shape());
  std::transform(values.begin(), values.end(), result.floats(), [&](double value) {
    if (!std::isfinite(value) || (scale.remove_negative && value < 0.0)) value = 0.0;
    const double linear = at_low + slope * (value - low);
    return static_cast<float>(scale.form == Rescaling::kLinear ? linear : std::tanh(linear));
  });
  return result;
}

}  // namespace camlucida
