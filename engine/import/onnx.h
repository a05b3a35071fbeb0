#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "engine/graph.h"
#include "engine/registry.h"

/// Reads ONNX models (https://onnx.ai, IR versions 1 and up, operator sets up to 24).
///
/// What the graph holds afterwards:
/// - Weights are constants, wherever the file keeps them: initializers (also those listed as graph
///   inputs), `Constant` nodes, external data files. Their memory is taken over from the parsed
///   message or mapped, not copied; external files must stay unchanged as long as a tensor lives.
/// - `Identity` of a constant is that constant. Model-local functions are inlined.
/// - `If` is replaced by the branch it takes. The condition must follow from constants, or from
///   extents that do not depend on free extents of the graph's inputs.
/// - Operators are read by the layer whose operator-set range covers the model's version, so that
///   all versions arrive in one canonical form. Outputs nobody reads are left out.
/// - Free extents of inputs (symbolic, zero or negative) are Shape::kUnknown until shapes are
/// bound.
/// - Values keep their names. Node names and module-like names ("layer4.2.conv3", and "layer4" for
///   the last value of that module), which exporters leave in node names or metadata, are aliases.
///
/// Errors are one line and name the file. Error(kModel): unreadable, truncated, inconsistent,
/// cyclic, weights missing or of the wrong size. Error(kUnsupported): all operators and forms this
/// build cannot run, each with node, operator, operator set and the nearest supported form,
/// separated by "; ". Error(kResource): out of memory. All functions are thread-safe.
namespace camlucida {

/// What a model file says about itself.
struct OnnxInfo {
  int64_t ir_version = 0;
  std::map<std::string, int64_t> opsets;  ///< domain -> version; "" is ai.onnx
  std::string producer;                   ///< name and version of the exporter
  std::string graph_name;
  std::string doc;
  std::map<std::string, std::string> metadata;
  /// How often each operator occurs, sub-graphs and bodies of functions included. Operators of
  /// other domains than ai.onnx read "domain.Operator".
  std::map<std::string, int64_t> operators;
};

/// `info`, if given, is filled as soon as the file is parsed, also when the import then fails.
Graph import_onnx(const std::filesystem::path& file, OnnxInfo* info = nullptr,
                  const Registry& registry = Registry::instance());
/// From memory. `name` stands for the file in messages; external data is looked up in `folder`.
Graph import_onnx(std::span<const std::byte> model, const std::filesystem::path& folder,
                  const std::string& name = "model", OnnxInfo* info = nullptr,
                  const Registry& registry = Registry::instance());

/// Only parses: works for models whose operators are not supported, too.
OnnxInfo read_onnx_info(const std::filesystem::path& file);

/// A serialised TensorProto, as the `.pb` files of ONNX test data hold it. No external data.
Tensor tensor_from_onnx(std::span<const std::byte> tensor_proto);

}  // namespace camlucida
