#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "engine/graph.h"
#include "engine/image/preprocess.h"

/// The door between the engine and the readers of other programs' files. In a build with
/// CAMLUCIDA_IMPORT=OFF, which has none of them, no_import.cpp stands behind it and refuses in one
/// line; such a build needs neither protobuf nor a JSON library.
namespace camlucida {

/// What stands in the files of a model besides the manifest.
struct ImportedModel {
  Graph graph;
  std::filesystem::path weights;  ///< file of the weights if they lie apart from the network
  /// The recipe that the files state for a picture input of that shape; empty if they state none.
  std::function<Preprocessing(const Shape& input)> recipe = {};
  std::string recipe_source = {};  ///< see Model::preprocessing_source
  /// Mean file that the network names but that is not beside it; else empty.
  std::string missing_mean_file = {};
};

/// Reads a model that is not a .clm: ONNX, or a Caffe network (.prototxt), whose weights are
/// `weights` or, if empty, those beside it. Throws Error as import_onnx and import_caffe do,
/// Error(kUsage) for weights in the place of the network or beside a model that has them inside;
/// without import always Error(kUnsupported).
ImportedModel import_model(const std::filesystem::path& path,
                           const std::filesystem::path& weights = {});

}  // namespace camlucida
