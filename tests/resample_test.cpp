#include "engine/image/resample.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string_view>

#include "engine/error.h"
#include "engine/fs.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

/// Bytes of a linear congruential generator: hard on every rounding.
Image noise(int width, int height, int channels) {
  Image image(width, height, channels);
  uint32_t state = 1;
  for (uint8_t& byte : image.pixels()) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return image;
}

Tensor noise_maps(const Shape& shape, uint32_t seed = 1) {
  Tensor maps(shape);
  uint32_t state = seed;
  for (float& value : maps.as<float>()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / (1 << 23) - 1.0f;
  }
  return maps;
}

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0.0;
  for (int64_t i = 0; i < a.count(); ++i) {
    sum += static_cast<double>(a.floats()[i]) * b.floats()[i];
  }
  return sum;
}

// First digits of the SHA-256 of what Image.resize of Pillow 9.4 makes of noise(97, 61, channels).
// Later versions filter columns first where that is cheaper, here for 131 x 17.
struct PillowCase {
  int channels;
  Filter filter;
  int width, height;
  std::string_view digest;
};
constexpr PillowCase kPillowCases[] = {
    {3, Filter::kNearest, 32, 20, "3cd1f928ef9ad500"},
    {3, Filter::kNearest, 200, 150, "da4fc2b30b7471e2"},
    {3, Filter::kNearest, 97, 30, "e14b4f488e4314ce"},
    {3, Filter::kNearest, 50, 61, "4ec47b31dad5db88"},
    {3, Filter::kNearest, 131, 17, "1a35db9da592fb9d"},
    {3, Filter::kNearest, 1, 1, "09c1d1e3bd7e4499"},
    {1, Filter::kNearest, 32, 20, "c1590731eddb9789"},
    {1, Filter::kNearest, 200, 150, "581ee1daebec1b6e"},
    {1, Filter::kNearest, 97, 30, "7d839a5f1a165c66"},
    {1, Filter::kNearest, 50, 61, "1e59f4a875ab560f"},
    {1, Filter::kNearest, 131, 17, "6c9c6b097d90a58d"},
    {1, Filter::kNearest, 1, 1, "4a64a107f0cb3253"},
    {3, Filter::kBilinear, 32, 20, "f7ab29b11546de7b"},
    {3, Filter::kBilinear, 200, 150, "f15b2752b948cdf8"},
    {3, Filter::kBilinear, 97, 30, "3b0f07b098321675"},
    {3, Filter::kBilinear, 50, 61, "034b84a7673bab65"},
    {3, Filter::kBilinear, 131, 17, "80e53a405da6d70b"},
    {3, Filter::kBilinear, 1, 1, "d8d83e152275cdec"},
    {1, Filter::kBilinear, 32, 20, "8d57ea0bd18a80f0"},
    {1, Filter::kBilinear, 200, 150, "91d2281b5c59cce9"},
    {1, Filter::kBilinear, 97, 30, "6be134e99e6882c5"},
    {1, Filter::kBilinear, 50, 61, "74d1ff776cfec024"},
    {1, Filter::kBilinear, 131, 17, "406a9322fefbd1bc"},
    {1, Filter::kBilinear, 1, 1, "7ace431cb61584cb"},
    {3, Filter::kBicubic, 32, 20, "c29dd397e318b0a9"},
    {3, Filter::kBicubic, 200, 150, "45a4f5cfc0170a62"},
    {3, Filter::kBicubic, 97, 30, "c78091d09d7b31d6"},
    {3, Filter::kBicubic, 50, 61, "b69b04bd8229fc9c"},
    {3, Filter::kBicubic, 131, 17, "0832577a41731031"},
    {3, Filter::kBicubic, 1, 1, "84a23b3edc66d2e1"},
    {1, Filter::kBicubic, 32, 20, "ca1263b6f8a57df6"},
    {1, Filter::kBicubic, 200, 150, "a8e56be5f3b05057"},
    {1, Filter::kBicubic, 97, 30, "75e216599632dc92"},
    {1, Filter::kBicubic, 50, 61, "9b43373de446ae88"},
    {1, Filter::kBicubic, 131, 17, "8e97cc1b66da1726"},
    {1, Filter::kBicubic, 1, 1, "620bfdaa346b088f"},
    {3, Filter::kLanczos, 32, 20, "cf728dacca5e0bd4"},
    {3, Filter::kLanczos, 200, 150, "120e21953d0cd1d1"},
    {3, Filter::kLanczos, 97, 30, "ebac0d38e5d31d4e"},
    {3, Filter::kLanczos, 50, 61, "f9c022b3736119bd"},
    {3, Filter::kLanczos, 131, 17, "bbc7883d4806ffa9"},
    {3, Filter::kLanczos, 1, 1, "84a23b3edc66d2e1"},
    {1, Filter::kLanczos, 32, 20, "ed12674bdccd5ad0"},
    {1, Filter::kLanczos, 200, 150, "bd1992683bed775e"},
    {1, Filter::kLanczos, 97, 30, "d71eebc17d9c620b"},
    {1, Filter::kLanczos, 50, 61, "bccd3f15654281f4"},
    {1, Filter::kLanczos, 131, 17, "b9aa06d047446e81"},
    {1, Filter::kLanczos, 1, 1, "620bfdaa346b088f"},
};

