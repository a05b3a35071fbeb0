#include "engine/image/preprocess.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/error.h"
#include "engine/fs.h"
#include "engine/manifest.h"
#include "engine/npy.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

Image gradient(int width, int height) {
  Image image(width, height, 3);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      uint8_t* pixel = image.row(y) + 3 * x;
      pixel[0] = static_cast<uint8_t>(x);
      pixel[1] = static_cast<uint8_t>(y);
      pixel[2] = 200;
    }
  }
  return image;
}

/// No resize, no crop, bytes as they are.
Preprocessing plain() {
  Preprocessing recipe;
  recipe.resize = ResizeOp::kKeep;
  recipe.crop_height = recipe.crop_width = 0;
  recipe.scale = 1.0;
  recipe.mean = {0.0};
  recipe.std = {1.0};
  return recipe;
}

TEST(Preprocess, LayoutAndChannelOrder) {
  Preprocessing recipe = plain();
  const Image image = gradient(5, 4);
  const PreparedInput rgb = prepare(image, recipe);
  ASSERT_EQ(rgb.tensor.shape(), Shape({1, 3, 4, 5}));
  EXPECT_EQ(rgb.tensor.floats()[2 * 5 + 3], 3.0f);             // red = x
  EXPECT_EQ(rgb.tensor.floats()[20 + 2 * 5 + 3], 2.0f);        // green = y
  EXPECT_EQ(rgb.tensor.floats()[2 * 20 + 2 * 5 + 3], 200.0f);  // blue
  recipe.channel_order = ChannelOrder::kBgr;
  EXPECT_EQ(prepare(image, recipe).tensor.floats()[0], 200.0f);
  recipe.channel_order = ChannelOrder::kGray;
  const PreparedInput gray = prepare(image, recipe);
  ASSERT_EQ(gray.tensor.shape(), Shape({1, 1, 4, 5}));
  EXPECT_EQ(gray.tensor.floats()[0], 23.0f);  // 0.114 * 200
}

TEST(Preprocess, MeanAndDeviationBelongToTheNetworkChannels) {
  Preprocessing recipe = plain();
  recipe.channel_order = ChannelOrder::kBgr;
  recipe.scale = 0.5;
  recipe.mean = {1.0, 2.0, 3.0};
  recipe.std = {2.0, 4.0, 8.0};
  const PreparedInput input = prepare(gradient(2, 2), recipe);
  EXPECT_EQ(input.tensor.floats()[0], (200 * 0.5f - 1.0f) / 2.0f);
  EXPECT_EQ(input.tensor.floats()[4], (0 * 0.5f - 2.0f) / 4.0f);
  EXPECT_EQ(recipe.normalise(2, 100.0f), (50.0f - 3.0f) / 8.0f);
  EXPECT_FLOAT_EQ(recipe.denormalise(2, recipe.normalise(2, 100.0f)), 100.0f);
}

TEST(Preprocess, CropRoundsHalvesToEven) {
  Preprocessing recipe = plain();
  recipe.crop_height = recipe.crop_width = 4;
  const int expected[] = {0, 0, 1, 2, 2, 2, 3, 4};  // for differences 0 to 7
  for (int difference = 0; difference < 8; ++difference) {
    const PreparedInput input = prepare(gradient(4 + difference, 5), recipe);
    EXPECT_EQ(input.tensor.floats()[0], static_cast<float>(expected[difference])) << difference;
    EXPECT_EQ(input.placement.left, expected[difference]);
  }
}

TEST(Preprocess, ShortSideRoundsTheOtherDown) {
  Preprocessing recipe = plain();
  recipe.resize = ResizeOp::kShortSide;
  recipe.short_side = 10;
  EXPECT_EQ(scale_and_crop(gradient(39, 20), recipe).width(), 19);  // 10 * 39 / 20 = 19.5
  EXPECT_EQ(scale_and_crop(gradient(20, 39), recipe).height(), 19);
  recipe.short_side = 20;
  EXPECT_EQ(scale_and_crop(gradient(39, 20), recipe), gradient(39, 20));
}

TEST(Preprocess, PlacementLeadsBackToThePicture) {
  Preprocessing recipe = Preprocessing::imagenet();
  const Image image = gradient(512, 1024);
  const Placement p = prepare(image, recipe).placement;
  EXPECT_EQ(p.picture_width, 512);
  EXPECT_EQ(p.picture_height, 1024);
  EXPECT_EQ(p.width, 224);
  EXPECT_EQ(p.height, 224);
  EXPECT_EQ(p.scale_x, 2.0);
  EXPECT_EQ(p.left, 32.0);  // (256 - 224) / 2 = 16 network pixels
  EXPECT_EQ(p.top, 288.0);  // (512 - 224) / 2 = 144
  EXPECT_EQ(p.right(), 480.0);
  EXPECT_EQ(p.bottom(), 736.0);
  EXPECT_EQ(p.to_network_x(p.left + 0.5 * p.scale_x), 0.5);
  EXPECT_EQ(p.to_network_y(p.bottom()), 224.0);
  recipe = plain();
  recipe.resize = ResizeOp::kExact;
  recipe.resize_width = 256;
  recipe.resize_height = 128;
  const Placement exact = prepare(image, recipe).placement;
  EXPECT_EQ(exact.scale_x, 2.0);
  EXPECT_EQ(exact.scale_y, 8.0);
  EXPECT_EQ(exact.bottom(), 1024.0);
}

