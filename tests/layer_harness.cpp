#include "tests/layer_harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace camlucida::test {
namespace {

/// FNV-1a: the same on every platform, unlike std::hash.
uint64_t hash(const std::string& text) {
  uint64_t value = 14695981039346656037u;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return value;
}

/// Uniform in [0, 1); std::uniform_real_distribution differs between standard libraries.
double uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1.0p-53; }

void shuffle(std::vector<double>& values, std::mt19937_64& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random() % i]);
}

InferContext context_of(const LayerCase& c, std::vector<const TensorDesc*>& descs,
                        std::vector<const Tensor*>& constants) {
  for (size_t i = 0; i < c.input_descs.size(); ++i) {
    const bool absent = c.example.inputs[i].absent;
    descs.push_back(absent ? nullptr : &c.input_descs[i]);
    constants.push_back(c.constants[i].defined() ? &c.constants[i] : nullptr);
  }
  return InferContext{c.example.attributes, descs, constants, c.example.output_count};
}

std::vector<TensorDesc> infer(const LayerCase& c) {
  std::vector<const TensorDesc*> descs;
  std::vector<const Tensor*> constants;
  return c.layer->infer(context_of(c, descs, constants));
}

RefTensor view(const TensorDesc& desc, const std::vector<double>& data, bool visible) {
  return RefTensor{desc.dtype, desc.shape, visible ? const_cast<double*>(data.data()) : nullptr};
}

/// Rows [index, index + 1) of the first axis.
std::vector<double> slice(const std::vector<double>& data, int64_t rows, int64_t index) {
  const int64_t size = static_cast<int64_t>(data.size()) / rows;
  return {data.begin() + index * size, data.begin() + (index + 1) * size};
}

double largest(const std::vector<double>& values) {
  double result = 0;
  for (const double v : values) result = std::max(result, std::abs(v));
  return result;
}

/// All elements when there are few, else a fixed selection.
std::vector<size_t> sample(size_t count, size_t limit) {
  std::vector<size_t> indices(std::min(count, limit));
  const size_t stride = 982451653;  // a prime larger than any example: visits distinct elements
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = count <= limit ? i : i * stride % count;
  return indices;
}

}  // namespace

std::vector<double> make_data(const TensorDesc& desc, double low, double high,
                              const std::string& seed) {
  std::mt19937_64 random(hash(seed));
  std::vector<double> values(static_cast<size_t>(desc.shape.count()));
  const auto count = static_cast<double>(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (desc.dtype == DType::kBool) {
      values[i] = static_cast<double>(random() & 1);
    } else if (!is_floating(desc.dtype)) {
      values[i] = std::floor(low + uniform(random) * (high - low + 1));
    } else {
      const double side = (random() & 1) != 0 ? 1 : -1;
      const double jitter = side * (0.05 + 0.2 * uniform(random));
      values[i] = low + (high - low) * (static_cast<double>(i) + 0.5 + jitter) / count;
    }
  }
  if (is_floating(desc.dtype)) shuffle(values, random);
  Tensor rounded(desc.shape, desc.dtype);
  from_double(desc.dtype, values.data(), rounded.raw(), rounded.count());
  return rounded.to_doubles();
}

LayerCase::LayerCase(const LayerDef& def, const Example& what) : layer(&def), example(what) {
  for (size_t i = 0; i < example.inputs.size(); ++i) {
    const ExampleInput& input = example.inputs[i];
    const TensorDesc desc{input.dtype, input.shape};
    input_descs.push_back(desc);
    inputs.emplace_back();
    constants.emplace_back();
    if (input.absent) continue;
    const std::string seed = def.name + "/" + example.name + "/" + std::to_string(i);
    inputs[i] = input.values.empty() ? make_data(desc, input.low, input.high, seed) : input.values;
    if (static_cast<int64_t>(inputs[i].size()) != desc.shape.count()) {
      throw Error(ErrorKind::kInternal, "example '" + example.name + "' of " + def.name +
                                            " gives the wrong number of values");
    }
    Tensor tensor(desc.shape, desc.dtype);
    from_double(desc.dtype, inputs[i].data(), tensor.raw(), tensor.count());
    inputs[i] = tensor.to_doubles();
    if (input.constant) constants[i] = tensor;
  }
  output_descs = infer(*this);
}

bool LayerCase::is_data(size_t input) const {
  return !example.inputs[input].absent && !example.inputs[input].constant;
}

bool LayerCase::has_gradient(size_t input) const {
  return is_data(input) && is_floating(input_descs[input].dtype);
}

int64_t LayerCase::batch() const {
  if (!example.batched) return 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!is_data(i) || input_descs[i].shape.rank() == 0) continue;
    return input_descs[i].shape[0] > 1 ? input_descs[i].shape[0] : 0;
  }
  return 0;
}

LayerCase LayerCase::row(int64_t index) const {
  LayerCase result = *this;
  int rank = 0;
  for (size_t i = 0; i < inputs.size() && rank == 0; ++i) {
    if (is_data(i)) rank = input_descs[i].shape.rank();
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    Shape& shape = result.input_descs[i].shape;
    if (!is_data(i) || shape.rank() != rank || shape[0] != batch()) continue;
    result.inputs[i] = slice(inputs[i], batch(), index);
    shape[0] = 1;
    result.example.inputs[i].shape = shape;
  }
  result.output_descs = infer(result);
  return result;
}

