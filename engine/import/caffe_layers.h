#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/graph.h"
#include "engine/import/caffe_schema.h"

/// What each type of Caffe layer is in operators of ONNX.
///
/// The layers of the engine know how to read ONNX operators of every version; a Caffe layer is
/// written down as one or a few of them, with its blobs as constants.
namespace camlucida {

/// The operator set that translations are written in.
constexpr int kCaffeOpset = 18;

/// One layer on its way into the graph. Errors are of kUnsupported or kModel and do not name the
/// layer yet.
class CaffeLayer {
 public:
  using Attributes = std::map<std::string, NodeSource::Value>;

  virtual ~CaffeLayer() = default;

  virtual const caffe::Layer& definition() const = 0;
  int bottoms() const { return definition().bottom_size(); }
  int tops() const { return definition().top_size(); }
  /// The value that bottom `i` holds when the layer runs.
  virtual ValueId bottom(int i) const = 0;
  /// Whether a later layer reads top `i`.
  virtual bool is_read(int i) const = 0;
  /// Number of axes of a value. Throws Error(kUnsupported) if it cannot be told without knowing the
  /// extents of the input.
  virtual int rank(ValueId value) const = 0;

  virtual int blobs() const = 0;
  /// Trained blob `i` as a constant; see CaffeWeights::take.
  virtual Tensor blob(int i, const std::string& what, const Shape& expected) = 0;

  virtual ValueId constant(const std::string& what, Tensor tensor) = 0;
  /// A node in the middle of the translation; returns its output.
  virtual ValueId step(const std::string& operation, const std::vector<ValueId>& inputs,
                       const Attributes& attributes = {}) = 0;
  /// The last node: its outputs are the layer's first `outputs` tops.
  virtual void finish(const std::string& operation, const std::vector<ValueId>& inputs,
                      const Attributes& attributes = {}, int outputs = 1) = 0;
  /// Top `i` is the output of this node, for layers that compute each top by itself.
  virtual void finish_top(int i, const std::string& operation, const std::vector<ValueId>& inputs,
                          const Attributes& attributes = {}) = 0;
};

struct CaffeOperator {
  const char* type;
  int min_bottoms;
  int max_bottoms;
  void (*translate)(CaffeLayer& layer);
  /// Needs blobs of the weights file if it has one bottom only.
  bool trained = false;
};

/// Null if this build has no translation of the type.
const CaffeOperator* find_caffe_operator(const std::string& type);

/// The type of a layer written before types were strings ("INNER_PRODUCT" -> "InnerProduct").
std::string caffe_type_of(caffe::LayerV1::Type type);

/// Error(kUnsupported) and Error(kModel), for translations to throw.
Error caffe_unsupported(const std::string& what, const std::string& nearest);
Error caffe_malformed(const std::string& what);

/// The tables, by family.
std::vector<CaffeOperator> caffe_weighted_operators();  ///< caffe_layers_weighted.cpp
std::vector<CaffeOperator> caffe_pool_operators();      ///< caffe_layers_pool.cpp
std::vector<CaffeOperator> caffe_math_operators();      ///< caffe_layers_math.cpp
std::vector<CaffeOperator> caffe_shape_operators();     ///< caffe_layers_shape.cpp

}  // namespace camlucida
