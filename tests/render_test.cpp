#include "explain/render.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/error.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

Rgb pixel(const Image& image, int x, int y) {
  const uint8_t* p = image.row(y) + 3 * x;
  return {p[0], p[1], p[2]};
}

Image plain(int width, int height, uint8_t level) {
  Image image(width, height, 3);
  for (uint8_t& byte : image.pixels()) byte = level;
  return image;
}

TEST(Colormap, JetFollowsItsDefinition) {
  const auto ramp = [](double v) { return std::clamp(1.5 - std::abs(v), 0.0, 1.0); };
  for (int i = 0; i <= 1000; ++i) {
    const double v = i / 1000.0;
    const Rgb rgb = colour(Colormap::kJet, v);
    EXPECT_NEAR(rgb.r, 255 * ramp(4 * v - 3), 1.0);
    EXPECT_NEAR(rgb.g, 255 * ramp(4 * v - 2), 1.0);
    EXPECT_NEAR(rgb.b, 255 * ramp(4 * v - 1), 1.0);
  }
}

TEST(Colormap, EndsAndCentres) {
  EXPECT_EQ(colour(Colormap::kViridis, 0), (Rgb{0x44, 0x01, 0x54}));
  EXPECT_EQ(colour(Colormap::kViridis, 1), (Rgb{0xfd, 0xe7, 0x25}));
  EXPECT_EQ(colour(Colormap::kInferno, 0.5), (Rgb{0xbb, 0x37, 0x55}));
  EXPECT_EQ(colour(Colormap::kGray, 0.5), (Rgb{128, 128, 128}));
  EXPECT_EQ(colour(Colormap::kBwr, 0.5), (Rgb{255, 255, 255}));
  EXPECT_EQ(colour(Colormap::kBwr, 1), (Rgb{255, 0, 0}));
  EXPECT_EQ(colour(Colormap::kSeismic, 0.25), (Rgb{0, 0, 255}));
  EXPECT_EQ(colour(Colormap::kCoolwarm, 0.5), (Rgb{0xdd, 0xdd, 0xdd}));
}

TEST(Colormap, ClipsAndTakesNanAsZero) {
  for (const std::string& name : colormap_names()) {
    const Colormap map = colormap_of(name);
    EXPECT_EQ(name_of(map), name);
    EXPECT_EQ(colour(map, -5), colour(map, 0));
    EXPECT_EQ(colour(map, 7), colour(map, 1));
    EXPECT_EQ(colour(map, std::numeric_limits<double>::quiet_NaN()), colour(map, 0));
  }
  EXPECT_EQ(colormap_of("Viridis"), Colormap::kViridis);
  EXPECT_TRUE(is_diverging(Colormap::kCoolwarm));
  EXPECT_FALSE(is_diverging(Colormap::kJet));
  EXPECT_ERROR(colormap_of("hot"), kUsage, "unknown palette 'hot'; known are jet, viridis");
}

TEST(Render, MapKeepsItsSizeAndRange) {
  const Tensor map = Tensor::from_floats({1, 3}, {0.0f, 0.25f, 0.5f});
  const Image image = render_map(map, {.colormap = Colormap::kGray});
  ASSERT_EQ(image.width(), 3);
  // 0.5 is the largest value and stays gray: the map is not stretched.
  EXPECT_EQ(pixel(image, 2, 0), (Rgb{128, 128, 128}));
  EXPECT_EQ(pixel(image, 1, 0), (Rgb{64, 64, 64}));
}

TEST(Render, SymmetricLimitsPutZeroAtTheCentre) {
  const Tensor map = Tensor::from_floats({1, 3}, {-1.0f, 0.0f, 4.0f});
  const RenderOptions options = with_symmetric_limits(map, {.colormap = Colormap::kBwr});
  EXPECT_EQ(options.low, -4.0);
  const Image image = render_map(map, options);
  EXPECT_EQ(pixel(image, 1, 0), (Rgb{255, 255, 255}));
  EXPECT_EQ(pixel(image, 2, 0), (Rgb{255, 0, 0}));
  EXPECT_EQ(pixel(image, 0, 0), (Rgb{191, 191, 255}));
  EXPECT_EQ(with_symmetric_limits(Tensor(Shape{2, 2}), {}).high, 1.0);
}

