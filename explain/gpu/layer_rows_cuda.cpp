#include "explain/gpu/layer_rows.h"

#include "engine/cuda/launch.h"
#include "explain/gpu/operation.h"

namespace camlucida::gpu {
namespace {

struct AblatedRows {
  const float* layer;
  int64_t count;
  int64_t pixels;
  int64_t first;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t element = i % count;
    to[i] = element / pixels == first + i / count ? 0.0f : layer[element];
  }
};

struct PixelRows {
  const float* layer;
  int64_t count;
  int64_t pixels;
  int64_t width;
  bool gaussian;
  int64_t first;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t shown = first + i / count;
    const int64_t element = i % count;
    const int64_t p = element % pixels;
    const float value = layer[element - p + shown];
    if (!gaussian) {
      to[i] = p == shown ? value : 0.0f;
      return;
    }
    to[i] = tap(p / width - shown / width) * tap(p % width - shown % width) * value;
  }
  static CAMLUCIDA_PORTABLE float tap(int64_t distance) {
    return distance == 0 ? 0.5f : distance == 1 || distance == -1 ? 0.25f : 0.0f;
  }
};

struct ConstantRows {
  const double* vectors;
  int64_t pixels;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    to[i] = static_cast<float>(vectors[i / pixels]);
  }
};

}  // namespace

void ablated_rows(Stream& stream, const Tensor& layer, int64_t first, int64_t rows, float* values) {
  Operation on(stream.shared_from_this());
  for_each(stream, rows * layer.count(),
           AblatedRows{on.read(layer), layer.count(), layer.shape().count(2, 4), first, values});
}

void pixel_rows(Stream& stream, const Tensor& layer, bool gaussian, int64_t first, int64_t rows,
                float* values) {
  Operation on(stream.shared_from_this());
  const Shape& shape = layer.shape();
  for_each(stream, rows * layer.count(),
           PixelRows{on.read(layer), layer.count(), shape.count(2, 4), shape[3], gaussian, first,
                     values});
}

void constant_rows(Stream& stream, const Tensor& vectors, int64_t pixels, int64_t first,
                   int64_t rows, float* values) {
  Operation on(stream.shared_from_this());
  const Tensor own = vectors.rows(first, rows);
  for_each(stream, own.count() * pixels, ConstantRows{on.read<double>(own), pixels, values});
}

}  // namespace camlucida::gpu
