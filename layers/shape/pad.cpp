#include <numeric>

#include "layers/shape/examples.h"
#include "layers/shape/rearrange.h"

/// Pad: inputs data, pads (all begins, then all ends), [value], [axes]. Negative pads crop.
namespace camlucida {
namespace {

using shape::constant_ints;
using shape::Operands;
using shape::Rearrangement;

struct PadAttributes {
  std::string mode = "constant";  ///< constant, reflect, edge or wrap
  void fields(auto& visit) { visit("mode", mode); }
};

Rearrangement::Beyond beyond_of(const std::string& mode) {
  if (mode == "reflect") return Rearrangement::Beyond::kReflect;
  if (mode == "edge") return Rearrangement::Beyond::kEdge;
  if (mode == "wrap") return Rearrangement::Beyond::kWrap;
  return Rearrangement::Beyond::kFill;
}

std::vector<Rearrangement> arrange_pad(const Operands& node) {
  const Shape& x = node.shape(0);
  const std::vector<int64_t> pads = node.ints(1, "the padding");
  std::vector<int64_t> axes(static_cast<size_t>(x.rank()));
  std::iota(axes.begin(), axes.end(), 0);
  axes = node.ints_or(3, "the axes to pad", std::move(axes));
  if (pads.size() != 2 * axes.size()) {
    throw Error(ErrorKind::kModel,
                std::to_string(pads.size()) + " pads for " + std::to_string(axes.size()) + " axes");
  }
  constexpr int64_t kMost = int64_t{1} << 40;  // keeps the sums below from overflowing
  Rearrangement map = Rearrangement::identity(x);
  for (size_t i = 0; i < axes.size(); ++i) {
    Rearrangement::Axis& axis = map.axes[static_cast<size_t>(normalise_axis(axes[i], x.rank()))];
    const int64_t begin = pads[i];
    const int64_t end = pads[i + axes.size()];
    if (begin < -kMost || begin > kMost || end < -kMost || end > kMost ||
        axis.count + begin + end < 0) {
      throw Error(ErrorKind::kModel, "cannot pad extent " + std::to_string(axis.count) + " by " +
                                         std::to_string(begin) + " and " + std::to_string(end));
    }
    axis.start = -begin;
    axis.count += begin + end;
    axis.beyond = beyond_of(node.attributes().as<PadAttributes>().mode);
  }
  map.shape_result();
  const bool fills = node.attributes().as<PadAttributes>().mode == "constant";
  if (fills && node.has(2)) {
    const std::vector<double> value = node.doubles(2, "the padding value");
    if (!value.empty()) map.fill = value[0];
  }
  return {map};
}

PadAttributes read_mode(const NodeSource& node) {
  const std::string mode = node.text("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") {
    throw node.unsupported("padding mode " + mode, "constant, reflect, edge or wrap");
  }
  return PadAttributes{mode};
}

/// Up to opset 10 pads and value are attributes; `key` is what the pads are called.
auto read_with_attributes(const char* key) {
  return [key](const NodeSource& node) {
    Reading reading{read_mode(node)};
    reading.inputs = {InputRef(0), InputRef(Tensor::from_ints(node.integers(key))),
                      InputRef(Tensor::scalar(static_cast<float>(node.number("value", 0.0))))};
    return reading;
  };
}

Example example(std::string name, std::string mode, Shape x, std::vector<double> pads,
                std::optional<double> value = std::nullopt, std::vector<double> axes = {}) {
  Example result{std::move(name),
                 PadAttributes{std::move(mode)},
                 {{std::move(x)}, constant_ints(std::move(pads))}};
  ExampleInput fill{.shape = {}, .constant = true, .values = {value.value_or(0.0)}};
  fill.absent = !value;
  if (value || !axes.empty()) result.inputs.push_back(fill);
  if (!axes.empty()) result.inputs.push_back(constant_ints(std::move(axes)));
  return result;
}

}  // namespace

void register_pad(Registry& registry) {
  LayerDef layer;
  layer.name = "Pad";
  layer.prototype = PadAttributes{};
  layer.is_identity = [](const InferContext& context) {
    if (context.constant(1) == nullptr) return false;
    for (int64_t pad : context.constant(1)->to_ints()) {
      if (pad != 0) return false;
    }
    return true;
  };
  layer.onnx = {
      {"Pad", 1, 1, read_with_attributes("paddings")},
      {"Pad", 2, 10, read_with_attributes("pads")},
      {.name = "Pad",
       .first_opset = 11,
       .read = [](const NodeSource& node) { return Reading{read_mode(node)}; }},
  };
  layer.examples = {
      example("image", "constant", {2, 3, 5, 7}, {0, 0, 1, 2, 0, 0, 3, 4}),
      example("value", "constant", {2, 3, 4, 4}, {0, 0, 1, 1, 0, 0, 1, 1}, 2.5),
      example("same_lower", "constant", {1, 16, 7, 7}, {0, 0, 1, 1, 0, 0, 0, 0}, 0.0),
      example("reflect", "reflect", {2, 5, 6, 5}, {0, 0, 2, 1, 0, 0, 1, 3}),
      example("edge", "edge", {2, 3, 4, 5}, {0, 0, 2, 1, 0, 0, 1, 3}),
      example("wrap", "wrap", {2, 3, 4, 5}, {0, 0, 2, 1, 0, 0, 1, 3}),
      example("crop", "constant", {2, 3, 6, 7}, {0, 0, -1, 2, 0, 0, -2, -3}),
      example("channels", "constant", {2, 16, 3, 3}, {0, 8, 0, 0, 0, 8, 0, 0}),
      example("odd_channels", "constant", {2, 5, 3, 3}, {0, 2, 0, 0, 0, 4, 0, 0}),
      example("axes", "constant", {2, 3, 4, 5}, {1, 2, 0, 1}, std::nullopt, {2, -1}),
      example("reflect_one_side", "reflect", {1, 8, 5, 4}, {0, 0, 0, 3, 0, 0, 4, 0}),
  };
  shape::add_rearranging_layer(registry, std::move(layer), arrange_pad);
}

}  // namespace camlucida
