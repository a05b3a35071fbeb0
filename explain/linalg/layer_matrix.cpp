#include "explain/linalg/layer_matrix.h"

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/layer_matrix.h"

namespace camlucida {
namespace {

/// vector [count] times `rows` [count, order], added to `result` [order].
void combine(const double* vector, const std::vector<double>& rows, size_t count, size_t order,
             double* result) {
  for (size_t k = 0; k < count; ++k) {
    const double* row = rows.data() + k * order;
    for (size_t i = 0; i < order; ++i) result[i] += vector[k] * row[i];
  }
}

/// `vectors` [n, count] times `rows` [count, order].
std::vector<double> combine_all(std::span<const double> vectors, const std::vector<double>& rows,
                                size_t count, size_t order) {
  std::vector<double> result(vectors.size() / count * order, 0.0);
  for (size_t i = 0; i < vectors.size() / count; ++i) {
    combine(vectors.data() + i * count, rows, count, order, result.data() + i * order);
  }
  return result;
}

class HostMatrix final : public LayerMatrix {
 public:
  HostMatrix(ChannelMatrix x, bool centre)
      : LayerMatrix(x.pixels, x.channels), x_(std::move(x)), sum_(size(pixels_), 0.0) {
    nonfinite_ = zero_nonfinite(&x_);
    for (const double v : x_.values) squares_ += v * v;
    combine(std::vector<double>(size(channels_), 1.0).data(), x_.values, size(channels_),
            size(pixels_), sum_.data());
    if (centre) centre_channels(&x_);
  }

  std::vector<double> channel_sum() const override { return sum_; }
  std::vector<double> gram(bool by_pixel) const override {
    return by_pixel ? camlucida::gram(x_.values, channels_, pixels_)
                    : camlucida::gram(rows(), pixels_, channels_);
  }
  std::vector<double> over_pixels(std::span<const double> vectors) const override {
    return combine_all(vectors, rows(), size(pixels_), size(channels_));
  }
  std::vector<double> over_channels(std::span<const double> vectors) const override {
    return combine_all(vectors, x_.values, size(channels_), size(pixels_));
  }

 private:
  static size_t size(int64_t extent) { return static_cast<size_t>(extent); }
  const std::vector<double>& rows() const {
    if (rows_.empty()) rows_ = pixel_rows(x_);
    return rows_;
  }

  ChannelMatrix x_;
  std::vector<double> sum_;
  mutable std::vector<double> rows_;  // pixel by pixel
};

ChannelMatrix chosen_channels(const ChannelMatrix& all, const ChannelChoice& choice) {
  ChannelMatrix chosen{all.pixels, std::ssize(choice.channels), {}};
  for (size_t j = 0; j < choice.channels.size(); ++j) {
    const int64_t first = choice.channels[j] * all.pixels;
    for (int64_t p = 0; p < all.pixels; ++p) {
      chosen.values.push_back(choice.weights[j] * all.values[static_cast<size_t>(first + p)]);
    }
  }
  return chosen;
}

}  // namespace

SymmetricEigen LayerMatrix::eigen(bool by_pixel, int64_t count) const {
  return decompose_symmetric(gram(by_pixel), by_pixel ? pixels_ : channels_, count);
}

std::unique_ptr<LayerMatrix> layer_matrix(ChannelMatrix x, bool centre) {
  return std::make_unique<HostMatrix>(std::move(x), centre);
}

std::unique_ptr<LayerMatrix> layer_matrix(const Tensor& layer, bool centre,
                                          const ChannelChoice* choice) {
  check_layer(layer);
  if (on_device(layer)) return gpu::layer_matrix(layer, centre, choice);
  ChannelMatrix all = channel_matrix(layer);
  return layer_matrix(choice == nullptr ? std::move(all) : chosen_channels(all, *choice), centre);
}

}  // namespace camlucida
