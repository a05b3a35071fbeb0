#pragma once

#include <cstdint>
#include <vector>

#include "engine/tensor.h"

namespace camlucida {

/// A layer as a matrix X [Z, P]: one row per pixel, one column per channel. Stored column after
/// column, the order of an activation [1, P, h, w]: the value of channel j at pixel p is
/// values[j * pixels + p].
struct ChannelMatrix {
  int64_t pixels = 0;
  int64_t channels = 0;
  std::vector<double> values;
};

/// Throws Error(kUsage) unless `layer` is float32 [1, P, h, w].
void check_layer(const Tensor& layer);
/// `layer` as a matrix; throws as check_layer.
ChannelMatrix channel_matrix(const Tensor& layer);

/// The matrix turned round, [Z][P]: all channels of pixel 0, then of pixel 1 ...
std::vector<double> pixel_rows(const ChannelMatrix& x);

/// Replaces entries that are no finite numbers by 0 and says how many there were.
int64_t zero_nonfinite(ChannelMatrix* x);

/// Removes the mean over the pixels from every channel; of a constant channel exactly 0 is left.
void centre_channels(ChannelMatrix* x);

/// Sum over k of the outer product of row k with itself; `rows` [count, order] to [order, order],
/// of which the lower triangle is filled. Sums in the order of k.
std::vector<double> gram(const std::vector<double>& rows, int64_t count, int64_t order);

}  // namespace camlucida
