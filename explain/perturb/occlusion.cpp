#include <algorithm>

#include "explain/blurring.h"
#include "explain/gpu/masks.h"
#include "explain/perturb/masking_common.h"

/// Occlusion. Zeiler, Fergus: "Visualizing and Understanding Convolutional Networks", ECCV 2014,
/// section 4.2.
///
///     M(q) = mean over the windows W that cover q of s(x) - s(x with W filled)      M [H, W]
///
/// Square windows of `window` pixels in steps of `stride`; the last of a row or column is moved in
/// so that every pixel is covered. Filled with the data set's mean colour, the grey of the paper
/// (which gives no sizes), black, or the picture blurred.
namespace camlucida {
namespace {

using namespace perturb;

/// Where windows start along an axis of `size` pixels.
std::vector<int64_t> starts(int64_t size, int64_t window, int64_t stride) {
  std::vector<int64_t> first;
  for (int64_t at = 0; at + window < size; at += stride) first.push_back(at);
  first.push_back(std::max<int64_t>(size - window, 0));
  return first;
}

/// The picture with everything filled, [1, C, H, W].
Tensor filled(const Evidence& evidence, const std::string& fill) {
  const Tensor& input = evidence.input();
  if (fill == "blur") return gaussian_blurred(input, static_cast<double>(input.shape()[3]) / 22.4);
  return MaskedPicture(input, evidence.subject().preprocessing,
                       fill == "black" ? Backdrop::kBlack : Backdrop::kMean)
      .hidden();
}

struct Window {
  int64_t top, left, height, width;

  /// Calls row(offset, count) for each of its rows in a picture of `stride` pixels per row.
  template <class Row>
  void rows(int64_t stride, const Row& row) const {
    for (int64_t y = top; y < top + height; ++y) row(y * stride + left, width);
  }
};

/// `picture` with `behind` in one window after the other. All outlive the source.
RowSource covered(const Tensor& picture, const Tensor& behind, const std::vector<Window>& windows) {
  const int64_t width = picture.shape()[3];
  std::vector<int64_t> corners;
  for (const Window& window : windows) corners.push_back(window.top * width + window.left);
  return {.on_host =
              [&, width](int64_t row, float* values) {
                std::copy_n(picture.floats(), picture.count(), values);
                const int64_t pixels = picture.shape().count(2, 4);
                for (int64_t plane = 0; plane < picture.count(); plane += pixels) {
                  windows[static_cast<size_t>(row)].rows(width, [&](int64_t offset, int64_t run) {
                    std::copy_n(behind.floats() + plane + offset, run, values + plane + offset);
                  });
                }
              },
          .on_device =
              [&, corners](Stream& stream, int64_t first, int64_t rows, float* values) {
                gpu::window_rows(stream, picture, behind, corners, windows[0].height, first, rows,
                                 values);
              }};
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Tensor& input = evidence.input();
  const int64_t height = input.shape()[2];
  const int64_t width = input.shape()[3];
  const int64_t side = std::min(height, width);
  const int64_t window = settings.integer("window", std::max<int64_t>(side / 7, 1), 1, side);
  const int64_t stride = settings.integer("stride", std::max<int64_t>(window / 2, 1), 1, window);
  const Tensor behind =
      filled(evidence, settings.choice("fill", "mean", {"mean", "black", "blur"}));
  const ScoreKind kind = read_score(settings, evidence.targets(), "probability");

  std::vector<Window> windows;
  for (const int64_t top : starts(height, window, stride)) {
    for (const int64_t left : starts(width, window, stride)) {
      windows.push_back({top, left, window, window});
    }
  }
  const auto count = static_cast<int64_t>(windows.size());
  const Tensor scores = evidence.probe(count, covered(input, behind, windows));

  std::vector<RawMap> maps;
  for (const Target& target : evidence.targets()) {
    const double whole = score_of(target, evidence.scores(), 0, kind);
    std::vector<double> sums(static_cast<size_t>(height * width), 0.0);
    std::vector<double> covers(sums.size(), 0.0);
    for (int64_t i = 0; i < count; ++i) {
      const double drop = whole - score_of(target, scores, i, kind);
      windows[static_cast<size_t>(i)].rows(width, [&](int64_t offset, int64_t pixels) {
        for (int64_t p = offset; p < offset + pixels; ++p) {
          sums[static_cast<size_t>(p)] += drop;
          covers[static_cast<size_t>(p)] += 1.0;
        }
      });
    }
    RawMap map{.raw = Tensor(Shape{height, width})};
    std::transform(
        sums.begin(), sums.end(), covers.begin(), map.raw.floats(),
        [](double sum, double cover) { return static_cast<float>(cover > 0 ? sum / cover : 0.0); });
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_occlusion(ExplainerRegistry& registry) {
  registry.add(
      {.name = "occlusion",
       .aliases = {},
       .title = "Occlusion",
       .formula = "p(x) - p(x without the window), mean over windows",
       .source = "Zeiler and Fergus 2014, 4.2",
       .forwards = "1 + windows",
       .uses_layer = false,
       .tail = Tail::kResizedRectified,
       .needs = [](const Subject& subject,
                   Settings&) { return Needs{.outputs = {subject.score}, .score = subject.score}; },
       .explain = explain});
}

}  // namespace camlucida
