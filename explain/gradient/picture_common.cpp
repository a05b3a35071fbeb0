#include "explain/gradient/picture_common.h"

#include <algorithm>
#include <cmath>

namespace camlucida::gradient {

Needs picture_needs(const Subject& subject, const std::string& rule) {
  Needs needs{.outputs = {subject.score}, .score = subject.score};
  needs.gradient_to = {subject.input};
  needs.rule = rule;
  return needs;
}

std::string read_channels(Settings& settings, const std::string& fallback) {
  return settings.choice("channels", fallback, {"signed-sum", "abs-sum", "max-abs"});
}

Tensor over_channels(const Tensor& values, const std::string& how) {
  const Shape& shape = values.shape();
  const int64_t height = shape[shape.rank() - 2];
  const int64_t width = shape[shape.rank() - 1];
  const int64_t pixels = height * width;
  const std::vector<double> all = values.to_doubles();
  std::vector<double> map(static_cast<size_t>(pixels), 0.0);
  for (size_t i = 0; i < all.size(); ++i) {
    double& pixel = map[i % static_cast<size_t>(pixels)];
    if (how == "signed-sum") {
      pixel += all[i];
    } else if (how == "abs-sum") {
      pixel += std::abs(all[i]);
    } else {
      pixel = std::max(pixel, std::abs(all[i]));
    }
  }
  Tensor result(Shape{height, width});
  from_double(DType::kFloat32, map.data(), result.raw(), pixels);
  return result;
}

std::vector<RawMap> picture_gradients(Evidence& evidence, const std::string& channels) {
  const Shape& shape = evidence.input().shape();
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Tensor gradient = evidence.gradient(evidence.subject().input, t);
    maps.push_back(
        {.raw = over_channels(gradient, channels),
         .artefacts = {{"gradient", gradient.reshaped({shape[1], shape[2], shape[3]})}}});
  }
  return maps;
}

void visit_gradients(Evidence& evidence, int64_t count, const Evidence::FillRow& fill,
                     const GradientVisitor& visit) {
  const Subject& subject = evidence.subject();
  const std::vector<Target>& targets = evidence.targets();
  Needs needs = picture_needs(subject);
  needs.seeds_per_image = static_cast<int>(targets.size());
  const Shape& row_shape = evidence.input().shape();
  const SessionPool::Lease session = evidence.pool().lend_batch(row_shape, count, needs);
  const int64_t batch = session->plan().desc(subject.input).shape[0];
  const int64_t row_count = row_shape.count();
  Shape shape = row_shape;
  shape[0] = batch;
  Tensor rows(shape);
  for (int64_t first = 0; first < count; first += batch) {
    const int64_t used = std::min(batch, count - first);
    // Rows beyond the last variant keep what they had: nobody looks at them.
    for (int64_t i = 0; i < used; ++i) fill(first + i, rows.floats() + i * row_count);
    session->forward(rows);
    const Tensor scores = session->activation(subject.score);
    session->backward(seeds_of(targets, scores));
    const Tensor gradients = session->gradient(subject.input);  // [T * batch, C, H, W]
    for (int64_t i = 0; i < used; ++i) {
      for (size_t t = 0; t < targets.size(); ++t) {
        const int64_t at = static_cast<int64_t>(t) * batch + i;
        visit(first + i, t, gradients.floats() + at * row_count, targets[t].score(scores, i));
      }
    }
    evidence.progress(first + used, count);
  }
  evidence.count({.forwards = count, .backwards = count});
}

}  // namespace camlucida::gradient
