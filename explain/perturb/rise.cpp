#include <algorithm>

#include "explain/perturb/masking_common.h"
#include "explain/random.h"

/// RISE. Petsiuk, Das, Saenko: "RISE: Randomized Input Sampling for Explanation of Black-box
/// Models", BMVC 2018, equations 6 and section 3.2.
///
///     M(q) = 1 / (N p) sum_i s(x * m_i) m_i(q)       m_i [H, W] in [0, 1], E[m_i(q)] = p
///
/// A mask is a grid of `grid` x `grid` cells, each 1 with `probability` p, else 0, enlarged
/// (bilinear, half-pixel centres) to one cell more than the picture on each axis and cut out at a
/// random offset of less than a cell. Mask i is random stream i of the seed: the cells row by row,
/// then the offset down, then the offset right.
namespace camlucida {
namespace {

using namespace perturb;

class GridMasks {
 public:
  GridMasks(int64_t grid, double probability, uint64_t seed, int height, int width)
      : grid_(grid),
        probability_(probability),
        seed_(seed),
        height_(height),
        width_(width),
        cell_height_((height + grid - 1) / grid),
        cell_width_((width + grid - 1) / grid) {}

  /// Mask i, [height, width].
  void mask(int64_t i, float* values) const {
    Random random(seed_, static_cast<uint64_t>(i));
    Tensor cells(Shape{grid_, grid_});
    for (float& cell : cells.as<float>()) cell = random.uniform() < probability_ ? 1.0f : 0.0f;
    const int64_t top = random.below(cell_height_);
    const int64_t left = random.below(cell_width_);
    const int64_t stride = (grid_ + 1) * cell_width_;
    const Tensor large = resize_bilinear(cells, static_cast<int>((grid_ + 1) * cell_height_),
                                         static_cast<int>(stride));
    for (int64_t y = 0; y < height_; ++y) {
      std::copy_n(large.floats() + (top + y) * stride + left, width_, values + y * width_);
    }
  }

 private:
  int64_t grid_;
  double probability_;
  uint64_t seed_;
  int64_t height_;
  int64_t width_;
  int64_t cell_height_;
  int64_t cell_width_;
};

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const bool official = settings.variant() == "official";
  const int64_t grid = settings.integer("grid", official ? 8 : 7, 1, 1024);
  const double probability = settings.number("probability", official ? 0.1 : 0.5, 1e-6, 1.0);
  const int64_t count = settings.integer("masks", official ? 6000 : 4000, 1, 10000000);
  const uint64_t seed = settings.seed();
  const ScoreKind kind = read_score(settings, evidence.targets(), "probability");
  const Backdrop backdrop = read_mask_space(settings, "normalised");

  const MaskedPicture picture(evidence.input(), evidence.subject().preprocessing, backdrop);
  const GridMasks masks(grid, probability, seed, picture.height(), picture.width());
  std::vector<float> mask(static_cast<size_t>(picture.pixels()));
  const Tensor scores = evidence.probe(count, [&](int64_t row, float* values) {
    masks.mask(row, mask.data());
    picture.apply(mask.data(), values);
  });

  // The masks are made again rather than kept: thousands of them would take gigabytes.
  const std::vector<Target>& targets = evidence.targets();
  std::vector<std::vector<double>> sums(targets.size(), std::vector<double>(mask.size(), 0.0));
  for (int64_t i = 0; i < count; ++i) {
    masks.mask(i, mask.data());
    for (size_t t = 0; t < targets.size(); ++t) {
      const double score = score_of(targets[t], scores, i, kind);
      for (size_t p = 0; p < mask.size(); ++p) sums[t][p] += score * mask[p];
    }
  }
  std::vector<RawMap> maps;
  for (std::vector<double>& sum : sums) {
    RawMap map{.raw = Tensor(Shape{picture.height(), picture.width()})};
    const double scale = 1.0 / (static_cast<double>(count) * probability);
    std::transform(sum.begin(), sum.end(), map.raw.floats(),
                   [&](double value) { return static_cast<float>(scale * value); });
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_rise(ExplainerRegistry& registry) {
  registry.add(
      {.name = "rise",
       .aliases = {},
       .title = "RISE",
       .formula = "mean_i p(x * m_i) m_i, random masks m_i",
       .source = "Petsiuk et al. 2018, eq. 6",
       .forwards = "1 + masks",
       .uses_layer = false,
       .variants = {{"paper", ""},
                    {"official",
                     "grid 8, probability 0.1 and 6000 masks, as the program "
                     "that came with the paper sets them"}},
       .tail = Tail::kResizedSigned,
       .needs = [](const Subject& subject,
                   Settings&) { return Needs{.outputs = {subject.score}, .score = subject.score}; },
       .explain = explain});
}

}  // namespace camlucida
