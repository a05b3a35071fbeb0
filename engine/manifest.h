#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/image/preprocess.h"
#include "engine/tensor.h"

namespace camlucida {

/// What a manifest.json says about the model beside it: how its inputs are made, what its outputs
/// mean and where its inner values go by another name. Every key is optional, so that a file with
/// nothing but "preprocessing" is a manifest too; keys not named here are ignored.
struct Manifest {
  struct Input {
    std::string name;
    Shape shape;          ///< free dimensions (strings in the file) are Shape::kUnknown
    Shape example_shape;  ///< all known; rank 0 if absent
  };
  struct Output {
    std::string name;
    Shape shape;
    std::string kind;  ///< "logits", "embedding", "feature_map", "detections"
  };
  struct TargetLayer {
    std::string module;  ///< name in the reference model, may be empty
    std::string value;   ///< value of the model file
  };
  struct Head {
    std::string type;    ///< "gap_fc", "conv_gap" or "none"
    std::string weight;  ///< initializers of the class weights, empty if unknown
    std::string bias;
  };

  std::filesystem::path path;  ///< the file itself
  std::string name;
  std::optional<Input> input;
  std::optional<Preprocessing> preprocessing;
  std::vector<Output> outputs;
  /// Label file. A relative path counts from the manifest's folder, else from the folder above it,
  /// whichever has the file.
  std::optional<std::filesystem::path> labels;
  std::optional<TargetLayer> target_layer;
  Head head = {"none", "", ""};
  std::map<std::string, std::string> taps;  ///< module name -> value of the model file

  /// Throws Error(kInput) naming the file and the key that is missing, of the wrong type or out of
  /// range; also if the label file does not exist. Error(kUnsupported) in a build without import.
  static Manifest load(const std::filesystem::path& path);
  /// The same from text; `path` is used for messages and to find the labels.
  static Manifest parse(const std::string& text, const std::filesystem::path& path);
};

}  // namespace camlucida