TEST(Preprocess, ImagenetRecipe) {
  const Preprocessing usual = Preprocessing::imagenet();
  EXPECT_EQ(usual, Preprocessing());
  EXPECT_EQ(usual.short_side, 256);
  EXPECT_EQ(prepare(gradient(300, 400), usual).tensor.shape(), Shape({1, 3, 224, 224}));
  const Preprocessing wide = Preprocessing::imagenet(240, 320);
  EXPECT_EQ(prepare(gradient(300, 400), wide).tensor.shape(), Shape({1, 3, 240, 320}));
  const Preprocessing gray = Preprocessing::imagenet(28, 28, 1);
  EXPECT_EQ(prepare(gradient(300, 400), gray).tensor.shape(), Shape({1, 1, 28, 28}));
}

TEST(Preprocess, RefusesWhatMakesNoSense) {
  const Image image = gradient(8, 8);
  Preprocessing recipe = plain();
  recipe.crop_height = recipe.crop_width = 9;
  EXPECT_ERROR(prepare(image, recipe), kInput, "8 x 8 after resizing, smaller than the crop");
  recipe = plain();
  recipe.mean = {1.0, 2.0};
  EXPECT_ERROR(prepare(image, recipe), kUsage, "mean needs 1 or 3 values");
  recipe = plain();
  recipe.std = {1.0, 0.0, 1.0};
  EXPECT_ERROR(prepare(image, recipe), kUsage, "std");
  recipe = plain();
  recipe.scale = 0.0;
  EXPECT_ERROR(prepare(image, recipe), kUsage, "scale");
  recipe = plain();
  recipe.resize = ResizeOp::kExact;
  EXPECT_ERROR(prepare(image, recipe), kUsage, "size to resize to");
  EXPECT_ERROR(prepare(Image(), plain()), kUsage, "empty");
  EXPECT_ERROR(prepare(Image(8, 8, 1), plain()), kUsage, "gray");
  EXPECT_ERROR(prepare(Image(1, 60000, 3), Preprocessing::imagenet()), kResource, "too large");
}

/// The picture of a golden item; drawings are cut from a sheet of tiles.
Image picture_of(const nlohmann::json& item, const std::filesystem::path& zoo) {
  const Image image = Image::load(zoo / item.at("image").get<std::string>());
  if (!item.contains("tile")) return image;
  const int size = item.at("tile_size");
  const int row = item.at("tile").at(0);
  const int column = item.at("tile").at(1);
  Image tile = image.crop(column * size, row * size, size, size);
  if (item.value("invert", false)) {
    for (uint8_t& byte : tile.pixels()) byte = static_cast<uint8_t>(255 - byte);
  }
  return tile;
}

TEST(Preprocess, GoldenPicturesGiveTheSameBytesAndTensors) {
  REQUIRE_SHARED(shared);
  int items = 0;
  std::set<std::string> inputs;
  for (const auto& entry : std::filesystem::directory_iterator(shared / "golden/logits")) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream stream(entry.path());
    const nlohmann::json index = nlohmann::json::parse(stream);
    const std::string model = index.at("model");
    const Manifest manifest = Manifest::load(shared / "zoo" / model / "manifest.json");
    ASSERT_TRUE(manifest.preprocessing.has_value()) << model;
    for (const nlohmann::json& item : index.at("items")) {
      const Image image = picture_of(item, shared / "zoo");
      Image fitted = scale_and_crop(image, *manifest.preprocessing);
      if (manifest.preprocessing->channel_order == ChannelOrder::kBgr) {
        // The digests are of bytes in the network's order.
        for (size_t i = 0; i < fitted.pixels().size(); i += 3) {
          std::swap(fitted.pixels()[i], fitted.pixels()[i + 2]);
        }
      }
      EXPECT_EQ(sha256(fitted.pixels()), item.at("pixels_sha256").get<std::string>())
          << model << item.at("image");
      ++items;
      if (!item.contains("input")) continue;
      const std::string file = item.at("input");
      const Tensor golden = read_npy_float32(shared / "golden/logits" / file);
      const Tensor ours = prepare(image, *manifest.preprocessing).tensor;
      ASSERT_EQ(ours.count(), golden.count()) << file;
      EXPECT_EQ(std::memcmp(ours.raw(), golden.raw(), golden.bytes()), 0) << file;
      inputs.insert(file);
    }
  }
  EXPECT_GT(items, 100);
  EXPECT_GT(inputs.size(), 40u);
}

}  // namespace
}  // namespace camlucida
