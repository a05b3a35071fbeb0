#pragma once

#include <span>

#include "engine/image/image.h"
#include "engine/image/preprocess.h"
#include "engine/tensor.h"
#include "explain/colormap.h"

namespace camlucida {

/// How a map is coloured. Values are not stretched to the map's own range: two overlays of one
/// method can be compared by eye.
struct RenderOptions {
  Colormap colormap = Colormap::kJet;
  double alpha = 0.5;  ///< weight of the colour, in [0, 1]; the picture has the rest
  double low = 0.0;    ///< map value at the palette's start; values beyond are clipped
  double high = 1.0;   ///< and at its end
};

/// The same options with symmetric limits, so that zero is at the centre of a diverging palette.
/// A map of zeros gets -1 and 1.
RenderOptions with_symmetric_limits(const Tensor& map, RenderOptions options);

/// The map [H, W] as a picture of its own size.
Image render_map(const Tensor& map, const RenderOptions& options = {});

/// The map on the picture, at the picture's size, RGB. `placement` says where the network input
/// lies in the picture; `map` covers that input, whatever its own resolution, and is interpolated
/// bilinearly between its pixel centres. What the network did not see (outside of a centre crop)
/// stays as it is in the picture. Throws Error(kUsage) if the map has another rank, the placement
/// belongs to a picture of another size, or the options make no sense.
Image render_overlay(const Image& picture, const Tensor& map, const Placement& placement,
                     const RenderOptions& options = {});

/// A rectangle of whole pixels.
struct PixelBox {
  int x = 0;  ///< of its upper left pixel
  int y = 0;
  int width = 0;
  int height = 0;
};

/// The pixels of the picture whose centres the network sees.
PixelBox seen_pixels(const Placement& placement);

/// The values [height, width] of the map at the pixels of `box`, interpolated as in render_overlay.
/// Pixels that the network did not see get the value of the map's border. Errors as for
/// render_overlay, and Error(kUsage) for a box without pixels.
Tensor map_on_picture(const Tensor& map, const Placement& placement, const PixelBox& box);

/// The colour of the map of rank `rank` in a composite; repeats after seven.
Rgb class_colour(size_t rank);

/// Maps that belong together (FM-G-CAM), all of one shape, on one picture: where a map is high its
/// class's colour shows, `alpha` times as strong as the map, the picture elsewhere. Values beyond
/// [0, 1] are clipped. Errors as for render_overlay.
Image render_composite(const Image& picture, std::span<const Tensor> maps,
                       const Placement& placement, double alpha = 0.8);

/// What a mask says is the object, as in the picture; the rest dark and grey. `mask` has one byte
/// per pixel, 0 is background. Throws Error(kUsage) unless it is gray and of the picture's size.
Image render_object(const Image& picture, const Image& mask);

/// The picture as RGB at that height, its aspect kept. Throws Error(kUsage) unless it is positive.
Image scaled_to_height(const Image& picture, int height);

/// RGB pictures of one height in a row with `gap` white pixels between them.
Image side_by_side(std::span<const Image> pictures, int gap = 8);

}  // namespace camlucida
