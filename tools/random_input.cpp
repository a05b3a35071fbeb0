#include "tools/random_input.h"

#include <cmath>
#include <numbers>

namespace camlucida::cli {

// Box-Muller: std::normal_distribution differs between standard libraries.
double NormalNumbers::operator()() {
  const auto uniform = [&] { return static_cast<double>(engine_() >> 11) * 0x1p-53; };
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

Tensor random_picture(const Model& model, const Shape& shape, uint64_t seed) {
  Tensor picture(shape);
  const Preprocessing& recipe = model.preprocessing();
  std::mt19937_64 engine(seed);
  const int64_t channels = shape.rank() == 4 ? shape[1] : 1;
  const int64_t plane = shape.rank() == 4 ? shape[2] * shape[3] : picture.count();
  float* out = picture.floats();
  for (int64_t i = 0; i < picture.count(); ++i) {
    const auto byte = static_cast<float>(engine() >> 56);
    const auto c = static_cast<int>(i / plane % channels);
    out[i] = channels == recipe.channels() ? recipe.normalise(c, byte) : byte / 255.0f;
  }
  return picture;
}

std::map<std::string, Tensor> random_inputs(const Model& model, const Plan& plan, uint64_t seed) {
  std::map<std::string, Tensor> inputs;
  NormalNumbers normal(seed + 1);
  for (const std::string& name : plan.input_names()) {
    const TensorDesc& desc = plan.desc(name);
    if (name == model.input_name() && desc.dtype == DType::kFloat32) {
      inputs[name] = random_picture(model, desc.shape, seed);
      continue;
    }
    Tensor tensor(desc.shape, desc.dtype);
    if (desc.dtype == DType::kFloat32) {
      for (float& value : tensor.as<float>()) value = static_cast<float>(normal());
    }
    inputs[name] = tensor;
  }
  return inputs;
}

}  // namespace camlucida::cli
