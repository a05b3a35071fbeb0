#pragma once

#include <cstdint>
#include <string>

#include "engine/tensor.h"

namespace camlucida {

/// What an explanation explains: a differentiable function of the score tensor, one number per
/// image. Its derivative at the score tensor is the dense seed that Session::backward takes back.
class Target {
 public:
  /// The logit of class `index`. The score tensor must be [N, classes] or [N, classes, 1, ...].
  static Target of_class(int64_t index) { return Target(index); }

  int64_t class_index() const { return class_index_; }
  std::string describe() const { return "class:" + std::to_string(class_index_); }

  /// Value of the score for image `image` of `scores`. Throws Error(kUsage) if the tensor has no
  /// such class, or is a map rather than a list of classes.
  double score(const Tensor& scores, int image = 0) const;
  /// d score / d scores for every image: the shape of `scores`.
  Tensor seed(const Tensor& scores) const;

 private:
  explicit Target(int64_t index) : class_index_(index) {}
  void check(const Shape& scores) const;

  int64_t class_index_;
};

/// Number of classes of a score tensor, [N, classes] or [N, classes, 1, ...]; throws Error(kUsage)
/// if it is not one.
int64_t class_count(const Shape& scores);

}  // namespace camlucida