TEST(Render, AlphaWeighsTheMap) {
  const Image picture = plain(4, 4, 100);
  Tensor map(Shape{4, 4});
  for (float& value : map.as<float>()) value = 1.0f;
  const Placement whole = Placement::identity(4, 4);
  const auto level = [&](double alpha) {
    return pixel(render_overlay(picture, map, whole, {.colormap = Colormap::kGray, .alpha = alpha}),
                 2, 2)
        .r;
  };
  EXPECT_EQ(level(0.0), 100);
  EXPECT_EQ(level(0.25), 139);
  EXPECT_EQ(level(1.0), 255);
}

TEST(Render, OutsideTheCropThePictureStays) {
  // Shorter side 8 -> 4, crop 4 x 4 of 8 x 4: the network sees columns 4 to 11 of 16.
  const Image picture = plain(16, 8, 50);
  Preprocessing recipe;
  recipe.short_side = recipe.crop_height = recipe.crop_width = 4;
  const Placement placement = prepare(picture, recipe).placement;
  Tensor map(Shape{4, 4});
  for (float& value : map.as<float>()) value = 1.0f;
  const Image image =
      render_overlay(picture, map, placement, {.colormap = Colormap::kGray, .alpha = 1.0});
  for (int x = 0; x < 16; ++x) {
    EXPECT_EQ(pixel(image, x, 3).r, x >= 4 && x < 12 ? 255 : 50) << x;
  }
}

TEST(Render, TheMapLiesWhereTheNetworkSawIt) {
  // One bright pixel of a 4 x 4 map of a 40 x 80 picture scaled to 4 x 4.
  const Image picture = plain(40, 80, 0);
  Preprocessing recipe;
  recipe.resize = ResizeOp::kExact;
  recipe.resize_height = recipe.resize_width = 4;
  recipe.crop_height = recipe.crop_width = 0;
  const Placement placement = prepare(picture, recipe).placement;
  Tensor map(Shape{4, 4});
  map.floats()[1 * 4 + 2] = 1.0f;  // row 1, column 2: centre at x = 25, y = 30
  const Image image =
      render_overlay(picture, map, placement, {.colormap = Colormap::kGray, .alpha = 1.0});
  int brightest_x = 0;
  int brightest_y = 0;
  for (int y = 0; y < 80; ++y) {
    for (int x = 0; x < 40; ++x) {
      if (pixel(image, x, y).r > pixel(image, brightest_x, brightest_y).r) {
        brightest_x = x;
        brightest_y = y;
      }
    }
  }
  EXPECT_NEAR(brightest_x + 0.5, 25, 1);
  EXPECT_NEAR(brightest_y + 0.5, 30, 1);
  EXPECT_EQ(pixel(image, 5, 70).r, 0);
}

TEST(Render, AMapOfLayerResolutionCoversTheSameArea) {
  const Image picture = plain(32, 32, 0);
  const Tensor map = Tensor::from_floats({2, 2}, {0, 1, 0, 1});
  const Image image = render_overlay(picture, map, Placement::identity(32, 32),
                                     {.colormap = Colormap::kGray, .alpha = 1.0});
  EXPECT_EQ(pixel(image, 7, 5).r, 0);
  EXPECT_EQ(pixel(image, 24, 5).r, 255);
  EXPECT_NEAR(pixel(image, 15, 5).r + pixel(image, 16, 5).r, 255, 1);
}

TEST(Render, GrayPicturesBecomeColour) {
  Image picture(4, 4, 1);
  for (uint8_t& byte : picture.pixels()) byte = 90;
  const Image image = render_overlay(picture, Tensor(Shape{4, 4}), Placement::identity(4, 4),
                                     {.colormap = Colormap::kJet, .alpha = 0.5});
  EXPECT_EQ(pixel(image, 1, 1), (Rgb{45, 45, 109}));
}

TEST(Render, RefusesWhatDoesNotFit) {
  const Image picture = plain(4, 4, 0);
  const Tensor map(Shape{4, 4});
  const Placement whole = Placement::identity(4, 4);
  EXPECT_ERROR(render_overlay(picture, Tensor(Shape{1, 4, 4}), whole), kUsage, "[1, 4, 4]");
  EXPECT_ERROR(render_overlay(picture, map, Placement::identity(5, 4)), kUsage, "5 x 4");
  EXPECT_ERROR(render_overlay(picture, map, whole, {.alpha = 1.5}), kUsage, "alpha");
  EXPECT_ERROR(render_map(map, {.low = 1.0, .high = 1.0}), kUsage, "limit");
}

