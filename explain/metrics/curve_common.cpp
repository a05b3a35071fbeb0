#include "explain/metrics/curve_common.h"

#include <algorithm>

#include "explain/metrics/masking_common.h"
#include "explain/metrics/math/order.h"

namespace camlucida::metrics {

Measurement measure_curve(Exchange exchange, MapCase& map, Settings& settings) {
  PictureCase& picture = map.picture;
  const int64_t pixels = picture.pixels();
  const int64_t step = settings.integer("step", step_count(pixels, 28), 1, pixels);
  const ScoreOf score = read_score(map, settings, "probability");
  const bool deletion = exchange == Exchange::kDeletion;
  const Fill fill =
      fill_of(deletion ? settings.choice("fill", "zero", {"zero", "mean", "blur", "black"})
                       : settings.choice("start", "blur", {"zero", "mean", "blur", "black"}));
  settings.record("order", "value descending, then index ascending");
  settings.record("steps", static_cast<double>(step_count(pixels, step)));

  // The ends of the curve are the same for all maps of a picture.
  const std::string name = name_of(fill);
  const Tensor& substrate = picture.memo.get<Tensor>(
      "fill." + name, [&] { return fill_picture(picture.input, fill, picture.preprocessing); });
  const Tensor& substrate_scores = picture.memo.get<Tensor>("fill.scores." + name, [&] {
    return picture.probe(1, [&](int64_t, float* values) {
      std::copy_n(substrate.floats(), substrate.count(), values);
    });
  });
  const std::vector<int32_t>& order =
      map.memo.get<std::vector<int32_t>>("order", [&] { return order_of_pixels(map.map); });

  Measurement result;
  result.profile.push_back(score(deletion ? picture.scores : substrate_scores, 0));
  const Tensor between =
      deletion ? exchange_pixels(picture.input, substrate, order, step, picture.probe)
               : exchange_pixels(substrate, picture.input, order, step, picture.probe);
  for (int64_t row = 0; between.defined() && row < between.shape()[0]; ++row) {
    result.profile.push_back(score(between, row));
  }
  result.profile.push_back(score(deletion ? substrate_scores : picture.scores, 0));
  result.value = normalised_area(result.profile);
  return result;
}

}  // namespace camlucida::metrics
