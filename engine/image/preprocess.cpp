#include "engine/image/preprocess.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/error.h"

namespace camlucida {
namespace {

float channel_value(const std::vector<double>& values, int channel) {
  return static_cast<float>(values.size() == 1 ? values[0] : values[static_cast<size_t>(channel)]);
}

/// difference / 2 with halves rounded to even.
int half_to_even(int difference) {
  const int half = difference / 2;
  return difference % 2 != 0 && half % 2 != 0 ? half + 1 : half;
}

std::string size_text(int width, int height) {
  return std::to_string(width) + " x " + std::to_string(height);
}

Image resized(const Image& image, const Preprocessing& recipe) {
  const int64_t width = image.width();
  const int64_t height = image.height();
  switch (recipe.resize) {
    case ResizeOp::kKeep:
      return image;
    case ResizeOp::kExact:
      return resize(image, recipe.resize_width, recipe.resize_height, recipe.filter);
    case ResizeOp::kShortSide:
      break;
  }
  const int64_t shorter = std::min(width, height);
  const auto scaled = [&](int64_t side) {
    const int64_t result = recipe.short_side * side / shorter;
    if (result > Image::kMaxPixels) {
      throw Error(ErrorKind::kInput, "a picture of " + size_text(image.width(), image.height()) +
                                         " is too long and thin to scale its shorter side to " +
                                         std::to_string(recipe.short_side));
    }
    return static_cast<int>(result);
  };
  return resize(image, scaled(width), scaled(height), recipe.filter);
}

}  // namespace

Preprocessing Preprocessing::imagenet(int height, int width, int channels) {
  Preprocessing recipe;
  if (height == width) {
    recipe.short_side = static_cast<int>(std::lround(height * 8.0 / 7.0));
    recipe.crop_height = height;
    recipe.crop_width = width;
  } else {
    recipe.resize = ResizeOp::kExact;
    recipe.resize_height = height;
    recipe.resize_width = width;
    recipe.crop_height = recipe.crop_width = 0;
  }
  if (channels == 1) {
    recipe.channel_order = ChannelOrder::kGray;
    recipe.mean = {0.449};
    recipe.std = {0.226};
  }
  return recipe;
}

float Preprocessing::normalise(int c, float byte) const {
  const float scaled = byte * static_cast<float>(scale);
  return (scaled - channel_value(mean, c)) / channel_value(std, c);
}

float Preprocessing::denormalise(int c, float value) const {
  const float scaled = value * channel_value(std, c) + channel_value(mean, c);
  return scaled / static_cast<float>(scale);
}

void Preprocessing::check() const {
  const auto fail = [](const std::string& what) {
    throw Error(ErrorKind::kUsage, "preprocessing: " + what);
  };
  if (resize == ResizeOp::kShortSide && short_side <= 0) fail("the short side must be positive");
  if (resize == ResizeOp::kExact && (resize_height <= 0 || resize_width <= 0)) {
    fail("the size to resize to must be positive");
  }
  if (crop_height < 0 || crop_width < 0 || (crop_height == 0) != (crop_width == 0)) {
    fail("the crop size must be positive");
  }
  if (!std::isfinite(scale) || scale == 0.0) fail("the scale must be a number other than 0");
  const auto fits = [this](const std::vector<double>& values) {
    return values.size() == 1 || values.size() == static_cast<size_t>(channels());
  };
  if (!fits(mean)) fail("mean needs 1 or " + std::to_string(channels()) + " values");
  if (!fits(std)) fail("std needs 1 or " + std::to_string(channels()) + " values");
  for (const double value : mean) {
    if (!std::isfinite(value)) fail("mean must be finite");
  }
  for (const double value : std) {
    if (!std::isfinite(value) || value == 0.0) fail("std must be finite and not 0");
  }
}

Placement Placement::identity(int width, int height) {
  Placement placement;
  placement.picture_width = placement.width = width;
  placement.picture_height = placement.height = height;
  return placement;
}

Image scale_and_crop(const Image& image, const Preprocessing& recipe, Placement* placement) {
  recipe.check();
  if (image.empty()) throw Error(ErrorKind::kUsage, "the picture is empty");
  const bool gray = recipe.channel_order == ChannelOrder::kGray;
  if (!gray && image.channels() == 1) {
    throw Error(ErrorKind::kUsage, "the network takes colour, the picture is gray",
                "load pictures with Image::load, which gives RGB");
  }
  Image result = resized(gray ? image.to_gray() : image, recipe);
  const int resized_width = result.width();
  const int resized_height = result.height();
  int left = 0;
  int top = 0;
  if (recipe.crop_width > 0) {
    if (recipe.crop_width > resized_width || recipe.crop_height > resized_height) {
      throw Error(ErrorKind::kInput,
                  "the picture is " + size_text(resized_width, resized_height) +
                      " after resizing, smaller than the crop of " +
                      size_text(recipe.crop_width, recipe.crop_height),
                  "resize to a larger size or give a larger picture");
    }
    left = half_to_even(resized_width - recipe.crop_width);
    top = half_to_even(resized_height - recipe.crop_height);
    result = result.crop(left, top, recipe.crop_width, recipe.crop_height);
  }
  if (placement != nullptr) {
    placement->picture_width = image.width();
    placement->picture_height = image.height();
    placement->width = result.width();
    placement->height = result.height();
    placement->scale_x = static_cast<double>(image.width()) / resized_width;
    placement->scale_y = static_cast<double>(image.height()) / resized_height;
    placement->left = left * placement->scale_x;
    placement->top = top * placement->scale_y;
  }
  return result;
}

PreparedInput prepare(const Image& image, const Preprocessing& recipe) {
  PreparedInput prepared;
  const Image fitted = scale_and_crop(image, recipe, &prepared.placement);
  const int channels = fitted.channels();
  prepared.tensor = Tensor(Shape{1, channels, fitted.height(), fitted.width()});
  const size_t plane = static_cast<size_t>(fitted.height()) * static_cast<size_t>(fitted.width());
  for (int c = 0; c < channels; ++c) {
    float value_of[256];
    for (int byte = 0; byte < 256; ++byte) {
      value_of[byte] = recipe.normalise(c, static_cast<float>(byte));
    }
    const int stored = recipe.channel_order == ChannelOrder::kBgr ? channels - 1 - c : c;
    const uint8_t* from = fitted.pixels().data() + stored;
    float* to = prepared.tensor.floats() + static_cast<size_t>(c) * plane;
    for (size_t i = 0; i < plane; ++i) to[i] = value_of[from[i * static_cast<size_t>(channels)]];
  }
  return prepared;
}

}  // namespace camlucida
