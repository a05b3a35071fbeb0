#include "explain/target.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>

#include "engine/error.h"

namespace camlucida {
namespace {

std::vector<double> softmax_row(const float* row, int64_t classes) {
  std::vector<double> p(static_cast<size_t>(classes));
  const double peak = *std::max_element(row, row + classes);
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += p[static_cast<size_t>(c)] = std::exp(row[c] - peak);
  for (double& value : p) value /= sum;
  return p;
}

/// log softmax of class `c`, exact also where the probability underflows.
double log_softmax(const float* row, int64_t classes, int64_t c) {
  const double peak = *std::max_element(row, row + classes);
  double sum = 0;
  for (int64_t i = 0; i < classes; ++i) sum += std::exp(row[i] - peak);
  return row[c] - peak - std::log(sum);
}

void check_class(const Shape& scores, int64_t index) {
  const int64_t classes = class_count(scores);
  if (index >= 0 && index < classes) return;
  throw Error(ErrorKind::kUsage,
              "class " + std::to_string(index) + " does not exist: the network has " +
                  std::to_string(classes) + " classes",
              "use 0 to " + std::to_string(classes - 1));
}

/// A target that is a function of all logits with one class in the centre; linear without a form.
Target class_target(
    const std::string& kind, int64_t index, std::optional<Target::SoftmaxForm> form,
    std::function<double(const float*, int64_t)> value,
    std::function<void(const float*, int64_t, float*)> gradient,
    std::function<void(const float*, int64_t, const double*, double*)> hessian_product = {}) {
  Target::Function function{
      .description = kind + ":" + std::to_string(index),
      .class_index = index,
      .linear = !form,
      .check = [index](const Shape& shape) { check_class(shape, index); },
      .value = [value](const Shape& shape, const float* row) { return value(row, shape[1]); },
      .gradient = [gradient](const Shape& shape, const float* row,
                             float* seed) { gradient(row, shape[1], seed); },
      .softmax_form = form};
  if (hessian_product) {
    function.hessian_product = [hessian_product](const Shape& shape, const float* row,
                                                 const double* v, double* product) {
      hessian_product(row, shape[1], v, product);
    };
  }
  return Target(std::move(function));
}

/// a_c * (indicator of `index`) - b * softmax, the gradient of every logarithmic score.
void add_log_gradient(const float* row, int64_t classes, int64_t index, double own, float* seed) {
  const std::vector<double> p = softmax_row(row, classes);
  for (int64_t c = 0; c < classes; ++c) {
    seed[c] += static_cast<float>((c == index ? own : 0.0) - p[static_cast<size_t>(c)]);
  }
}

/// What softmax changes when the scores change by v: P (v - P v), [classes].
std::vector<double> softmax_change(const float* row, int64_t classes, const double* v) {
  std::vector<double> p = softmax_row(row, classes);
  double mean = 0;
  for (int64_t c = 0; c < classes; ++c) mean += p[static_cast<size_t>(c)] * v[c];
  for (int64_t c = 0; c < classes; ++c) p[static_cast<size_t>(c)] *= v[c] - mean;
  return p;
}

/// The second derivative of every logarithmic score is minus that of log sum exp.
void subtract_softmax_change(const float* row, int64_t classes, const double* v, double* product) {
  const std::vector<double> change = softmax_change(row, classes, v);
  for (int64_t c = 0; c < classes; ++c) product[c] -= change[static_cast<size_t>(c)];
}

int64_t row_count(const Shape& shape) { return shape.rank() > 0 ? shape.count() / shape[0] : 1; }

/// "embed:faces/anna.png" → "embed:anna"
std::string without_path(std::string text) {
  const size_t colon = text.find(':');
  const size_t slash = text.rfind('/');
  if (colon != std::string::npos && slash != std::string::npos && slash > colon) {
    text.erase(colon + 1, slash - colon);
  }
  for (const std::string extension : {".npy", ".png", ".jpg", ".jpeg", ".bmp"}) {
    const size_t end = std::min(text.rfind('#'), text.size());
    if (end < extension.size()) continue;
    const size_t at = end - extension.size();
    if (text.compare(at, extension.size(), extension) == 0) text.erase(at, extension.size());
  }
  return text;
}

}  // namespace

int64_t class_count(const Shape& scores) {
  if (scores.rank() < 2 || scores.count(2, scores.rank()) != 1) {
    throw Error(ErrorKind::kUsage,
                "the score tensor " + scores.to_string() + " is not a list of class scores",
                "this network has no classifier head to choose a class from");
  }
  return scores[1];
}

std::vector<double> softmax(const Tensor& scores, int64_t image) {
  const int64_t classes = class_count(scores.shape());
  return softmax_row(scores.floats() + image * classes, classes);
}

Target::Target(Function function)
    : function_(std::make_shared<const Function>(std::move(function))) {}

Target Target::of_class(int64_t index) {
  return class_target(
      "class", index, {},
      [index](const float* row, int64_t) { return static_cast<double>(row[index]); },
      [index](const float*, int64_t, float* seed) { seed[index] += 1.0f; });
}

Target Target::margin(int64_t a, int64_t b) {
  return Target({.description = "margin:" + std::to_string(a) + "-" + std::to_string(b),
                 .class_index = -1,
                 .linear = true,
                 .check =
                     [a, b](const Shape& shape) {
                       check_class(shape, a);
                       check_class(shape, b);
                     },
                 .value = [a, b](const Shape&,
                                 const float* row) { return static_cast<double>(row[a]) - row[b]; },
                 .gradient =
                     [a, b](const Shape&, const float*, float* seed) {
                       seed[a] += 1.0f;
                       seed[b] -= 1.0f;
                     }});
}

Target Target::probability(int64_t index) {
  return class_target(
      "probability", index, Target::SoftmaxForm{.probability = 1},
      [index](const float* row, int64_t classes) {
        return softmax_row(row, classes)[static_cast<size_t>(index)];
      },
      [index](const float* row, int64_t classes, float* seed) {
        const std::vector<double> p = softmax_row(row, classes);
        const double own = p[static_cast<size_t>(index)];
        for (int64_t c = 0; c < classes; ++c) {
          seed[c] +=
              static_cast<float>(own * ((c == index ? 1.0 : 0.0) - p[static_cast<size_t>(c)]));
        }
      },
      [index](const float* row, int64_t classes, const double* v, double* product) {
        // The gradient is p_index (e_index - p): both factors change.
        const std::vector<double> p = softmax_row(row, classes);
        const std::vector<double> change = softmax_change(row, classes, v);
        const auto own = static_cast<size_t>(index);
        for (size_t c = 0; c < p.size(); ++c) {
          product[c] += change[own] * ((c == own ? 1.0 : 0.0) - p[c]) - p[own] * change[c];
        }
      });
}

Target Target::log_probability(int64_t index) {
  return class_target(
      "log-probability", index, Target::SoftmaxForm{.log_probability = 1},
      [index](const float* row, int64_t classes) { return log_softmax(row, classes, index); },
      [index](const float* row, int64_t classes, float* seed) {
        add_log_gradient(row, classes, index, 1.0, seed);
      },
      subtract_softmax_change);
}

Target Target::logit_and_log_probability(int64_t index) {
  return class_target(
      "rest", index, Target::SoftmaxForm{.logit = 1, .log_probability = 1},
      [index](const float* row, int64_t classes) {
        return row[index] + log_softmax(row, classes, index);
      },
      [index](const float* row, int64_t classes, float* seed) {
        add_log_gradient(row, classes, index, 2.0, seed);
      },
      subtract_softmax_change);
}

Target Target::similar(Similarity similarity, const std::string& description) {
  const auto shared = std::make_shared<const Similarity>(std::move(similarity));
  return Target(
      {.description = description,
       .check =
           [shared, description](const Shape& shape) {
             const auto wanted = static_cast<int64_t>(shared->reference.size());
             const int64_t length = shared->embedding.length(shape);
             if (length == wanted) return;
             throw Error(ErrorKind::kUsage,
                         "the reference of '" + description + "' has " + std::to_string(wanted) +
                             " values but the network's output has " + std::to_string(length),
                         "make it with this network, or choose the output with --output");
           },
       .value =
           [shared](const Shape& shape, const float* row) {
             return compare(shared->measure, shared->embedding.of(shape, row), shared->reference);
           },
       .gradient =
           [shared](const Shape& shape, const float* row, float* seed) {
             const std::vector<double> x = shared->embedding.of(shape, row);
             shared->embedding.add_gradient(
                 shape, row, compare_gradient(shared->measure, x, shared->reference), seed);
           },
       .similarity = shared});
}

Target Target::cosine(Tensor reference, const std::string& name) {
  Similarity similarity;
  similarity.reference = reference.to_doubles();
  return similar(std::move(similarity), "embed:" + name);
}

Target Target::negative_distance(Tensor reference, const std::string& name) {
  Similarity similarity;
  similarity.measure = Measure::kEuclidean;
  similarity.reference = reference.to_doubles();
  return similar(std::move(similarity), "distance:" + name);
}

Target Target::region(int64_t channel, Tensor mask, const std::string& name) {
  const auto inside = std::make_shared<const std::vector<double>>(mask.to_doubles());
  const Shape mask_shape = mask.shape();
  return Target({.description = name,
                 .class_index = -1,
                 .linear = true,
                 .check =
                     [channel, mask_shape, name](const Shape& shape) {
                       const bool fits = shape.rank() == 4 && mask_shape.rank() == 2 &&
                                         shape[2] == mask_shape[0] && shape[3] == mask_shape[1];
                       if (fits && channel >= 0 && channel < shape[1]) return;
                       throw Error(ErrorKind::kUsage,
                                   "'" + name + "' does not fit the output " + shape.to_string(),
                                   "it needs an output [1, classes, h, w] such as a segmentation");
                     },
                 .value =
                     [channel, inside](const Shape&, const float* row) {
                       const auto pixels = static_cast<int64_t>(inside->size());
                       double sum = 0;
                       for (int64_t p = 0; p < pixels; ++p) {
                         if ((*inside)[static_cast<size_t>(p)] != 0)
                           sum += row[channel * pixels + p];
                       }
                       return sum;
                     },
                 .gradient =
                     [channel, inside](const Shape&, const float*, float* seed) {
                       const auto pixels = static_cast<int64_t>(inside->size());
                       for (int64_t p = 0; p < pixels; ++p) {
                         if ((*inside)[static_cast<size_t>(p)] != 0)
                           seed[channel * pixels + p] += 1;
                       }
                     }});
}

Target Target::entry(int64_t flat_index, const std::string& name) {
  return Target(
      {.description = name,
       .class_index = -1,
       .linear = true,
       .check =
           [flat_index, name](const Shape& shape) {
             if (flat_index >= 0 && flat_index < row_count(shape)) return;
             throw Error(ErrorKind::kUsage,
                         "'" + name + "' is outside the output " + shape.to_string());
           },
       .value = [flat_index](const Shape&, const float* row) { return double{row[flat_index]}; },
       .gradient = [flat_index](const Shape&, const float*,
                                float* seed) { seed[flat_index] += 1.0f; }});
}

std::string Target::slug() const {
  if (describe() == "class:" + std::to_string(class_index())) {
    return "c" + std::to_string(class_index());
  }
  std::string text;
  for (const char c : without_path(describe())) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.';
    if (plain) {
      text += c;
    } else if (!text.empty() && text.back() != '-') {
      text += '-';
    }
  }
  while (!text.empty() && (text.back() == '-' || text.back() == '.')) text.pop_back();
  return text;
}

