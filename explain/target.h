#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/tensor.h"
#include "explain/embedding.h"

namespace camlucida {

/// What an explanation explains: a differentiable function of the score tensor, one number per
/// image. Its derivative at the score tensor is the dense seed that Session::backward takes back.
///
/// A value type; cheap to copy. The tensors handed in are shared, not copied.
class Target {
 public:
  /// The logit of class `index`. The score tensor must be [N, classes] or [N, classes, 1, ...].
  static Target of_class(int64_t index);
  /// Why `a` rather than `b`: the difference of their logits.
  static Target margin(int64_t a, int64_t b);
  /// Softmax probability of a class, and its logarithm.
  static Target probability(int64_t index);
  static Target log_probability(int64_t index);
  /// "ReST": logit + log probability, a score that is not linear in the logits.
  static Target logit_and_log_probability(int64_t index);
  /// Cosine of the whole row of scores with `reference`, which has as many elements.
  static Target cosine(Tensor reference, const std::string& name);
  /// Minus the squared Euclidean distance to `reference`.
  static Target negative_distance(Tensor reference, const std::string& name);
  /// How similar the embedding of a row is to a fixed one. Cosine and negative_distance are the two
  /// measures of the row as it is. `description`: as in the JSON.
  static Target similar(Similarity similarity, const std::string& description);
  /// Scores [N, classes, h, w]: the sum of channel `channel` over the pixels where `mask` [h, w] is
  /// not 0.
  static Target region(int64_t channel, Tensor mask, const std::string& name);
  /// One entry of the row, by its flat index.
  static Target entry(int64_t flat_index, const std::string& name);

  /// logit y_c + log_probability log P_c + probability P_c, P the softmax of the row y: what the
  /// scores of a class that are not linear consist of, as numbers.
  struct SoftmaxForm {
    double logit = 0;
    double log_probability = 0;
    double probability = 0;
  };

  /// A function of one row of the score tensor (shape with a leading 1).
  struct Function {
    std::string description;  ///< "class:281"
    int64_t class_index = -1;
    /// The derivative does not depend on the scores: closed forms for linear heads apply.
    bool linear = false;
    /// Throws Error(kUsage) if a row of this shape has no such score.
    std::function<void(const Shape&)> check;
    std::function<double(const Shape&, const float* row)> value;
    /// Adds d value / d row to `seed`, which arrives zeroed.
    std::function<void(const Shape&, const float* row, float* seed)> gradient;
    /// What is compared with what, for methods that explain similarities; null for other targets.
    std::shared_ptr<const Similarity> similarity = nullptr;
    /// Adds (d^2 value / d row^2) v to `product`, which arrives zeroed. Not needed if `linear`; may
    /// be null otherwise, for a target that no second-order method is asked for.
    std::function<void(const Shape&, const float* row, const double* v, double* product)>
        hessian_product = nullptr;
    /// Set if `value` is this form with c = class_index. What is `linear`, has a `similarity` or
    /// this form is computed where the scores lie; other functions are called on the host.
    std::optional<SoftmaxForm> softmax_form = std::nullopt;
  };
  explicit Target(Function function);

  /// The class this is the score of (its logit, probability ...), or -1.
  int64_t class_index() const { return function_->class_index; }
  bool linear() const { return function_->linear; }
  const Similarity* similarity() const { return function_->similarity.get(); }
  const std::optional<SoftmaxForm>& softmax_form() const { return function_->softmax_form; }
  const std::string& describe() const { return function_->description; }
  /// The description fit for a file name: "c281", else letters, digits, '.', '-', without the
  /// folders and the extension of a file. Two targets may share one.
  std::string slug() const;

  /// Value of the score for image `image` of `scores`. Throws Error(kUsage) if the tensor has no
  /// such score.
  double score(const Tensor& scores, int64_t image = 0) const;
  /// d score / d scores for every image: the shape of `scores`.
  Tensor seed(const Tensor& scores) const;
  /// (d^2 score / d scores^2) v for image 0 of `scores`, `v` as long as one row. Throws
  /// Error(kUsage) if the target does not say.
  std::vector<double> hessian_product(const Tensor& scores, const std::vector<double>& v) const;

 private:
  std::shared_ptr<const Function> function_;
};

/// The seeds of several targets in the order Session::backward takes them, [T * N, ...].
Tensor seeds_of(const std::vector<Target>& targets, const Tensor& scores);

/// Number of classes of a score tensor, [N, classes] or [N, classes, 1, ...]; throws Error(kUsage)
/// if it is not one.
int64_t class_count(const Shape& scores);

/// Softmax of a row of scores in double: the number of classes of class_count.
std::vector<double> softmax(const Tensor& scores, int64_t image = 0);

}  // namespace camlucida
