#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/import/caffe.h"
#include "engine/import/caffe_schema.h"
#include "engine/session.h"

/// Caffe networks made as text with weights in memory.
namespace camlucida::test {

/// A network under construction.
struct Net {
  std::string text;
  caffe::TrainedNetwork trained;

  Net& add(const std::string& more) {
    text += more + "\n";
    return *this;
  }
  Net& input(const std::string& name, const std::vector<int64_t>& dims) {
    std::string shape;
    for (const int64_t extent : dims) shape += " dim: " + std::to_string(extent);
    return add("layer { name: '" + name + "' type: 'Input' top: '" + name +
               "' input_param { shape {" + shape + " } } }");
  }
  /// A blob of `layer`; the next one of the same layer comes behind it.
  Net& blob(const std::string& layer, const std::vector<int64_t>& dims,
            const std::vector<float>& values) {
    caffe::TrainedLayer* owner = nullptr;
    for (auto& candidate : *trained.mutable_layer()) {
      if (candidate.name() == layer) owner = &candidate;
    }
    if (owner == nullptr) {
      owner = trained.add_layer();
      owner->set_name(layer);
    }
    caffe::Blob& blob = *owner->add_blobs();
    for (const int64_t extent : dims) blob.mutable_shape()->add_dim(extent);
    blob.mutable_data()->Add(values.begin(), values.end());
    return *this;
  }
  std::string weights() const { return trained.SerializeAsString(); }
};

inline CaffeModel import_text(const std::string& text, const std::string& weights,
                              const std::filesystem::path& folder = {}) {
  return import_caffe(text, std::as_bytes(std::span<const char>(weights)), folder, "net");
}
inline CaffeModel import_net(const Net& net) { return import_text(net.text, net.weights()); }

/// Output `index` of the network for a first input of that shape.
inline Tensor run(const Graph& graph, const Shape& shape, const std::vector<float>& values,
                  size_t index = 0, const std::map<std::string, Tensor>& others = {}) {
  const std::string input = graph.value(graph.inputs()[0]).name;
  std::map<std::string, Shape> shapes = {{input, shape}};
  std::map<std::string, Tensor> inputs = {{input, Tensor::from_floats(shape, values)}};
  for (const auto& [name, tensor] : others) {
    shapes[name] = tensor.shape();
    inputs[name] = tensor;
  }
  Session session(Plan::compile(graph, shapes));
  session.forward(inputs);
  return session.output(graph.value(graph.outputs()[index]).name).clone();
}

inline std::vector<float> floats(const Tensor& tensor) {
  return {tensor.floats(), tensor.floats() + tensor.count()};
}

}  // namespace camlucida::test
