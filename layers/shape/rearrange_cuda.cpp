#include "layers/shape/rearrange_gpu.h"

/// The layers that only move elements along axes, on a GPU. Split is in concat_cuda.cpp.
namespace camlucida {

void register_rearrange_cuda(Registry& registry) {
  struct Row {
    const char* name;
    const char* layer;
  };
  for (const Row& row :
       {Row{"depth_to_space", "DepthToSpace"}, Row{"expand", "Expand"}, Row{"gather", "Gather"},
        Row{"pad", "Pad"}, Row{"slice", "Slice"}, Row{"space_to_depth", "SpaceToDepth"},
        Row{"tile", "Tile"}, Row{"transpose", "Transpose"}}) {
    const std::string layer = row.layer;
    shape::add_gpu_pick_kernels(registry, row.name, layer, [layer](const shape::Operands& node) {
      return shape::arrangement_of(layer)(node);
    });
  }
}

}  // namespace camlucida
