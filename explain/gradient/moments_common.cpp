#include "explain/gradient/moments_common.h"

#include <algorithm>

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/pictures.h"
#include "explain/gradient/formulas.h"
#include "explain/random.h"

namespace camlucida::gradient {
namespace {

/// Adds powers of the rows [n, C, h, w] to `sums`, row by row.
void add_powers(const Tensor& rows, std::vector<Tensor>& sums) {
  if (on_device(rows)) return gpu::add_powers(rows, sums);
  const int64_t count = sums[0].count();
  for (int64_t row = 0; row < rows.shape()[0]; ++row) {
    const float* g = rows.floats() + row * count;
    for (size_t power = 0; power < sums.size(); ++power) {
      double* to = sums[power].as<double>().data();
      for (int64_t i = 0; i < count; ++i) to[i] += power_of(g[i], static_cast<int>(power) + 1);
    }
  }
}

}  // namespace

std::vector<std::vector<Tensor>> gradient_powers(Evidence& evidence, Needs needs,
                                                 const std::string& value, int64_t count,
                                                 const RowSource& variants, int powers) {
  const Subject& subject = evidence.subject();
  const std::vector<Target>& targets = evidence.targets();
  needs.seeds_per_image = static_cast<int>(targets.size());
  const Tensor& input = evidence.input();
  const Graph& graph = *subject.graph;
  const TensorDesc desc{DType::kFloat64, graph.value(graph.require(value)).desc.shape};
  std::vector<std::vector<Tensor>> sums(targets.size());
  for (std::vector<Tensor>& own : sums) {
    for (int power = 0; power < powers; ++power) {
      own.push_back(on_device(input) ? gpu::zeros(desc, stream_of(input))
                                     : Tensor(desc.shape, desc.dtype));
    }
  }
  RowBatch rows(input.shape(), variants);
  evidence.pool().in_passes(
      input.shape(), count, needs, [&](Session& session, int64_t first, int64_t used) {
        const int64_t batch = session.plan().desc(subject.input).shape[0];
        // Rows beyond the last variant keep what they had: nobody looks at them.
        session.forward(rows.fill(session.stream(), batch, first, used));
        session.backward(seeds_of(targets, session.activation(subject.score)));
        const Tensor gradients = session.gradient(value);  // [T * batch, ...]
        for (size_t t = 0; t < targets.size(); ++t) {
          add_powers(gradients.rows(static_cast<int64_t>(t) * batch, used), sums[t]);
        }
        evidence.progress(first + used, count);
      });
  evidence.count({.forwards = count, .backwards = count});
  return sums;
}

Tensor moments(Moment moment, const Tensor& sums, const Tensor& squares, int64_t samples) {
  const auto n = static_cast<double>(samples);
  if (on_device(sums)) return gpu::moments(moment, sums, squares, n);
  Tensor result(sums.shape(), DType::kFloat64);
  const std::span<const double> sum = sums.as<double>();
  const std::span<const double> square = squares.as<double>();
  std::transform(sum.begin(), sum.end(), square.begin(), result.as<double>().begin(),
                 [=](double a, double b) { return moment_of(moment, a, b, n); });
  return result;
}

std::pair<float, float> extremes(const Tensor& values) {
  if (on_device(values)) return gpu::extremes(values);
  const std::span<const float> all = values.as<float>();
  const auto [low, high] = std::minmax_element(all.begin(), all.end());
  return {*low, *high};
}

RowSource noisy_pictures(const Tensor& input, double sigma, uint64_t seed) {
  return {.on_host =
              [&input, sigma, seed](int64_t row, float* values) {
                Random random(seed, static_cast<uint64_t>(row));
                const std::span<const float> x = input.as<float>();
                for (size_t i = 0; i < x.size(); ++i) {
                  values[i] = static_cast<float>(x[i] + sigma * random.normal());
                }
              },
          .on_device =
              [&input, sigma, seed](Stream& stream, int64_t first, int64_t rows, float* values) {
                gpu::noisy_rows(stream, input, sigma, seed, first, rows, values);
              }};
}

}  // namespace camlucida::gradient
