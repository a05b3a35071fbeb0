#include <algorithm>
#include <cmath>

#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

std::vector<TensorDesc> infer(const InferContext& context) {
  const auto& attributes = context.attributes.as<LrnAttributes>();
  if (context.shape(0).rank() < 2 || attributes.size < 1) {
    throw Error(ErrorKind::kModel, "input " + context.shape(0).to_string() +
                                       " does not fit a window over " +
                                       std::to_string(attributes.size) + " channels");
  }
  return {context.input(0)};
}

/// Calls f(c, first, last) for the channels first..last that channel c is normalised by.
template <class F>
void for_each_channel(const LrnAttributes& attributes, int64_t channels, F&& f) {
  for (int64_t c = 0; c < channels; ++c) {
    f(c, std::max<int64_t>(0, c - (attributes.size - 1) / 2),
      std::min(channels - 1, c + attributes.size / 2));
  }
}

/// bias + alpha / size * sum x^2 over the window of channel c at one pixel of stride `pixels`.
double denominator(const LrnAttributes& attributes, const double* x, int64_t pixels, int64_t first,
                   int64_t last) {
  double sum = 0;
  for (int64_t i = first; i <= last; ++i) sum += x[i * pixels] * x[i * pixels];
  return attributes.bias + attributes.alpha / static_cast<double>(attributes.size) * sum;
}

void forward(const RefContext& context) {
  const auto& attributes = context.attributes.as<LrnAttributes>();
  const RefTensor& x = context.inputs[0];
  const int64_t channels = x.shape[1];
  const int64_t pixels = x.shape.count(2, x.shape.rank());
  for (int64_t n = 0; n < x.shape[0]; ++n) {
    for (int64_t i = 0; i < pixels; ++i) {
      const int64_t base = n * channels * pixels + i;
      for_each_channel(attributes, channels, [&](int64_t c, int64_t first, int64_t last) {
        const double d = denominator(attributes, x.data + base, pixels, first, last);
        context.outputs[0][base + c * pixels] =
            x[base + c * pixels] * std::pow(d, -attributes.beta);
      });
    }
  }
}

/// y_c = x_c d_c^-beta, d_c = bias + alpha / size * sum_i x_i^2:
///     dx_i = dy_i d_i^-beta - 2 alpha beta / size * x_i * sum_{c: i in window(c)} dy_c x_c
///     d_c^(-beta - 1).
void backward(const RefContext& context) {
  const auto& attributes = context.attributes.as<LrnAttributes>();
  const RefTensor& x = context.inputs[0];
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const int64_t channels = x.shape[1];
  const int64_t pixels = x.shape.count(2, x.shape.rank());
  const double factor =
      2 * attributes.alpha * attributes.beta / static_cast<double>(attributes.size);
  for (int64_t n = 0; n < x.shape[0]; ++n) {
    for (int64_t i = 0; i < pixels; ++i) {
      const int64_t base = n * channels * pixels + i;
      for_each_channel(attributes, channels, [&](int64_t c, int64_t first, int64_t last) {
        const int64_t at = base + c * pixels;
        const double d = denominator(attributes, x.data + base, pixels, first, last);
        grad_x[at] += grad_y[at] * std::pow(d, -attributes.beta);
        const double shared = factor * grad_y[at] * x[at] * std::pow(d, -attributes.beta - 1);
        for (int64_t k = first; k <= last; ++k) {
          grad_x[base + k * pixels] -= shared * x[base + k * pixels];
        }
      });
    }
  }
}

Reading read(const NodeSource& source) {
  if (!source.has("size")) {
    throw Error(ErrorKind::kModel, "size is missing",
                Error::Place{source.name, source.operation, source.opset});
  }
  return {.attributes = LrnAttributes{source.integer("size", 1), source.number("alpha", 1e-4),
                                      source.number("beta", 0.75), source.number("bias", 1)}};
}

std::vector<Example> examples() {
  const auto input = [](Shape shape) {
    return std::vector<ExampleInput>{{.shape = std::move(shape), .low = -3, .high = 3}};
  };
  return {
      {"size5", LrnAttributes{5, 0.5, 0.75, 1.0}, input({1, 19, 4, 5})},
      {"alexnet", LrnAttributes{5, 1e-4, 0.75, 2.0}, input({2, 7, 3, 6})},
      {"size3_beta1", LrnAttributes{3, 1.0, 1.0, 0.5}, input({2, 6, 5, 3})},
      {"even_size", LrnAttributes{4, 0.7, 0.6, 1.0}, input({1, 9, 2, 3})},
      {"wider_than_channels", LrnAttributes{9, 0.3, 0.75, 1.0}, input({2, 3, 4, 4})},
      {"several_tiles", LrnAttributes{3, 0.4, 0.5, 1.0}, input({1, 5, 17, 19})},
      {"size1", LrnAttributes{1, 0.3, 0.5, 1.5}, input({1, 5, 3, 3})},
  };
}

}  // namespace

void register_lrn(Registry& registry) {
  LayerDef layer;
  layer.name = "LRN";
  layer.prototype = LrnAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves.inputs = true;
  pass_relevance_on(layer);
  layer.onnx = {{.name = "LRN", .read = read}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
