#include <algorithm>

#include "explain/decompose/projection_common.h"
#include "explain/gpu/layer_rows.h"
#include "explain/linalg/nonnegative_factors.h"

/// Deep feature factorisation. Collins, Achanta, Suesstrunk: "Deep Feature Factorization for
/// Concept Discovery", ECCV 2018, section 3.
///
///     [A]+ ~ sum_k h_k w_k^T      A [Z, C]; maps h_k [h, w] >= 0, concept vectors w_k [C] >= 0
///     s_k  = score of the network above the layer on w_k at every pixel
///     M    = h_k of the concept with the largest s_k
///
/// All maps are in the artefact "components", strongest first, all vectors in "concepts". A map is
/// scaled to maximum 1, so that a concept is what the layer holds where it shows most. Behind a
/// mean and a linear head s_k is the head's answer to w_k. The paper factorises many pictures at
/// once and leaves the reading of the concepts to people; here it is one picture, and the scores
/// say which concept speaks for the class. The variant removes the minimum of every channel instead
/// of the negative values and adds it to the concepts again. Its program starts from random
/// numbers, so that its factors can be matched only approximately; see nonnegative_factors.h for
/// the start here.
namespace camlucida {
namespace {

constexpr int kReplayBatch = 16;

/// Makes `x` non-negative and returns what has to be added to a concept to undo it, per channel.
std::vector<double> make_nonnegative(ChannelMatrix* x, bool remove_minimum) {
  std::vector<double> offsets;
  for (int64_t j = 0; j < x->channels; ++j) {
    double* column = x->values.data() + j * x->pixels;
    offsets.push_back(remove_minimum ? *std::min_element(column, column + x->pixels) : 0.0);
    for (int64_t p = 0; p < x->pixels; ++p) column[p] = std::max(column[p] - offsets.back(), 0.0);
  }
  return offsets;
}

/// Scores of the layers that hold one of `concepts` [n, C] at every pixel.
Tensor scores_of(Evidence& evidence, const Tensor& concepts, int64_t pixels) {
  const int64_t channels = concepts.shape()[1];
  return evidence.replay(
      concepts.shape()[0],
      {.on_host =
           [&](int64_t row, float* values) {
             const double* vector = concepts.as<double>().data() + row * channels;
             for (int64_t j = 0; j < channels; ++j) {
               std::fill_n(values + j * pixels, pixels, static_cast<float>(vector[j]));
             }
           },
       .on_device =
           [&](Stream& stream, int64_t first, int64_t rows, float* values) {
             gpu::constant_rows(stream, concepts, pixels, first, rows, values);
           }});
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const FactorOptions options{
      .count = settings.integer("components", 5, 1, 1000),
      .max_iterations = static_cast<int>(settings.integer("iterations", 200, 1, 100000)),
      .tolerance = settings.number("tolerance", 1e-4, 0.0, 1.0)};
  const bool remove_minimum =
      settings.choice("offset", settings.variant() == "pytorch-grad-cam" ? "minimum" : "none",
                      {"none", "minimum"}) == "minimum";
  const Tensor& layer = evidence.activation(evidence.subject().layer);
  const Shape& shape = layer.shape();
  ChannelMatrix x = channel_matrix(layer);
  RawMap map{.raw = Tensor(Shape{shape[2], shape[3]}),
             .remark = decompose::nonfinite_remark(zero_nonfinite(&x))};
  const std::vector<double> offsets = make_nonnegative(&x, remove_minimum);
  const NonnegativeFactors factors = nonnegative_factors(std::move(x), options);
  if (factors.count == 0) {
    map.remark = "The layer shows the same everywhere: there are no concepts to tell apart.";
    return std::vector<RawMap>(evidence.targets().size(), map);
  }

  Tensor components(Shape{factors.count, shape[2], shape[3]});
  from_double(DType::kFloat32, factors.maps.data(), components.raw(), components.count());
  Tensor concepts(Shape{factors.count, shape[1]}, DType::kFloat64);
  for (size_t i = 0; i < factors.concepts.size(); ++i) {
    concepts.as<double>()[i] = factors.concepts[i] + offsets[i % offsets.size()];
  }
  map.artefacts = {{"components", components}, {"concepts", concepts}};
  map.series["relative_error"] = {factors.errors.back() / factors.total};
  if (!factors.converged) {
    map.remark += (map.remark.empty() ? "" : " ") +
                  std::string("The factorisation stopped before it converged.");
  }
  const Tensor scores = scores_of(evidence, concepts, shape[2] * shape[3]);
  std::vector<RawMap> maps;
  for (const Target& target : evidence.targets()) {
    std::vector<double> own;
    for (int64_t k = 0; k < factors.count; ++k) own.push_back(target.score(scores, k));
    const int64_t best = std::max_element(own.begin(), own.end()) - own.begin();
    map.raw = Tensor(Shape{shape[2], shape[3]});
    std::copy_n(components.floats() + best * map.raw.count(), map.raw.count(), map.raw.floats());
    map.series["concept_scores"] = own;
    map.series["shown_concept"] = {static_cast<double>(best)};
    maps.push_back(map);
  }
  return maps;
}

}  // namespace

void register_dff(ExplainerRegistry& registry) {
  registry.add({.name = "dff",
                .aliases = {"deepfeaturefactorization", "deepfeaturefactorisation"},
                .title = "Deep feature factorisation",
                .formula = "h_k of the best concept, [A]+ ~ sum_k h_k w_k^T, all non-negative",
                .source = "Collins et al. 2018, sec. 3",
                .forwards = "1, then n from the layer",
                .host_part = "the factorisation",
                .variants = {{"paper", "negative values of the layer count as 0"},
                             {"pytorch-grad-cam", "the minimum of every channel is removed first"}},
                .needs = [](const Subject& subject,
                            Settings&) { return replay_needs(subject, kReplayBatch); },
                .explain = explain});
}

}  // namespace camlucida
