#include "explain/metrics/curve_common.h"

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

  const Tensor& substrate = picture.memo.get<Tensor>(std::string("fill.") + name_of(fill), [&] {
    return fill_picture(picture.input, fill, picture.preprocessing);
  });
  const std::vector<int32_t>& order =
      map.memo.get<std::vector<int32_t>>("order", [&] { return order_of_pixels(map.map); });
  const Tensor& from = deletion ? picture.input : substrate;
  const Tensor& to = deletion ? substrate : picture.input;
  const Tensor scores = exchange_pixels(from, to, order, step, picture.probe);

  Measurement result;
  for (int64_t row = 0; row < scores.shape()[0]; ++row) {
    result.profile.push_back(score(scores, row));
  }
  result.value = normalised_area(result.profile);
  return result;
}

}  // namespace camlucida::metrics
