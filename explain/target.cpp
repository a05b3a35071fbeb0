#include "explain/target.h"

#include "engine/error.h"

namespace camlucida {

int64_t class_count(const Shape& scores) {
  if (scores.rank() < 2 || scores.count(2, scores.rank()) != 1) {
    throw Error(ErrorKind::kUsage,
                "the score tensor " + scores.to_string() + " is not a list of class scores",
                "this network has no classifier head to choose a class from");
  }
  return scores[1];
}

void Target::check(const Shape& scores) const {
  const int64_t classes = class_count(scores);
  if (class_index_ >= 0 && class_index_ < classes) return;
  throw Error(ErrorKind::kUsage,
              "class " + std::to_string(class_index_) + " does not exist: the network has " +
                  std::to_string(classes) + " classes",
              "use 0 to " + std::to_string(classes - 1));
}

double Target::score(const Tensor& scores, int image) const {
  check(scores.shape());
  return scores.floats()[image * scores.shape()[1] + class_index_];
}

Tensor Target::seed(const Tensor& scores) const {
  check(scores.shape());
  Tensor seed(scores.shape());
  for (int64_t image = 0; image < scores.shape()[0]; ++image) {
    seed.floats()[image * scores.shape()[1] + class_index_] = 1.0f;
  }
  return seed;
}

}  // namespace camlucida