TEST(ResizePicture, EqualsPillowBitForBit) {
  for (const PillowCase& c : kPillowCases) {
    const Image result = resize(noise(97, 61, c.channels), c.width, c.height, c.filter);
    EXPECT_TRUE(sha256(result.pixels()).starts_with(c.digest))
        << c.channels << " channels, filter " << static_cast<int>(c.filter) << ", " << c.width
        << " x " << c.height;
  }
}

TEST(ResizePicture, ConstantStaysConstant) {
  Image image(31, 17, 3);
  for (uint8_t& byte : image.pixels()) byte = 255;
  for (const Filter filter :
       {Filter::kNearest, Filter::kBilinear, Filter::kBicubic, Filter::kLanczos}) {
    for (const int size : {1, 2, 16, 40, 100}) {
      const Image result = resize(image, size, size + 3, filter);
      for (const uint8_t byte : result.pixels()) ASSERT_EQ(byte, 255);
    }
  }
}

TEST(ResizePicture, ShrinkingAveragesEverythingItCovers) {
  // Triangle of half width 2 over four pixels, at centre 2 of [0, 4): weights 1, 3, 3, 1 of 8.
  Image image(4, 1, 1);
  const uint8_t values[] = {80, 0, 0, 160};
  std::copy(std::begin(values), std::end(values), image.pixels().begin());
  EXPECT_EQ(resize(image, 2, 1, Filter::kBilinear).row(0)[0], 34);  // (3 80 + 3 0 + 0) / 7
  EXPECT_EQ(resize(image, 2, 1, Filter::kBilinear).row(0)[1], 69);
}

TEST(ResizePicture, RefusesImpossibleSizes) {
  const Image image(10, 10, 3);
  EXPECT_ERROR(resize(image, 0, 5, Filter::kBilinear), kUsage, "0 x 5");
  EXPECT_ERROR(resize(Image(), 5, 5, Filter::kBilinear), kUsage, "0 x 0");
  EXPECT_ERROR(resize(image, 100000, 100000, Filter::kBilinear), kResource, "too large");
}

// Golden: the sheet of small drawings was made with Pillow's Lanczos from the large ones.
TEST(ResizePicture, OmniglotTilesAreReproduced) {
  REQUIRE_SHARED(shared);
  const std::filesystem::path folder = shared / "zoo/images/omniglot";
  const Image small = Image::load(folder / "characters28.png").to_gray();
  const Image sheet = Image::load(folder / "sheet_Balinese.png").to_gray();
  for (int column = 0; column < 20; ++column) {
    const Image drawing = sheet.crop(column * 105, 0, 105, 105);
    EXPECT_EQ(resize(drawing, 28, 28, Filter::kLanczos), small.crop(column * 28, 0, 28, 28));
  }
}

TEST(ResizeMap, BilinearHalfPixel) {
  // 2 -> 4: positions -0.25, 0.25, 0.75, 1.25, the outer ones clamped to the border.
  const Tensor map = Tensor::from_floats({1, 2}, {0.0f, 1.0f});
  const Tensor wide = resize_bilinear(map, 1, 4);
  const float expected[] = {0.0f, 0.25f, 0.75f, 1.0f};
  for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(wide.floats()[i], expected[i]);
  // 4 -> 2 takes the middle between neighbours, it does not average all it covers.
  const Tensor line = Tensor::from_floats({4, 1}, {0, 1, 10, 11});
  const Tensor half = resize_bilinear(line, 2, 1);
  EXPECT_FLOAT_EQ(half.floats()[0], 0.5f);
  EXPECT_FLOAT_EQ(half.floats()[1], 10.5f);
}

