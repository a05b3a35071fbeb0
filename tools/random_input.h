#pragma once

#include <map>
#include <random>
#include <string>

#include "explain/model.h"

namespace camlucida::cli {

/// Standard normal numbers that are the same on every platform.
class NormalNumbers {
 public:
  explicit NormalNumbers(uint64_t seed) : engine_(seed) {}
  double operator()();

 private:
  std::mt19937_64 engine_;
};

/// A picture as the network gets it: random bytes, preprocessed.
Tensor random_picture(const Model& model, const Shape& shape, uint64_t seed);

/// The picture input as above, every other input of the plan standard normal (integers zero).
std::map<std::string, Tensor> random_inputs(const Model& model, const Plan& plan, uint64_t seed);

}  // namespace camlucida::cli
