#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/import/caffe.h"
#include "engine/import/caffe_layers.h"
#include "engine/import/caffe_schema.h"
#include "engine/import/caffe_weights.h"
#include "engine/import/onnx_operators.h"

namespace camlucida {

/// The layers of a network that run in phase TEST, those of the old form turned into the newer.
/// Throws Error(kUnsupported) for the form before that.
std::vector<caffe::Layer> caffe_test_layers(const caffe::Network& network);

/// Reads the mean picture that a network names, if it lies in `folder`: its extents [C, H, W] and
/// the mean of each channel. False if there is none. Throws Error(kModel) if it is damaged.
bool read_caffe_mean(const std::filesystem::path& folder, const std::string& mean_file,
                     Shape& extents, std::vector<double>& mean);

/// Builds a Graph from a parsed network. Used once; blobs move out of `weights` into the graph.
class CaffeGraphImporter {
 public:
  CaffeGraphImporter(const caffe::Network& network, CaffeWeights weights,
                     std::filesystem::path folder, std::string file, const Registry& registry);
  /// Throws as caffe.h says; messages of kModel errors do not name the file.
  CaffeModel run();

 private:
  class Layer;

  void note_readers();
  void add_network_inputs();
  void add_input(const std::string& blob, std::vector<int64_t> dims);
  void add_data_layer(const caffe::Layer& layer);
  std::vector<int64_t> data_extents(const caffe::Layer& layer);
  int64_t channels_of(const std::string& blob) const;
  void check_weights() const;
  void add_layer(size_t index);
  void add_outputs();

  /// Whether the layer depends on labels or only compares, so that it has no place in the network.
  bool is_left_out(const caffe::Layer& layer) const;
  ValueId read(const std::string& blob) const;
  /// The value that layer `index` leaves in top `i`.
  ValueId declare_top(size_t index, int i);
  std::string unique_name(const std::string& name);
  ValueId add_node(const caffe::Layer& layer, const std::string& operation,
                   const std::vector<ValueId>& inputs, const CaffeLayer::Attributes& attributes,
                   const std::vector<ValueId>& outputs);
  void infer(const Node& node);

  const caffe::Network& network_;
  CaffeWeights weights_;
  std::filesystem::path folder_;
  std::string file_;
  const Registry& registry_;

  std::vector<caffe::Layer> layers_;  // of phase TEST
  GraphBuilder builder_;
  CaffeTransform transform_;
  Unsupported unsupported_;
  std::unordered_map<std::string, ValueId> values_;     // what a blob holds so far
  std::unordered_map<std::string, size_t> last_write_;  // blob -> layer that writes it last
  std::unordered_map<std::string, size_t> last_read_;   // blob -> layer that reads it last
  std::set<std::string> labels_;                        // blobs that depend on labels
  std::vector<std::pair<std::string, ValueId>> aliases_;
  std::unordered_map<std::string, size_t> written_;  // blob -> 1 + layer that wrote it last
  std::set<std::string> read_;                       // blobs read since they were written
  std::vector<std::string> produced_;                // blobs of layers, in order
  std::unordered_map<std::string, int64_t> taken_;   // names in use -> next suffix to try
  /// Shapes for inputs of customary size: what a translation knows of ranks.
  std::unordered_map<ValueId, TensorDesc> customary_;
};

}  // namespace camlucida
