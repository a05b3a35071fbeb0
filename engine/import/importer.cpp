#include "engine/import/importer.h"

#include "engine/import/caffe.h"
#include "engine/import/onnx.h"

namespace camlucida {
namespace {

ImportedModel import_caffe_model(const std::filesystem::path& path,
                                 const std::filesystem::path& weights) {
  ImportedModel model;
  model.weights = weights.empty() ? find_caffe_weights(path) : weights;
  CaffeModel caffe = import_caffe(path, model.weights);
  model.graph = std::move(caffe.graph);
  model.recipe_source = caffe.transform.stated ? "prototxt" : "Caffe";
  model.missing_mean_file = caffe.transform.mean_file;
  model.recipe = [transform = std::move(caffe.transform)](const Shape& input) {
    return caffe_preprocessing(transform, input);
  };
  return model;
}

}  // namespace

ImportedModel import_model(const std::filesystem::path& path,
                           const std::filesystem::path& weights) {
  const std::string extension = path.extension().string();
  if (extension == ".caffemodel") {
    throw Error(ErrorKind::kUsage, path.string() + ": these are the weights of a Caffe model",
                "give the network's .prototxt as model and this file as --weights");
  }
  if (extension == ".prototxt") return import_caffe_model(path, weights);
  if (!weights.empty()) {
    throw Error(ErrorKind::kUsage,
                path.string() + ": --weights belongs to a Caffe network, a .prototxt file",
                "leave it out, or give the .prototxt as model");
  }
  return {import_onnx(path), {}};
}

}  // namespace camlucida
