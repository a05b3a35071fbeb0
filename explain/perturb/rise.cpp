#include <algorithm>

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/masks.h"
#include "explain/perturb/masking_common.h"

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

using gpu::GridMasks;

/// Mask i, [height, width], on the host.
void make_mask(const GridMasks& masks, int64_t i, float* values) {
  const int64_t grid = masks.grid;
  const int64_t cell_height = (masks.height + grid - 1) / grid;
  const int64_t cell_width = (masks.width + grid - 1) / grid;
  Random random(masks.seed, static_cast<uint64_t>(i));
  Tensor cells(Shape{grid, grid});
  for (float& cell : cells.as<float>()) cell = random.uniform() < masks.probability ? 1.0f : 0.0f;
  const int64_t top = random.below(cell_height);
  const int64_t left = random.below(cell_width);
  const int64_t stride = (grid + 1) * cell_width;
  const Tensor large =
      resize_bilinear(cells, static_cast<int>((grid + 1) * cell_height), static_cast<int>(stride));
  for (int64_t y = 0; y < masks.height; ++y) {
    std::copy_n(large.floats() + (top + y) * stride + left, masks.width, values + y * masks.width);
  }
}

/// The picture under every mask. Both outlive the source.
RowSource masked(const MaskedPicture& picture, const GridMasks& masks) {
  return {.on_host =
              [&, mask = std::vector<float>(static_cast<size_t>(picture.pixels()))](
                  int64_t row, float* values) mutable {
                make_mask(masks, row, mask.data());
                picture.apply(mask.data(), values);
              },
          .on_device =
              [&](Stream& stream, int64_t first, int64_t rows, float* values) {
                gpu::grid_masked_rows(stream, picture.input(), picture.behind(), masks, first, rows,
                                      values);
              }};
}

/// factor * sum_i weights[t][i] times mask i, [height, width] for every t; on the GPU of the stream
/// if there is one. The masks are made again rather than kept: thousands would take gigabytes.
std::vector<Tensor> mask_sums(const GridMasks& masks,
                              const std::vector<std::vector<double>>& weights, double factor,
                              const std::shared_ptr<Stream>& stream) {
  std::vector<Tensor> results;
  if (stream != nullptr) {
    for (const std::vector<double>& own : weights) {
      results.push_back(gpu::grid_mask_sum(masks, own, factor, stream));
    }
    return results;
  }
  std::vector<float> mask(static_cast<size_t>(masks.height) * static_cast<size_t>(masks.width));
  std::vector<std::vector<double>> sums(weights.size(), std::vector<double>(mask.size(), 0.0));
  for (size_t i = 0; i < weights[0].size(); ++i) {
    make_mask(masks, static_cast<int64_t>(i), mask.data());
    for (size_t t = 0; t < weights.size(); ++t) {
      for (size_t p = 0; p < mask.size(); ++p) sums[t][p] += weights[t][i] * mask[p];
    }
  }
  for (const std::vector<double>& sum : sums) {
    results.emplace_back(Shape{masks.height, masks.width});
    std::transform(sum.begin(), sum.end(), results.back().floats(),
                   [&](double value) { return static_cast<float>(factor * value); });
  }
  return results;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const bool official = settings.variant() == "official";
  const int64_t grid = settings.integer("grid", official ? 8 : 7, 1, 1024);
  const double probability = settings.number("probability", official ? 0.1 : 0.5, 1e-6, 1.0);
  const int64_t count = settings.integer("masks", official ? 6000 : 4000, 1, 10000000);
  const uint64_t seed = settings.seed();
  const ScoreKind kind = read_score(settings, evidence.targets(), "probability");
  const Backdrop backdrop = read_mask_space(settings, "normalised");

  const MaskedPicture picture(evidence.input(), evidence.subject().preprocessing, backdrop);
  const GridMasks masks{grid, probability, seed, picture.height(), picture.width()};
  const Tensor scores = evidence.probe(count, masked(picture, masks));
  std::vector<std::vector<double>> by_mask;  // [target][mask]
  for (const Target& target : evidence.targets()) {
    std::vector<double>& own = by_mask.emplace_back();
    for (int64_t i = 0; i < count; ++i) own.push_back(score_of(target, scores, i, kind));
  }
  const double factor = 1.0 / (static_cast<double>(count) * probability);
  std::vector<RawMap> maps;
  for (Tensor& sum : mask_sums(masks, by_mask, factor, stream_of(evidence.input()))) {
    maps.push_back({.raw = std::move(sum)});
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
