#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph.h"
#include "engine/image/preprocess.h"
#include "engine/registry.h"

/// Reads Caffe models (https://caffe.berkeleyvision.org): a network in text form (.prototxt) and
/// its weights (.caffemodel).
///
/// What the graph holds afterwards:
/// - The network of phase TEST: layers whose include and exclude rules say so. Layers that compare
///   with labels (SoftmaxWithLoss, Accuracy, whatever reads the second top of a data layer) are
///   left out; what they read of the network becomes an output. Outputs are the blobs that no layer
///   reads, the last one first.
/// - Inputs are those of `input` and Input layers, and the first top of data layers. Their first
///   extent, the batch, is free; so are extents of data layers that the network does not say.
/// - Values are named after blobs. Where layers work in place the blob's name stands for its last
///   value, as in pycaffe's net.blobs; what a layer before that leaves in it has the name of the
///   layer or, if a blob is called so, "blob@layer". Layer names are aliases of what they compute.
/// - Every layer becomes operators of ONNX (engine/import/caffe_layers.h), so that passes, kernels
///   and explanations are the same as for ONNX models.
///
/// Errors are one line and name the file. Error(kModel): unreadable, malformed (with its line),
/// truncated, weights missing or of another shape than the network says. Error(kUnsupported): all
/// layers this build cannot run. Error(kResource): out of memory. All functions are thread-safe.
namespace camlucida {

/// What a network says about how its pictures are made, in Caffe's terms: (byte - mean) * scale.
struct CaffeTransform {
  bool stated = false;  ///< there is a transform_param (or a size of ImageData) in phase TEST
  double scale = 1;
  std::vector<double> mean = {};  ///< one value, or one per channel in the network's order (BGR)
  std::string mean_file = {};     ///< named by the network, but not beside it
  int crop = 0;                   ///< side of the centre crop, 0 = none
  int resize_height = 0;          ///< 0 = not said
  int resize_width = 0;
};

struct CaffeModel {
  Graph graph;
  CaffeTransform transform;  ///< of the first input
};

/// `weights` empty: find_caffe_weights(network).
CaffeModel import_caffe(const std::filesystem::path& network, std::filesystem::path weights = {},
                        const Registry& registry = Registry::instance());
/// From memory. `name` stands for the files in messages; mean files are looked up in `folder`.
CaffeModel import_caffe(std::string_view network, std::span<const std::byte> weights,
                        const std::filesystem::path& folder, const std::string& name = "model",
                        const Registry& registry = Registry::instance());

/// The weights that belong to a network when nobody says: the .caffemodel of the same name, else
/// the only one in the folder. Throws Error(kModel) if there is none or more than one.
std::filesystem::path find_caffe_weights(const std::filesystem::path& network);

/// Recipe for a picture input [1, C, height, width]. What the network leaves open is filled with
/// the customs of Caffe's reference models: bytes in BGR order; inputs of 200 to 256 pixels cut out
/// of the middle of a picture scaled to 256 x 256, others scaled to; ImageNet's mean (104, 117,
/// 123) if there is no transform_param or its mean file is missing, else 0.
Preprocessing caffe_preprocessing(const CaffeTransform& transform, const Shape& input);

}  // namespace camlucida
