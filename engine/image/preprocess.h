#pragma once

#include <vector>

#include "engine/image/image.h"
#include "engine/image/resample.h"
#include "engine/tensor.h"

namespace camlucida {

enum class ChannelOrder { kRgb, kBgr, kGray };

enum class ResizeOp {
  kKeep,
  kShortSide,  ///< the shorter side becomes `short_side`, the other floor(short_side * long /
               ///< short)
  kExact,      ///< resize_height x resize_width, whatever the aspect
};

/// The recipe that turns a picture into a network input:
///   gray conversion if asked, resize, centre crop, channel order, y = (byte * scale - mean) / std
/// in float32. It is part of a model: the same picture under another recipe is another input.
struct Preprocessing {
  ChannelOrder channel_order = ChannelOrder::kRgb;

  ResizeOp resize = ResizeOp::kShortSide;
  int short_side = 256;
  int resize_height = 0;
  int resize_width = 0;
  Filter filter = Filter::kBilinear;

  /// Centre crop: top = (height - crop_height) / 2 with halves rounded to even, left likewise.
  /// 0 = no crop.
  int crop_height = 224;
  int crop_width = 224;

  /// mean and std have one value per channel, or one for all. Their order is the network's: with
  /// kBgr the first value belongs to blue.
  double scale = 1.0 / 255.0;
  std::vector<double> mean = {0.485, 0.456, 0.406};
  std::vector<double> std = {0.229, 0.224, 0.225};

  /// The usual ImageNet recipe for an input of this size: shorter side to 8/7 of the crop (256 for
  /// 224), centre crop, mean and deviation of ImageNet. A size that is not square is scaled to
  /// without keeping the aspect; one channel means gray with the mean of the three.
  static Preprocessing imagenet(int height = 224, int width = 224, int channels = 3);

  int channels() const { return channel_order == ChannelOrder::kGray ? 1 : 3; }
  /// A byte as the network sees it in channel `c`, and the way back (not rounded, not clipped).
  float normalise(int c, float byte) const;
  float denormalise(int c, float value) const;
  /// Throws Error(kUsage) naming the first field that makes no sense.
  void check() const;

  bool operator==(const Preprocessing&) const = default;
};

/// Where the network input lies in the picture. Coordinates are continuous and count from the upper
/// left corner: pixel i covers [i, i + 1), its centre is i + 0.5.
///   picture_x = left + scale_x * network_x,  picture_y = top + scale_y * network_y
/// The network sees [left, left + scale_x * width) x [top, top + scale_y * height) of the picture.
struct Placement {
  int picture_width = 0;
  int picture_height = 0;
  int width = 0;  ///< of the network input
  int height = 0;
  double scale_x = 1.0;  ///< picture pixels per network pixel
  double scale_y = 1.0;
  double left = 0.0;
  double top = 0.0;

  double right() const { return left + scale_x * width; }
  double bottom() const { return top + scale_y * height; }
  double to_network_x(double picture_x) const { return (picture_x - left) / scale_x; }
  double to_network_y(double picture_y) const { return (picture_y - top) / scale_y; }

  /// The placement of an input that is the whole picture, pixel for pixel.
  static Placement identity(int width, int height);
};

struct PreparedInput {
  Tensor tensor;  ///< float32 [1, C, H, W]
  Placement placement;
};

/// The picture after gray conversion, resize and crop, still bytes; gray or in RGB order. Throws
/// Error(kInput) if the crop is larger than the picture, and what check() and resize() throw.
Image scale_and_crop(const Image& image, const Preprocessing& recipe,
                     Placement* placement = nullptr);

/// The whole recipe.
PreparedInput prepare(const Image& image, const Preprocessing& recipe);

}  // namespace camlucida