Doubles reference_forward(const LayerCase& c, const Doubles& inputs) {
  Doubles outputs;
  RefContext context{c.example.attributes, {}, {}, {}, {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    context.inputs.push_back(view(c.input_descs[i], inputs[i], !c.example.inputs[i].absent));
    context.inputs.back().constant = c.constants[i].defined();
  }
  for (const TensorDesc& desc : c.output_descs) {
    outputs.emplace_back(static_cast<size_t>(desc.shape.count()),
                         std::numeric_limits<double>::quiet_NaN());
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    context.outputs.push_back(view(c.output_descs[i], outputs[i], true));
  }
  c.layer->forward(context);
  return outputs;
}

Doubles reference_backward(const LayerCase& c, const Doubles& outputs, const Doubles& cotangents,
                           const std::string& rule) {
  Doubles gradients;
  RefContext context{c.example.attributes, {}, {}, {}, {}};
  std::vector<bool> wants;
  for (size_t i = 0; i < c.inputs.size(); ++i) wants.push_back(c.has_gradient(i));
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const bool visible = c.constants[i].defined() ||
                         (c.is_data(i) && c.layer->saves_under(rule).reads_input(i, wants));
    context.inputs.push_back(view(c.input_descs[i], c.inputs[i], visible));
    context.inputs.back().constant = c.constants[i].defined();
    const bool wanted = c.has_gradient(i);
    gradients.emplace_back(wanted ? c.inputs[i].size() : 0, 0.0);
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    context.outputs.push_back(
        view(c.output_descs[i], outputs[i], c.layer->saves_under(rule).outputs));
    context.grad_outputs.push_back(view(c.output_descs[i], cotangents[i], true));
  }
  for (size_t i = 0; i < gradients.size(); ++i) {
    context.grad_inputs.push_back(view(c.input_descs[i], gradients[i], c.has_gradient(i)));
  }
  c.layer->backward_under(rule)(context);
  return gradients;
}

Doubles cotangents_of(const LayerCase& c) {
  Doubles cotangents;
  for (size_t i = 0; i < c.output_descs.size(); ++i) {
    const TensorDesc desc{DType::kFloat32, c.output_descs[i].shape};
    cotangents.push_back(make_data(desc, -1, 1, "cotangent " + std::to_string(i)));
  }
  return cotangents;
}

void check_reference(const LayerCase& c) {
  ASSERT_FALSE(c.output_descs.empty());
  EXPECT_EQ(static_cast<int>(c.output_descs.size()), c.example.output_count);
  const Doubles outputs = reference_forward(c, c.inputs);
  for (size_t k = 0; k < outputs.size(); ++k) {
    for (size_t i = 0; i < outputs[k].size(); ++i) {
      ASSERT_TRUE(std::isfinite(outputs[k][i])) << "output " << k << " element " << i;
    }
  }
  for (int64_t r = 0; r < c.batch(); ++r) {
    const LayerCase row = c.row(r);
    const Doubles alone = reference_forward(row, row.inputs);
    for (size_t k = 0; k < outputs.size(); ++k) {
      Shape expected = c.output_descs[k].shape;
      ASSERT_GT(expected.rank(), 0) << "set Example::batched to false";
      ASSERT_EQ(expected[0], c.batch()) << "set Example::batched to false";
      expected[0] = 1;
      ASSERT_EQ(row.output_descs[k].shape, expected) << "set Example::batched to false";
      ASSERT_EQ(slice(outputs[k], c.batch(), r), alone[k])
          << "output " << k << ": picture " << r << " depends on the others";
    }
  }
}

void check_gradient(const LayerCase& c) {
  if (!c.layer->backward || !c.example.gradient) return;
  constexpr double kStep = 1e-5;
  constexpr double kTolerance = 1e-6;
  const Doubles outputs = reference_forward(c, c.inputs);
  const Doubles cotangents = cotangents_of(c);
  const Doubles gradients = reference_backward(c, outputs, cotangents);
  // Differences first, then the sum: a large common part cancels without loss.
  const auto derivative = [&](Doubles high, Doubles low, double distance) {
    const Doubles above = reference_forward(c, high);
    const Doubles below = reference_forward(c, low);
    double sum = 0;
    for (size_t k = 0; k < above.size(); ++k) {
      for (size_t i = 0; i < above[k].size(); ++i) {
        sum += cotangents[k][i] * (above[k][i] - below[k][i]);
      }
    }
    return sum / distance;
  };
  for (size_t input = 0; input < c.inputs.size(); ++input) {
    if (!c.has_gradient(input)) continue;
    const std::vector<double>& gradient = gradients[input];
    const std::vector<size_t> elements = sample(gradient.size(), 96);
    std::vector<double> differences;
    for (const size_t i : elements) {
      Doubles high = c.inputs;
      Doubles low = c.inputs;
      high[input][i] += kStep;
      low[input][i] -= kStep;
      differences.push_back(derivative(std::move(high), std::move(low), 2 * kStep));
    }
    const double scale = std::max(largest(gradient), largest(differences));
    for (size_t n = 0; n < elements.size(); ++n) {
      ASSERT_NEAR(gradient[elements[n]], differences[n], kTolerance * scale)
          << "input " << input << " element " << elements[n] << " value "
          << c.inputs[input][elements[n]];
    }
    if (elements.size() == gradient.size()) continue;
    // The elements that were not sampled, all at once along one direction.
    const std::vector<double> direction =
        make_data({DType::kFloat32, c.input_descs[input].shape}, -1, 1, "direction");
    Doubles high = c.inputs;
    Doubles low = c.inputs;
    double expected = 0;
    double magnitude = 0;
    for (size_t i = 0; i < direction.size(); ++i) {
      high[input][i] += kStep * direction[i];
      low[input][i] -= kStep * direction[i];
      expected += gradient[i] * direction[i];
      magnitude += std::abs(gradient[i] * direction[i]);
    }
    ASSERT_NEAR(expected, derivative(std::move(high), std::move(low), 2 * kStep),
                kTolerance * magnitude)
        << "input " << input << " along a direction";
  }
}

}  // namespace camlucida::test