TEST(ResizeMap, BilinearAlignedKeepsTheCorners) {
  const Tensor map = Tensor::from_floats({1, 3}, {0, 1, 4});
  const Tensor wide = resize_bilinear(map, 1, 5, Corners::kAligned);
  const float expected[] = {0.0f, 0.5f, 1.0f, 2.5f, 4.0f};
  for (int i = 0; i < 5; ++i) EXPECT_FLOAT_EQ(wide.floats()[i], expected[i]);
  EXPECT_FLOAT_EQ(resize_bilinear(map, 1, 1, Corners::kAligned).floats()[0], 0.0f);
}

TEST(ResizeMap, SameSizeIsTheIdentity) {
  const Tensor maps = noise_maps({2, 3, 5, 7});
  const auto same = [&maps](const Tensor& result) {
    return result.shape() == maps.shape() && result.to_doubles() == maps.to_doubles();
  };
  EXPECT_TRUE(same(resize_bilinear(maps, 5, 7)));
  EXPECT_TRUE(same(resize_bilinear(maps, 5, 7, Corners::kAligned)));
  EXPECT_TRUE(same(resize_bilinear_adjoint(maps, 5, 7)));
  EXPECT_TRUE(same(resize_bicubic(maps, 5, 7)));
}

TEST(ResizeMap, LeadingAxesAreSeparateMaps) {
  const Tensor maps = noise_maps({2, 3, 4, 5});
  const Tensor all = resize_bilinear(maps, 9, 6);
  ASSERT_EQ(all.shape(), Shape({2, 3, 9, 6}));
  for (int i = 0; i < 6; ++i) {
    Tensor one(Shape{4, 5});
    std::copy_n(maps.floats() + i * 20, 20, one.floats());
    const Tensor alone = resize_bilinear(one, 9, 6);
    for (int j = 0; j < 54; ++j) ASSERT_EQ(alone.floats()[j], all.floats()[i * 54 + j]);
  }
}

TEST(ResizeMap, AdjointIsTheTranspose) {
  const int sizes[][4] = {{7, 7, 224, 224}, {13, 5, 20, 31}, {20, 30, 7, 9}, {1, 1, 4, 6}};
  for (const auto& s : sizes) {
    for (const Corners corners : {Corners::kHalfPixel, Corners::kAligned}) {
      const Tensor x = noise_maps({3, s[0], s[1]}, 7);
      const Tensor g = noise_maps({3, s[2], s[3]}, 11);
      const double forward = dot(resize_bilinear(x, s[2], s[3], corners), g);
      const double backward = dot(x, resize_bilinear_adjoint(g, s[0], s[1], corners));
      EXPECT_NEAR(forward, backward, 1e-4 * std::abs(forward) + 1e-4);
    }
  }
}

TEST(ResizeMap, BicubicWeights) {
  // An impulse doubled in size shows the kernel at distances 1/4, 3/4, 5/4, 7/4 (a = -0.75).
  const Tensor impulse = Tensor::from_floats({1, 5}, {0, 0, 1, 0, 0});
  const Tensor wide = resize_bicubic(impulse, 1, 10);
  const auto kernel = [](double x) {
    const double a = -0.75;
    return x <= 1 ? (a + 2) * x * x * x - (a + 3) * x * x + 1
                  : a * (x * x * x - 5 * x * x + 8 * x - 4);
  };
  const double distances[] = {9, 1.75, 1.25, 0.75, 0.25};
  EXPECT_EQ(wide.floats()[0], 0.0f);
  for (int i = 1; i < 5; ++i) {
    EXPECT_NEAR(wide.floats()[i], kernel(distances[i]), 1e-6);
    EXPECT_NEAR(wide.floats()[9 - i], kernel(distances[i]), 1e-6);
  }
  EXPECT_LT(wide.floats()[2], 0.0f);  // overshoot is kept
  Tensor ones(Shape{3, 3});
  for (float& value : ones.as<float>()) value = 1.0f;
  const Tensor still_ones = resize_bicubic(ones, 10, 11);
  for (const float value : still_ones.as<float>()) EXPECT_NEAR(value, 1.0, 1e-6);
}

TEST(ResizeMap, RefusesWhatIsNoMap) {
  EXPECT_ERROR(resize_bilinear(Tensor(Shape{4}), 2, 2), kUsage, "[4]");
  EXPECT_ERROR(resize_bilinear(Tensor(Shape{4, 4}), 0, 2), kUsage, "0 x 2");
  EXPECT_ERROR(resize_bicubic(Tensor(), 2, 2), kUsage, "cannot scale");
}

}  // namespace
}  // namespace camlucida
