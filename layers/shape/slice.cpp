#include <algorithm>
#include <set>

#include "layers/shape/examples.h"
#include "layers/shape/rearrange.h"

/// Cutting along axes: Slice and Split.
namespace camlucida {
namespace {

using shape::constant_ints;
using shape::Operands;
using shape::Rearrangement;

/// Inputs: data, starts, ends, [axes], [steps], with numpy's meaning of negative numbers.
std::vector<Rearrangement> arrange_slice(const Operands& node) {
  const Shape& x = node.shape(0);
  const std::vector<int64_t> starts = node.ints(1, "the start of a slice");
  const std::vector<int64_t> ends = node.ints(2, "the end of a slice");
  std::vector<int64_t> all(starts.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  const std::vector<int64_t> axes = node.ints_or(3, "the axes of a slice", all);
  const std::vector<int64_t> steps =
      node.ints_or(4, "the step of a slice", std::vector<int64_t>(starts.size(), 1));
  if (ends.size() != starts.size() || axes.size() != starts.size() ||
      steps.size() != starts.size()) {
    throw Error(ErrorKind::kModel, "starts, ends, axes and steps differ in length");
  }
  Rearrangement map = Rearrangement::identity(x);
  std::set<int> seen;
  for (size_t i = 0; i < starts.size(); ++i) {
    const int axis = normalise_axis(axes[i], x.rank());
    if (!seen.insert(axis).second) throw Error(ErrorKind::kModel, "an axis is sliced twice");
    const int64_t extent = x[axis];
    // A longer step than the axis takes the same single element as a step of its extent.
    const int64_t longest = std::max<int64_t>(extent, 1);
    const int64_t step = std::clamp(steps[i], -longest, longest);
    if (step == 0) throw Error(ErrorKind::kModel, "the step of a slice is 0");
    // A backward slice runs from at most the last element to before the first (-1).
    const int64_t low = step > 0 ? 0 : -1;
    const int64_t high = step > 0 ? extent : extent - 1;
    const int64_t start = std::clamp(starts[i] < 0 ? starts[i] + extent : starts[i], low, high);
    const int64_t end = std::clamp(ends[i] < 0 ? ends[i] + extent : ends[i], low, high);
    const int64_t distance = step > 0 ? end - start : start - end;
    Rearrangement::Axis& cut = map.axes[static_cast<size_t>(axis)];
    cut.count = distance <= 0 ? 0 : (distance - 1) / std::abs(step) + 1;
    cut.start = start;
    cut.step = step;
  }
  map.shape_result();
  return {map};
}

struct SplitAttributes {
  int64_t axis = 0;
  void fields(auto& visit) { visit("axis", axis); }
};

/// Inputs: data, [extents]. Without extents the parts are equal, the last one smaller if need be.
std::vector<Rearrangement> arrange_split(const Operands& node) {
  const Shape& x = node.shape(0);
  const int axis = normalise_axis(node.attributes().as<SplitAttributes>().axis, x.rank());
  const int64_t parts = node.output_count();
  std::vector<int64_t> extents;
  if (node.has(1)) {
    extents = node.ints(1, "the extents of a split");
  } else {
    const int64_t part = (x[axis] + parts - 1) / parts;
    for (int64_t i = 0; i < parts; ++i) {
      extents.push_back(std::clamp<int64_t>(x[axis] - i * part, 0, part));
    }
  }
  if (static_cast<int64_t>(extents.size()) < parts) {
    throw Error(ErrorKind::kModel, std::to_string(extents.size()) + " extents for " +
                                       std::to_string(parts) + " outputs");
  }
  std::vector<Rearrangement> maps;
  int64_t start = 0;
  for (int64_t extent : extents) {
    if (extent < 0 || extent > x[axis] - start) start = x[axis] + 1;
    if (start > x[axis]) break;
    Rearrangement map = Rearrangement::identity(x);
    map.axes[static_cast<size_t>(axis)].start = start;
    map.axes[static_cast<size_t>(axis)].count = extent;
    map.shape_result();
    maps.push_back(std::move(map));
    start += extent;
  }
  if (start != x[axis]) {
    throw Error(ErrorKind::kModel,
                "the parts of a split do not add up to extent " + std::to_string(x[axis]));
  }
  maps.resize(static_cast<size_t>(parts));
  return maps;
}

struct SliceCase {
  std::vector<double> starts, ends, axes, steps;
};

Example slice_example(std::string name, Shape x, SliceCase slice, bool batched = true) {
  Example result{std::move(name),
                 Attributes{},
                 {{std::move(x)}, constant_ints(slice.starts), constant_ints(slice.ends)}};
  if (!slice.axes.empty()) result.inputs.push_back(constant_ints(slice.axes));
  if (!slice.steps.empty()) result.inputs.push_back(constant_ints(slice.steps));
  result.batched = batched;
  return result;
}

LayerDef slice() {
  constexpr double kToTheEnd = 9.2e18;
  LayerDef layer;
  layer.name = "Slice";
  layer.picks = true;
  layer.is_identity = [](const InferContext& context) {
    for (int i = 1; i < context.input_count(); ++i) {
      if (context.has(i) && context.constant(i) == nullptr) return false;
    }
    const Rearrangement map = arrange_slice(Operands(context))[0];
    for (const Rearrangement::Axis& axis : map.axes) {
      if (axis.step < 0 && axis.count > 1) return false;
    }
    return map.result == context.shape(0);
  };
  layer.onnx = {
      {.name = "Slice",
       .first_opset = 1,
       .last_opset = 9,
       .read =
           [](const NodeSource& node) {
             Reading reading;
             reading.inputs = {InputRef(0), InputRef(Tensor::from_ints(node.integers("starts"))),
                               InputRef(Tensor::from_ints(node.integers("ends")))};
             if (node.has("axes")) {
               reading.inputs->push_back(Tensor::from_ints(node.integers("axes")));
             }
             return reading;
           }},
      {.name = "Slice", .first_opset = 10},
  };
  layer.examples = {
      slice_example("crop", {2, 3, 7, 9}, {{1, 2}, {6, 7}, {2, 3}}),
      slice_example("channels", {2, 32, 3, 5}, {{16}, {32}, {1}}),
      slice_example("odd_channels", {2, 29, 3, 5}, {{3}, {23}, {1}}),
      slice_example("every_other", {1, 3, 8, 9}, {{0, 1}, {kToTheEnd, kToTheEnd}, {2, 3}, {2, 2}}),
      slice_example("reversed", {2, 3, 5}, {{-1}, {-kToTheEnd}, {2}, {-1}}),
      slice_example("negative", {2, 3, 8}, {{-6}, {-1}, {-1}, {2}}),
      slice_example("backward_steps", {2, 3, 11}, {{9}, {1}, {2}, {-3}}),
      slice_example("out_of_bounds", {2, 3, 5}, {{-100, 2}, {100, 1000}, {1, 2}}),
      slice_example("default_axes", {4, 5}, {{1, 0}, {3, 4}}, false),
      slice_example("unchanged", {2, 3}, {{0}, {kToTheEnd}, {1}}),
  };
  return layer;
}

Example split_example(std::string name, Shape x, int64_t axis, int parts,
                      std::vector<double> extents = {}) {
  Example result{std::move(name), SplitAttributes{axis}, {{std::move(x)}}, parts};
  if (!extents.empty()) result.inputs.push_back(constant_ints(std::move(extents)));
  result.batched = axis != 0;
  return result;
}

Reading read_split(const NodeSource& node) {
  if (node.opset >= 18 && node.has("num_outputs") &&
      node.integer("num_outputs", 0) != node.output_count) {
    throw node.unsupported("num_outputs that differs from the number of outputs",
                           "as many outputs as num_outputs");
  }
  return Reading{SplitAttributes{node.integer("axis", 0)}};
}

LayerDef split() {
  LayerDef layer;
  layer.name = "Split";
  layer.picks = true;
  layer.prototype = SplitAttributes{};
  layer.onnx = {
      {.name = "Split",
       .first_opset = 1,
       .last_opset = 12,
       .read =
           [](const NodeSource& node) {
             Reading reading = read_split(node);
             if (node.has("split")) {
               reading.inputs = {InputRef(0), InputRef(Tensor::from_ints(node.integers("split")))};
             }
             return reading;
           }},
      {.name = "Split", .first_opset = 13, .read = read_split},
  };
  layer.examples = {
      split_example("halves", {2, 32, 3, 5}, 1, 2),
      split_example("odd_halves", {2, 58, 3, 3}, 1, 2),
      split_example("extents", {2, 21, 2, 3}, 1, 3, {4, 10, 7}),
      split_example("blocks", {1, 64, 3, 3}, 1, 3, {16, 32, 16}),
      split_example("smaller_last", {2, 7}, 1, 3),
      split_example("last_axis", {2, 3, 8}, -1, 4),
      split_example("rows", {5, 3}, 0, 2, {2, 3}),
  };
  return layer;
}

}  // namespace

void register_slice(Registry& registry) {
  shape::add_rearranging_layer(registry, slice(), arrange_slice);
  shape::add_rearranging_layer(registry, split(), arrange_split);
}

}  // namespace camlucida
