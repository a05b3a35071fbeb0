#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/graph.h"
#include "engine/import/onnx_schema.h"

namespace camlucida {

/// Derives the names people know a network's parts by from what exporters leave in a file:
/// - torch.onnx.export, TorchScript: node "/layer4/layer4.2/conv3/Conv" gives "layer4",
///   "layer4.2" and "layer4.2.conv3";
/// - torch.onnx.export, dynamo: the same from the metadata property pkg.torch.onnx.name_scopes;
/// - TensorFlow and Keras: node "vgg16/block5_conv3/Relu" gives "vgg16", "vgg16/block5_conv3" and,
///   where only one module ends that way, "block5_conv3".
/// Every name stands for the last value produced under it. Node names stand for their first output.
class ModuleNames {
 public:
  /// `name` is the node's name with the prefix of the inlined body it stands in. Call in
  /// topological order, for nodes that compute from the picture.
  void add(const schema::NodeProto& node, const std::string& name, ValueId output);
  /// A name of a value that is now another value.
  void add_exact(const std::string& name, ValueId value);
  /// Adds all names as aliases; exact ones win over node names, those over module names.
  void apply(GraphBuilder& builder) const;

 private:
  std::map<std::string, ValueId> exact_;
  std::map<std::string, ValueId> nodes_;
  std::map<std::string, ValueId> modules_;
  std::map<std::string, std::string> path_of_leaf_;  // "" if several paths end in the leaf
};

/// Paths of the modules around a node, outermost first, from its name.
std::vector<std::string> modules_from_node_name(const std::string& name);
/// The same from the value of pkg.torch.onnx.name_scopes, "['', 'layer4', 'layer4.2', 'conv2d']".
std::vector<std::string> modules_from_scopes(const std::string& scopes);

}  // namespace camlucida
