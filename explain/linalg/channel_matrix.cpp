#include "explain/linalg/channel_matrix.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/error.h"

namespace camlucida {

void check_layer(const Tensor& layer) {
  const Shape& shape = layer.shape();
  if (!layer.defined() || shape.rank() != 4 || shape[0] != 1 || layer.dtype() != DType::kFloat32) {
    throw Error(ErrorKind::kUsage,
                "a layer of one picture has the shape [1, C, h, w], not " + shape.to_string());
  }
}

ChannelMatrix channel_matrix(const Tensor& layer) {
  check_layer(layer);
  const Shape& shape = layer.shape();
  return {shape[2] * shape[3], shape[1], layer.to_doubles()};
}

std::vector<double> pixel_rows(const ChannelMatrix& x) {
  const auto pixels = static_cast<size_t>(x.pixels);
  const auto channels = static_cast<size_t>(x.channels);
  std::vector<double> rows(x.values.size());
  for (size_t j = 0; j < channels; ++j) {
    for (size_t p = 0; p < pixels; ++p) rows[p * channels + j] = x.values[j * pixels + p];
  }
  return rows;
}

int64_t zero_nonfinite(ChannelMatrix* x) {
  int64_t count = 0;
  for (double& v : x->values) {
    if (std::isfinite(v)) continue;
    v = 0.0;
    ++count;
  }
  return count;
}

void centre_channels(ChannelMatrix* x) {
  const auto pixels = static_cast<size_t>(x->pixels);
  for (size_t begin = 0; begin < x->values.size(); begin += pixels) {
    double* column = x->values.data() + begin;
    double mean = column[0];
    if (!std::all_of(column, column + pixels, [&](double v) { return v == column[0]; })) {
      mean = std::accumulate(column, column + pixels, 0.0) / static_cast<double>(pixels);
    }
    for (size_t p = 0; p < pixels; ++p) column[p] -= mean;
  }
}

std::vector<double> gram(const std::vector<double>& rows, int64_t count, int64_t order) {
  const auto size = static_cast<size_t>(order);
  std::vector<double> result(size * size, 0.0);
  for (size_t k = 0; k < static_cast<size_t>(count); ++k) {
    const double* row = rows.data() + k * size;
    for (size_t i = 0; i < size; ++i) {
      const double factor = row[i];
      if (factor == 0.0) continue;
      double* to = result.data() + i * size;
      for (size_t j = 0; j <= i; ++j) to[j] += factor * row[j];
    }
  }
  return result;
}

}  // namespace camlucida
