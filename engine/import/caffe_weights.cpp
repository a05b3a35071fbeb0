#include "engine/import/caffe_weights.h"

#include <algorithm>
#include <memory>

#include "engine/error.h"

namespace camlucida {
namespace {

constexpr const char* kDamaged = "the weights file is damaged";
constexpr const char* kNotTheirs = "use the weights that were trained with this network";

/// `shape` with leading ones added or taken away until it has that rank, or as it is.
Shape aligned(const Shape& shape, int rank) {
  std::vector<int64_t> dims = shape.dims();
  while (static_cast<int>(dims.size()) < rank) dims.insert(dims.begin(), 1);
  while (static_cast<int>(dims.size()) > rank && dims.front() == 1) dims.erase(dims.begin());
  // A vector may also stand as [1, C, 1, 1].
  if (rank == 1) std::erase(dims, 1);
  if (rank == 1 && dims.empty()) dims = {1};
  return Shape(std::move(dims));
}

bool fits(const Shape& shape, const Shape& expected) {
  if (shape.rank() != expected.rank()) return false;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (expected[axis] != Shape::kUnknown && expected[axis] != shape[axis]) return false;
  }
  return true;
}

}  // namespace

Shape blob_shape(const caffe::Blob& blob) {
  Shape shape(std::vector<int64_t>(blob.shape().dim().begin(), blob.shape().dim().end()));
  const bool four = blob.has_num() || blob.has_channels() || blob.has_height() || blob.has_width();
  if (!blob.has_shape() && four) {
    shape = Shape{blob.num(), blob.channels(), blob.height(), blob.width()};
  }
  for (const int64_t extent : shape) {
    if (extent < 1) {
      throw Error(ErrorKind::kModel, "a blob has the extents " + shape.to_string(), kDamaged);
    }
  }
  const int found = blob.data_size() > 0 ? blob.data_size() : blob.double_data_size();
  if (shape.count() != found) {
    throw Error(
        ErrorKind::kModel,
        "a blob of shape " + shape.to_string() + " holds " + std::to_string(found) + " numbers",
        kDamaged);
  }
  return shape;
}

CaffeWeights::CaffeWeights(caffe::TrainedNetwork network) {
  for (auto& layer : *network.mutable_layers()) layers_[layer.name()].Swap(layer.mutable_blobs());
  for (auto& layer : *network.mutable_layer()) layers_[layer.name()].Swap(layer.mutable_blobs());
}

int CaffeWeights::count(const std::string& layer) const {
  const auto it = layers_.find(layer);
  return it == layers_.end() ? 0 : it->second.size();
}

int64_t CaffeWeights::extent(const std::string& layer, int index, int axis) const {
  if (index >= count(layer)) return 0;
  const Shape shape = blob_shape(layers_.at(layer)[index]);
  return axis < shape.rank() ? shape[axis] : 0;
}

Tensor CaffeWeights::take(const std::string& layer, int index, const std::string& what,
                          const Shape& expected) {
  if (index >= count(layer)) {
    throw Error(ErrorKind::kModel, "the weights file has no " + what + " for it", kNotTheirs);
  }
  caffe::Blob& blob = layers_.at(layer)[index];
  const Shape stored = blob_shape(blob);
  const Shape shape = aligned(stored, expected.rank());
  if (!fits(shape, expected)) {
    throw Error(ErrorKind::kModel,
                "its " + what + " has the shape " + stored.to_string() +
                    " in the weights file, the network asks for " + expected.to_string(),
                kNotTheirs);
  }
  if (blob.data_size() == 0) {
    Tensor tensor(shape);
    std::transform(blob.double_data().begin(), blob.double_data().end(), tensor.floats(),
                   [](double value) { return static_cast<float>(value); });
    return tensor;
  }
  const auto owner =
      std::make_shared<google::protobuf::RepeatedField<float>>(std::move(*blob.mutable_data()));
  return Tensor({DType::kFloat32, shape}, owner->data(), owner);
}

}  // namespace camlucida
