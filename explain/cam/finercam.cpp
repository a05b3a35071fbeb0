#include <algorithm>
#include <cmath>
#include <numeric>

#include "explain/cam/cam_common.h"

/// Finer-CAM. Zhang, Gu, Stevens, Carlyn, Su, Chao: "Finer-CAM: Spotting the Difference Reveals
/// Finer Details for Visual Explanation", CVPR 2025: Grad-CAM of what sets the class apart from its
/// nearest rivals instead of the class alone,
///
///     s = sum_i P_i (y_t - a y_i) / (sum_i P_i + 1e-9)        P = softmax(y), y [classes]
///
/// over the reference classes i, those whose logits are nearest to that of the class t. The
/// gradient flows through P_i too, as in pytorch-grad-cam:
///
///     d s / d y_j = ( [j = t] sum_i P_i - a [j in refs] P_j
///                     + [j in refs] P_j d_j - P_j sum_i P_i d_i ) / D,   d_i = y_t - a y_i - s
///
/// with D = sum_i P_i + 1e-9. As sum_i P_i d_i is only 1e-9 s, what differs from constant P is
/// P_j d_j. Among equal distances the lower class index comes first.
namespace camlucida {
namespace {

constexpr double kEpsilon = 1e-9;

/// The `count` classes other than `own` whose logits are nearest to its.
std::vector<int64_t> nearest_classes(const Tensor& scores, int64_t own, int64_t count) {
  const int64_t classes = class_count(scores.shape());
  const float* y = scores.floats();
  std::vector<int64_t> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), int64_t{0});
  order.erase(order.begin() + own);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return std::abs(y[a] - y[own]) < std::abs(y[b] - y[own]);
  });
  order.resize(static_cast<size_t>(std::min(count, classes - 1)));
  return order;
}

/// The score above as a target.
class FinerScore {
 public:
  FinerScore(int64_t own, std::vector<int64_t> references, double alpha)
      : own_(own), references_(std::move(references)), alpha_(alpha) {}

  double value(const float* y, const std::vector<double>& p) const {
    double sum = 0.0;
    for (const int64_t i : references_) sum += p[index(i)] * (y[own_] - alpha_ * y[i]);
    return sum / divisor(p);
  }

  void add_gradient(const float* y, const std::vector<double>& p, float* seed) const {
    const double score = value(y, p);
    const double total = divisor(p);
    const auto distance = [&](int64_t i) { return y[own_] - alpha_ * y[i] - score; };
    std::vector<double> gradient(p.size(), 0.0);
    double mean = 0.0;
    for (const int64_t i : references_) {
      gradient[index(own_)] += p[index(i)];
      gradient[index(i)] += p[index(i)] * (distance(i) - alpha_);
      mean += p[index(i)] * distance(i);
    }
    for (size_t j = 0; j < p.size(); ++j) {
      seed[j] += static_cast<float>((gradient[j] - p[j] * mean) / total);
    }
  }

 private:
  static size_t index(int64_t i) { return static_cast<size_t>(i); }
  double divisor(const std::vector<double>& p) const {
    double sum = kEpsilon;
    for (const int64_t i : references_) sum += p[index(i)];
    return sum;
  }

  int64_t own_;
  std::vector<int64_t> references_;
  double alpha_;
};

Target finer_target(const FinerScore& score, int64_t own) {
  const auto probabilities = [](const Shape& shape, const float* row) {
    return softmax(Tensor({.shape = shape}, row, nullptr));
  };
  return Target(
      {.description = "finer:" + std::to_string(own),
       .class_index = own,
       .check = [](const Shape& shape) { class_count(shape); },
       .value = [=](const Shape& shape,
                    const float* row) { return score.value(row, probabilities(shape, row)); },
       .gradient = [=](const Shape& shape, const float* row,
                       float* seed) { score.add_gradient(row, probabilities(shape, row), seed); }});
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const double alpha = settings.number("alpha", 1.0, 0.0, 1e6);
  const int64_t count = settings.integer("references", 3, 1, 1'000'000);
  const Tensor& scores = evidence.scores();
  if (class_count(scores.shape()) < 2) {
    throw Error(ErrorKind::kUsage, "Finer-CAM compares classes, the network has only one",
                "use gradcam");
  }
  std::vector<Target> finer;
  std::vector<std::vector<int64_t>> references;
  for (const Target& target : evidence.targets()) {
    const int64_t own = target.class_index();
    if (own < 0) {
      throw Error(ErrorKind::kUsage,
                  "Finer-CAM compares a class with others, '" + target.describe() + "' is no class",
                  "use gradcam for other targets");
    }
    references.push_back(nearest_classes(scores, own, count));
    finer.push_back(finer_target(FinerScore(own, references.back(), alpha), own));
  }
  const std::string& layer = evidence.subject().layer;
  const Tensor& activation = evidence.activation(layer);
  const Tensor gradients = evidence.propagate(layer, seeds_of(finer, scores));
  std::vector<RawMap> maps;
  for (size_t t = 0; t < finer.size(); ++t) {
    const Tensor gradient = gradients.rows(static_cast<int64_t>(t), 1);
    maps.push_back(map_of_weights(activation, mean_gradient(activation, gradient)));
    maps.back().series["references"] = {references[t].begin(), references[t].end()};
  }
  return maps;
}

}  // namespace

void register_finercam(ExplainerRegistry& registry) {
  registry.add({.name = "finercam",
                .aliases = {},
                .title = "Finer-CAM",
                .formula = "Grad-CAM of sum_i P_i (y_t - a y_i) / sum_i P_i over the rivals i",
                .source = "Zhang et al. 2025",
                .backwards = "1",
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain = explain});
}

}  // namespace camlucida
