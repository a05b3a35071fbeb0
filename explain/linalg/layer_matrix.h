#pragma once

#include <memory>
#include <span>
#include <vector>

#include "explain/linalg/channel_matrix.h"
#include "explain/linalg/symmetric_eigen.h"

namespace camlucida {

/// A layer as a matrix X [Z, P], one row per pixel and one column per channel, with the sums that
/// decompositions are made of; on the side where the layer lies. Entries that are no finite numbers
/// count as 0; with `centre` the mean over the pixels is removed from every channel. All sums are
/// double and in a fixed order.
class LayerMatrix {
 public:
  virtual ~LayerMatrix() = default;

  int64_t pixels() const { return pixels_; }
  int64_t channels() const { return channels_; }
  int64_t nonfinite() const { return nonfinite_; }  ///< entries that were no finite numbers
  double squares() const { return squares_; }       ///< sum of all squares before centring

  /// For every pixel the sum over the channels, [Z]; up to a constant if centred.
  virtual std::vector<double> channel_sum() const = 0;
  /// X X^T [Z, Z] or X^T X [P, P], of which the lower triangle is filled.
  virtual std::vector<double> gram(bool by_pixel) const = 0;
  /// All eigenvalues of gram(by_pixel) and the first `count` eigenvectors.
  virtual SymmetricEigen eigen(bool by_pixel, int64_t count) const;
  /// X^T v for vectors v over the pixels, [count, Z] to [count, P].
  virtual std::vector<double> over_pixels(std::span<const double> vectors) const = 0;
  /// X v for vectors v over the channels, [count, P] to [count, Z].
  virtual std::vector<double> over_channels(std::span<const double> vectors) const = 0;

 protected:
  LayerMatrix(int64_t pixels, int64_t channels) : pixels_(pixels), channels_(channels) {}

  int64_t pixels_;
  int64_t channels_;
  int64_t nonfinite_ = 0;
  double squares_ = 0;
};

/// Some channels of a layer, each times its weight.
struct ChannelChoice {
  std::span<const int64_t> channels;  ///< [P]
  std::span<const double> weights;    ///< [P]
};

std::unique_ptr<LayerMatrix> layer_matrix(ChannelMatrix x, bool centre);
/// `layer` [1, C, h, w] float32, on either side; all of its channels unless some are chosen. Throws
/// Error(kUsage) for another shape.
std::unique_ptr<LayerMatrix> layer_matrix(const Tensor& layer, bool centre,
                                          const ChannelChoice* choice = nullptr);

}  // namespace camlucida
