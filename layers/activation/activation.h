#pragma once

#include <array>
#include <limits>

#include "engine/layer.h"

/// What a row of the activation table (table-inl.h) says about its function besides the function.
namespace camlucida::activation {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A number the function depends on: a float attribute of the node, or a constant scalar input.
struct Parameter {
  const char* name = nullptr;
  double fallback = 0;          ///< when the model leaves it out
  double other = 0;             ///< a second value for the examples
  double minimum = -kInfinity;  ///< smaller values are refused
  int input = 0;                ///< > 0: comes from this input instead of an attribute
};

struct Row {
  const char* name;              ///< of the layer
  const char* operation = name;  ///< of the ONNX operator
  int first_opset = 1;
  std::array<Parameter, 2> parameters = {};
  /// The derivative is a function of the output (and the output is saved), not of the input.
  bool slope_from_output = false;
  /// f(x) is finite for every finite x of ordinary size. Others cannot run where unused lanes hold
  /// any number, nor behind a kernel.
  bool finite = true;
  /// Passes or blocks: the guided and deconvolution rules apply.
  bool rectifier = false;
  double low = -4;  ///< range of the examples, free of poles
  double high = 4;
  /// Reader of the operator where it is not just its float attributes.
  Reading (*read)(const NodeSource&) = nullptr;
};

Reading read_clip(const NodeSource& source);
Reading read_gelu(const NodeSource& source);

}  // namespace camlucida::activation
