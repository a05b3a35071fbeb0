#pragma once

#include <map>
#include <string>

#include "engine/import/caffe_schema.h"
#include "engine/tensor.h"

namespace camlucida {

/// Extents of a blob, in old files its four numbers. Throws Error(kModel) unless the data has as
/// many elements.
Shape blob_shape(const caffe::Blob& blob);

/// The trained blobs of a network by the name of their layer.
class CaffeWeights {
 public:
  /// Takes the blobs out of `network`.
  explicit CaffeWeights(caffe::TrainedNetwork network);

  /// Number of blobs of a layer, 0 if there is no such layer.
  int count(const std::string& layer) const;
  /// One extent of a blob as stored, 0 if there is none.
  int64_t extent(const std::string& layer, int index, int axis) const;
  /// Blob `index` as float32, its memory taken over: ask for each blob once. `expected` is the
  /// shape that the network asks for, kUnknown where it does not say; old files pad shapes with
  /// leading ones. `what` is the blob in messages. Throws Error(kModel), not naming the layer.
  Tensor take(const std::string& layer, int index, const std::string& what, const Shape& expected);

 private:
  std::map<std::string, google::protobuf::RepeatedPtrField<caffe::Blob>> layers_;
};

}  // namespace camlucida
