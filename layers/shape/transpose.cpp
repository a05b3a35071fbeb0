#include <algorithm>
#include <numeric>
#include <set>

#include "layers/shape/rearrange.h"

/// Permutations of the elements: Transpose, DepthToSpace, SpaceToDepth.
namespace camlucida {
namespace {

using shape::Operands;
using shape::Rearrangement;

struct TransposeAttributes {
  /// Axis k of the output is axis permutation[k] of the input; empty = axes reversed.
  std::vector<int64_t> permutation;
  void fields(auto& visit) { visit("permutation", permutation); }
};

/// The rearrangement that takes the axes of `source` in the order `permutation`.
Rearrangement permuted(Shape source, const std::vector<int64_t>& permutation) {
  Rearrangement map;
  map.source = std::move(source);
  for (int64_t axis : permutation) {
    map.axes.push_back(Rearrangement::whole(map.source, static_cast<int>(axis)));
  }
  map.shape_result();
  return map;
}

std::vector<Rearrangement> arrange_transpose(const Operands& node) {
  const Shape& x = node.shape(0);
  std::vector<int64_t> order = node.attributes().as<TransposeAttributes>().permutation;
  if (order.empty()) {
    order.resize(static_cast<size_t>(x.rank()));
    std::iota(order.rbegin(), order.rend(), 0);
  }
  for (int64_t& axis : order) axis = normalise_axis(axis, x.rank());
  const std::set<int64_t> distinct(order.begin(), order.end());
  if (order.size() != distinct.size() || static_cast<int>(order.size()) != x.rank()) {
    throw Error(ErrorKind::kModel, "the permutation does not name each of the " +
                                       std::to_string(x.rank()) + " axes once");
  }
  return {permuted(x, order)};
}

Example transpose_example(std::string name, Shape shape, std::vector<int64_t> permutation,
                          bool batched) {
  Example example{
      std::move(name), TransposeAttributes{std::move(permutation)}, {{std::move(shape)}}};
  example.batched = batched;
  return example;
}

LayerDef transpose() {
  LayerDef layer;
  layer.name = "Transpose";
  layer.picks = true;
  layer.prototype = TransposeAttributes{};
  layer.is_identity = [](const InferContext& context) {
    const std::vector<int64_t>& order = context.attributes.as<TransposeAttributes>().permutation;
    return std::is_sorted(order.begin(), order.end()) &&
           (!order.empty() || context.shape(0).rank() < 2);
  };
  layer.onnx = {{.name = "Transpose", .read = [](const NodeSource& node) {
                   return Reading{TransposeAttributes{node.integers("perm")}};
                 }}};
  layer.examples = {
      transpose_example("nchw_to_nhwc", {2, 5, 3, 7}, {0, 2, 3, 1}, true),
      transpose_example("nhwc_to_nchw", {2, 3, 7, 5}, {0, 3, 1, 2}, true),
      transpose_example("wide_matrix", {37, 53}, {1, 0}, false),
      transpose_example("reversed", {3, 1, 5, 4}, {}, false),
      transpose_example("channel_shuffle", {2, 3, 4, 5, 5}, {0, 2, 1, 3, 4}, true),
      transpose_example("attention_heads", {2, 9, 4, 8}, {0, 2, 1, 3}, true),
      transpose_example("unchanged", {2, 3, 4}, {0, 1, 2}, true),
      transpose_example("cube", {19, 17, 33}, {2, 1, 0}, false),
      transpose_example("negative_axes", {2, 3, 4}, {0, -1, -2}, true),
      transpose_example("vector", {6}, {0}, true),
  };
  return layer;
}

struct DepthToSpaceAttributes {
  int64_t block = 1;
  /// Where the block's rows and columns lie among the channels: false "DCR" [b, b, depth],
  /// true "CRD" [depth, b, b].
  bool depth_first = false;
  void fields(auto& visit) {
    visit("block", block);
    visit("depth_first", depth_first);
  }
};

Shape image_shape(const Operands& node, int64_t block) {
  const Shape& x = node.shape(0);
  if (x.rank() != 4 || block < 1) {
    throw Error(ErrorKind::kModel, "needs [N, C, H, W] and a positive block size, not " +
                                       x.to_string() + " and " + std::to_string(block));
  }
  return x;
}

std::vector<Rearrangement> arrange_depth_to_space(const Operands& node) {
  const auto& attributes = node.attributes().as<DepthToSpaceAttributes>();
  const int64_t b = attributes.block;
  const Shape x = image_shape(node, b);
  if (x[1] % (b * b) != 0) {
    throw Error(ErrorKind::kModel, std::to_string(x[1]) +
                                       " channels do not divide into blocks of " +
                                       std::to_string(b) + " x " + std::to_string(b));
  }
  const int64_t depth = x[1] / (b * b);
  Rearrangement map = attributes.depth_first
                          ? permuted({x[0], depth, b, b, x[2], x[3]}, {0, 1, 4, 2, 5, 3})
                          : permuted({x[0], b, b, depth, x[2], x[3]}, {0, 3, 4, 1, 5, 2});
  map.result = {x[0], depth, x[2] * b, x[3] * b};
  return {map};
}

struct SpaceToDepthAttributes {
  int64_t block = 1;
  void fields(auto& visit) { visit("block", block); }
};

std::vector<Rearrangement> arrange_space_to_depth(const Operands& node) {
  const int64_t b = node.attributes().as<SpaceToDepthAttributes>().block;
  const Shape x = image_shape(node, b);
  if (x[2] % b != 0 || x[3] % b != 0) {
    throw Error(ErrorKind::kModel, "the picture of shape " + x.to_string() +
                                       " does not divide into blocks of " + std::to_string(b));
  }
  Rearrangement map = permuted({x[0], x[1], x[2] / b, b, x[3] / b, b}, {0, 3, 5, 1, 2, 4});
  map.result = {x[0], x[1] * b * b, x[2] / b, x[3] / b};
  return {map};
}

LayerDef depth_to_space() {
  LayerDef layer;
  layer.name = "DepthToSpace";
  layer.picks = true;
  layer.prototype = DepthToSpaceAttributes{};
  layer.onnx = {
      {.name = "DepthToSpace", .read = [](const NodeSource& node) {
         const std::string mode = node.text("mode", "DCR");
         if (mode != "DCR" && mode != "CRD") {
           throw node.unsupported("mode " + mode, "DCR or CRD");
         }
         return Reading{DepthToSpaceAttributes{node.integer("blocksize", 1), mode == "CRD"}};
       }}};
  layer.examples = {
      {"dcr", DepthToSpaceAttributes{2, false}, {{{2, 12, 3, 5}}}},
      {"crd", DepthToSpaceAttributes{2, true}, {{{2, 12, 3, 5}}}},
      {"block_3", DepthToSpaceAttributes{3, true}, {{{1, 18, 4, 2}}}},
      {"block_1", DepthToSpaceAttributes{1, false}, {{{1, 3, 4, 5}}}},
      {"one_pixel", DepthToSpaceAttributes{4, false}, {{{3, 16, 1, 1}}}},
  };
  return layer;
}

LayerDef space_to_depth() {
  LayerDef layer;
  layer.name = "SpaceToDepth";
  layer.picks = true;
  layer.prototype = SpaceToDepthAttributes{};
  layer.onnx = {{.name = "SpaceToDepth", .read = [](const NodeSource& node) {
                   return Reading{SpaceToDepthAttributes{node.integer("blocksize", 1)}};
                 }}};
  layer.examples = {
      {"block_2", SpaceToDepthAttributes{2}, {{{2, 3, 6, 10}}}},
      {"block_3", SpaceToDepthAttributes{3}, {{{1, 2, 9, 3}}}},
      {"block_1", SpaceToDepthAttributes{1}, {{{1, 3, 4, 5}}}},
      {"one_pixel", SpaceToDepthAttributes{4}, {{{3, 5, 4, 4}}}},
      {"wide", SpaceToDepthAttributes{2}, {{{1, 1, 2, 34}}}},
  };
  return layer;
}

}  // namespace

void register_transpose(Registry& registry) {
  shape::add_rearranging_layer(registry, transpose(), arrange_transpose);
  shape::add_rearranging_layer(registry, depth_to_space(), arrange_depth_to_space);
  shape::add_rearranging_layer(registry, space_to_depth(), arrange_space_to_depth);
}

}  // namespace camlucida
