#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/graph.h"

/// Graph → Graph functions that bring an imported model into the form a Plan is made from.
/// None of them changes what a kept value holds, up to rounding.
namespace camlucida {

/// Lets the values of a quantised network hold the numbers that their codes stand for, as float32,
/// where that changes nothing but their representation: every producer and reader of the value
/// knows its codes (LayerDef::codes) by one and the same constant scale and zero point, or picks
/// elements. The layers compute on the same integers as before. Inputs and outputs of the graph
/// keep their type, and so do codes that anything else reads.
Graph codes_to_numbers(const Graph& graph);

/// Fixes the shapes of all values from those of the inputs (by name; missing = as declared, an
/// unknown first extent = 1), and turns into constants what follows from constants and shapes
/// alone, so that shape arithmetic disappears.
/// Throws Error: kModel where shapes do not fit, kUsage for an unknown input name or a missing
/// extent, kUnsupported where a shape depends on the picture's data.
Graph bind_shapes(const Graph& graph, const std::map<std::string, Shape>& input_shapes);

/// The part of `graph` that `outputs` depend on, cut at `inputs`: those become the graph's inputs,
/// whatever produced them is dropped. Ids are of `graph`, which must be bound if inputs are inner
/// values.
Graph extract(const Graph& graph, const std::vector<ValueId>& inputs,
              const std::vector<ValueId>& outputs);

/// Drops nodes that pass their input on and folds per-channel affine maps (batch norm) into the
/// convolution or linear node before them. Values in `keep` survive as values of their own.
Graph simplify(const Graph& graph, const std::set<std::string>& keep);

/// Attaches residual sums and activations to the node before them, so that its kernel applies them
/// while the output is still in registers. Never across a value in `keep`. `in_cut` tells of a
/// value whether gradients will flow through it: there only activations whose derivative follows
/// from their output are attached.
Graph fuse(const Graph& graph, const std::set<std::string>& keep,
           const std::function<bool(ValueId)>& in_cut);

/// Values on some path from one of `from` to `to`, both ends included.
std::vector<bool> values_between(const Graph& graph, const std::vector<ValueId>& from, ValueId to);

}  // namespace camlucida