double Target::score(const Tensor& scores, int64_t image) const {
  const Shape& shape = scores.shape();
  function_->check(shape);
  return function_->value(shape, scores.floats() + image * row_count(shape));
}

Tensor Target::seed(const Tensor& scores) const {
  const Shape& shape = scores.shape();
  function_->check(shape);
  Tensor seed(shape);
  const int64_t stride = row_count(shape);
  for (int64_t image = 0; image < (shape.rank() > 0 ? shape[0] : 1); ++image) {
    function_->gradient(shape, scores.floats() + image * stride, seed.floats() + image * stride);
  }
  return seed;
}

Tensor seeds_of(const std::vector<Target>& targets, const Tensor& scores) {
  Shape shape = scores.shape();
  shape[0] *= static_cast<int64_t>(targets.size());
  Tensor seeds(shape);
  for (size_t t = 0; t < targets.size(); ++t) {
    const Tensor seed = targets[t].seed(scores);
    std::memcpy(static_cast<std::byte*>(seeds.raw()) + t * seed.bytes(), seed.raw(), seed.bytes());
  }
  return seeds;
}

std::vector<double> Target::hessian_product(const Tensor& scores,
                                            const std::vector<double>& v) const {
  const Shape& shape = scores.shape();
  function_->check(shape);
  std::vector<double> product(v.size(), 0.0);
  if (linear()) return product;
  if (!function_->hessian_product) {
    throw Error(ErrorKind::kUsage, "the second derivative of '" + describe() + "' is not known",
                "choose a method that uses gradients only, such as gradcam");
  }
  function_->hessian_product(shape, scores.floats(), v.data(), product.data());
  return product;
}

}  // namespace camlucida