TEST(RenderComposite, EveryMapHasItsColour) {
  const Image picture = plain(4, 1, 100);
  Placement placement = Placement::identity(4, 1);
  const Tensor first = Tensor::from_floats(Shape{1, 4}, {1, 0, 1, -3});
  const Tensor second = Tensor::from_floats(Shape{1, 4}, {0, 0, 1, 0});
  const std::vector<Tensor> maps = {first, second};
  const Image image = render_composite(picture, maps, placement, 1.0);
  EXPECT_EQ(pixel(image, 0, 0), class_colour(0));
  EXPECT_EQ(pixel(image, 1, 0), (Rgb{100, 100, 100}));
  const Rgb both = pixel(image, 2, 0);
  EXPECT_NEAR(both.r, (class_colour(0).r + class_colour(1).r) / 2.0, 1.0);
  EXPECT_NEAR(both.b, (class_colour(0).b + class_colour(1).b) / 2.0, 1.0);
  EXPECT_EQ(pixel(image, 3, 0), (Rgb{100, 100, 100}));
  EXPECT_EQ(pixel(render_composite(picture, maps, placement, 0.5), 0, 0),
            (Rgb{static_cast<uint8_t>(std::lround((100 + class_colour(0).r) / 2.0)),
                 static_cast<uint8_t>(std::lround((100 + class_colour(0).g) / 2.0)),
                 static_cast<uint8_t>(std::lround((100 + class_colour(0).b) / 2.0))}));
  EXPECT_NE(class_colour(0), class_colour(1));
  EXPECT_EQ(class_colour(7), class_colour(0));
  const std::vector<Tensor> uneven = {first, Tensor(Shape{2, 2})};
  EXPECT_ERROR(render_composite(picture, uneven, placement), kUsage, "together");
  EXPECT_ERROR(render_composite(picture, {}, placement), kUsage, "no maps");
}

TEST(Render, MapValuesLieAtTheCentresOfThePicturesPixels) {
  // A map of 2 x 1 over the right half of a picture of 8 x 2.
  const Placement placement = {8, 2, 2, 1, 2.0, 2.0, 4.0, 0.0};
  const Tensor map = Tensor::from_floats(Shape{1, 2}, {0, 1});
  const PixelBox box = seen_pixels(placement);
  EXPECT_EQ(box.x, 4);
  EXPECT_EQ(box.width, 4);
  EXPECT_EQ(box.height, 2);
  const Tensor values = map_on_picture(map, placement, box);
  EXPECT_EQ(values.to_doubles(), (std::vector<double>{0, 0.25, 0.75, 1, 0, 0.25, 0.75, 1}));
  EXPECT_ERROR(map_on_picture(map, placement, {0, 0, 0, 2}), kUsage, "no pixels");
}

TEST(Render, PicturesStandInARow) {
  const Image pictures[] = {scaled_to_height(plain(4, 2, 50), 4), plain(3, 4, 90)};
  EXPECT_EQ(pictures[0].width(), 8);
  const Image row = side_by_side(pictures, 2);
  EXPECT_EQ(row.width(), 8 + 2 + 3);
  EXPECT_EQ(row.height(), 4);
  EXPECT_EQ(pixel(row, 7, 3), (Rgb{50, 50, 50}));
  EXPECT_EQ(pixel(row, 8, 0), (Rgb{255, 255, 255}));
  EXPECT_EQ(pixel(row, 10, 3), (Rgb{90, 90, 90}));
  const Image uneven[] = {plain(4, 2, 50), plain(3, 4, 90)};
  EXPECT_ERROR(side_by_side(uneven), kUsage, "one height");
}

TEST(Render, ObjectKeepsItsPixelsAndTheRestIsDark) {
  Image picture(2, 1, 3);
  std::ranges::copy(std::array<uint8_t, 6>{200, 100, 40, 200, 100, 40}, picture.pixels().begin());
  Image mask(2, 1, 1);
  mask.pixels()[0] = 1;
  const Image object = render_object(picture, mask);
  const auto pixels = object.pixels();
  EXPECT_EQ(std::vector<uint8_t>(pixels.begin(), pixels.begin() + 3),
            (std::vector<uint8_t>{200, 100, 40}));
  const auto dark = static_cast<uint8_t>(picture.to_gray().pixels()[1] / 4);
  EXPECT_EQ(std::vector<uint8_t>(pixels.begin() + 3, pixels.end()), std::vector<uint8_t>(3, dark));
  EXPECT_THROW(render_object(picture, Image(1, 1, 1)), Error);
}

}  // namespace
}  // namespace camlucida
