#include "explain/gpu/layer_matrix.h"

#include <algorithm>
#include <numeric>

#include "engine/cuda/gram.h"
#include "engine/cuda/solver.h"
#include "explain/gpu/operation.h"

namespace camlucida::gpu {
namespace {

class DeviceMatrix final : public LayerMatrix {
 public:
  DeviceMatrix(const Tensor& layer, bool centre, const ChannelChoice* choice)
      : LayerMatrix(layer.shape().count(2, 4),
                    choice != nullptr ? std::ssize(choice->channels) : layer.shape()[1]),
        stream_(stream_of(layer)),
        rows_(stream_->allocate(static_cast<size_t>(channels_ * pixels_) * sizeof(double))) {
    Operation on(stream_);
    LayerChannels from{on.read(layer), channels_, pixels_};
    if (choice != nullptr) {
      from.chosen = on.upload(choice->channels);
      from.weights = on.upload(choice->weights);
    }
    double* counts = on.scratch<double>(2 * channels_);  // not finite, then squares
    channel_rows(*stream_, from, centre, rows(), counts, counts + channels_);
    const std::vector<double> all = fetch(counts, 2 * channels_);
    nonfinite_ = static_cast<int64_t>(std::accumulate(all.begin(), all.begin() + channels_, 0.0));
    squares_ = std::accumulate(all.begin() + channels_, all.end(), 0.0);
  }

  std::vector<double> channel_sum() const override {
    return over_channels(std::vector<double>(static_cast<size_t>(channels_), 1.0));
  }

  std::vector<double> gram(bool by_pixel) const override {
    Operation on(stream_);
    const int64_t order = by_pixel ? pixels_ : channels_;
    return fetch(gram_on(on, by_pixel), order * order);
  }

  SymmetricEigen eigen(bool by_pixel, int64_t count) const override {
    const int64_t order = by_pixel ? pixels_ : channels_;
    std::string reason;
    if (order < kLeastDeviceEigenOrder || !eigen_available(stream_->gpu(), &reason)) {
      return LayerMatrix::eigen(by_pixel, count);
    }
    Operation on(stream_);
    // All values are wanted: they tell the rank.
    DeviceEigen found = largest_eigenpairs(*stream_, gram_on(on, by_pixel), order, order);
    return {std::move(found.values), fetch(found.vectors.as<double>(), count * order)};
  }

  std::vector<double> over_pixels(std::span<const double> vectors) const override {
    Operation on(stream_);
    const int64_t count = std::ssize(vectors) / pixels_;
    auto* result = on.scratch<double>(count * channels_);
    multiply_rows(*stream_, on.upload(vectors), count, rows(), channels_, pixels_, result);
    return fetch(result, count * channels_);
  }

  std::vector<double> over_channels(std::span<const double> vectors) const override {
    Operation on(stream_);
    const int64_t count = std::ssize(vectors) / channels_;
    auto* result = on.scratch<double>(count * pixels_);
    combine_rows(*stream_, on.upload(vectors), count, rows(), channels_, pixels_, result);
    return fetch(result, count * pixels_);
  }

 private:
  double* rows() const { return rows_.as<double>(); }

  double* gram_on(Operation& on, bool by_pixel) const {
    const int64_t order = by_pixel ? pixels_ : channels_;
    auto* matrix = on.scratch<double>(order * order);
    if (by_pixel) {
      gram_of_columns(*stream_, rows(), channels_, pixels_, matrix);
    } else {
      gram_of_rows(*stream_, rows(), channels_, pixels_, matrix);
    }
    return matrix;
  }

  std::vector<double> fetch(const double* values, int64_t count) const {
    std::vector<double> copy(static_cast<size_t>(count));
    stream_->download(copy.data(), values, copy.size() * sizeof(double));
    return copy;
  }

  std::shared_ptr<Stream> stream_;
  DeviceBuffer rows_;  // [P, Z]
};

}  // namespace

std::unique_ptr<LayerMatrix> layer_matrix(const Tensor& layer, bool centre,
                                          const ChannelChoice* choice) {
  return std::make_unique<DeviceMatrix>(layer, centre, choice);
}

}  // namespace camlucida::gpu
