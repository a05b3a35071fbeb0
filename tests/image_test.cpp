#include "engine/image/image.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

// jpeglib.h needs size_t and FILE from the headers above.
#include <jpeglib.h>

#include "engine/error.h"
#include "engine/fs.h"
#include "engine/image/codec.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

using test::TemporaryFolder;
using Bytes = std::vector<uint8_t>;

/// Smooth enough to survive JPEG, and different in every corner and channel.
Image ramp(int width, int height, int channels = 3) {
  Image image(width, height, channels);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      uint8_t* pixel = image.row(y) + x * channels;
      pixel[0] = static_cast<uint8_t>(20 + 200 * x / width);
      if (channels == 1) continue;
      pixel[1] = static_cast<uint8_t>(20 + 200 * y / height);
      pixel[2] = static_cast<uint8_t>(128);
    }
  }
  return image;
}

/// JPEG of any number of channels (4 = inks as Adobe stores them), with an optional EXIF block.
Bytes encode_jpeg(int width, int height, int channels, const Bytes& pixels, bool progressive,
                  const Bytes& exif = {}) {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long length = 0;
  jpeg_mem_dest(&info, &memory, &length);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = channels;
  info.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  if (!exif.empty()) {
    jpeg_write_marker(&info, JPEG_APP0 + 1, exif.data(), static_cast<unsigned>(exif.size()));
  }
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = const_cast<JSAMPROW>(pixels.data()) +
                   static_cast<size_t>(info.next_scanline) * static_cast<size_t>(width * channels);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  Bytes bytes(memory, memory + length);
  jpeg_destroy_compress(&info);
  std::free(memory);
  return bytes;
}

Bytes encode_jpeg(const Image& image, bool progressive = false, const Bytes& exif = {}) {
  return encode_jpeg(image.width(), image.height(), image.channels(),
                     Bytes(image.pixels().begin(), image.pixels().end()), progressive, exif);
}

/// EXIF block with one entry, the orientation, in big- or little-endian order.
Bytes exif_with_orientation(uint8_t value, bool little) {
  Bytes block = {'E', 'x', 'i', 'f', 0, 0};
  const Bytes tiff = little ? Bytes{'I', 'I', 42, 0, 8, 0,     0, 0, 1, 0, 0x12, 1, 3,
                                    0,   1,   0,  0, 0, value, 0, 0, 0, 0, 0,    0, 0}
                            : Bytes{'M', 'M', 0, 42, 0, 0, 0,     8, 0, 1, 1, 0x12, 0,
                                    3,   0,   0, 0,  1, 0, value, 0, 0, 0, 0, 0,    0};
  block.insert(block.end(), tiff.begin(), tiff.end());
  return block;
}

Bytes bmp_of(const Image& image) {
  const int row_bytes = (image.width() * 3 + 3) / 4 * 4;
  Bytes bytes(54 + static_cast<size_t>(row_bytes * image.height()), 0);
  const auto put = [&bytes](size_t at, uint32_t value) {
    for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
  };
  bytes[0] = 'B';
  bytes[1] = 'M';
  put(10, 54);
  put(14, 40);
  put(18, static_cast<uint32_t>(image.width()));
  put(22, static_cast<uint32_t>(image.height()));
  put(26, 1 | 24 << 16);
  for (int y = 0; y < image.height(); ++y) {
    uint8_t* to = bytes.data() + 54 + (image.height() - 1 - y) * row_bytes;
    for (int x = 0; x < image.width(); ++x) {
      for (int c = 0; c < 3; ++c) to[3 * x + c] = image.row(y)[3 * x + 2 - c];
    }
  }
  return bytes;
}

int largest_difference(const Image& a, const Image& b) {
  EXPECT_EQ(a.width(), b.width());
  EXPECT_EQ(a.height(), b.height());
  int largest = 0;
  for (size_t i = 0; i < a.pixels().size() && i < b.pixels().size(); ++i) {
    largest = std::max(largest, std::abs(a.pixels()[i] - b.pixels()[i]));
  }
  return largest;
}

TEST(Image, PngRoundTripIsExact) {
  const Image image = ramp(37, 21);
  EXPECT_EQ(Image::decode(image.encode_png()), image);
  const Image gray = Image::decode(ramp(37, 21, 1).encode_png());
  EXPECT_EQ(gray.channels(), 3);
  EXPECT_EQ(gray.to_gray(), ramp(37, 21, 1));
}

TEST(Image, SaveAndLoad) {
  const TemporaryFolder folder;
  const Image image = ramp(8, 5);
  image.save_png(folder / "a.png");
  EXPECT_EQ(Image::load(folder / "a.png"), image);
  EXPECT_ERROR(image.save_png(folder / "missing/a.png"), kResource, "missing/a.png");
  EXPECT_ERROR(Image().save_png(folder / "b.png"), kUsage, "empty");
}

TEST(Image, TransparencyIsDroppedNotBlended) {
  // Two pixels, RGBA: opaque red and fully transparent green. Stored deflate, by hand.
  const Bytes png = {0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49,
                     0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x01, 0x08, 0x06,
                     0x00, 0x00, 0x00, 0xf4, 0x22, 0x7f, 0x8a, 0x00, 0x00, 0x00, 0x14, 0x49, 0x44,
                     0x41, 0x54, 0x78, 0x01, 0x01, 0x09, 0x00, 0xf6, 0xff, 0x00, 0xff, 0x00, 0x00,
                     0xff, 0x00, 0xff, 0x00, 0x00, 0x0f, 0xf9, 0x02, 0xfe, 0x9a, 0xaa, 0x36, 0xda,
                     0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};
  const Image image = Image::decode(png);
  EXPECT_EQ(Bytes(image.pixels().begin(), image.pixels().end()), (Bytes{255, 0, 0, 0, 255, 0}));
}

TEST(Image, JpegBaselineAndProgressive) {
  const Image image = ramp(61, 43);
  for (const bool progressive : {false, true}) {
    EXPECT_LE(largest_difference(Image::decode(encode_jpeg(image, progressive)), image), 6);
    const Image gray = Image::decode(encode_jpeg(image.to_gray(), progressive));
    EXPECT_EQ(gray.channels(), 3);
    EXPECT_LE(largest_difference(gray.to_gray(), image.to_gray()), 3);
  }
}

TEST(Image, JpegOfFourInks) {
  // Inverted inks: no ink at all is white, full black is black, full cyan is cyan.
  const Bytes inks[] = {{255, 255, 255, 255}, {255, 255, 255, 0}, {0, 255, 255, 255}};
  const Bytes colours[] = {{255, 255, 255}, {0, 0, 0}, {0, 255, 255}};
  for (int i = 0; i < 3; ++i) {
    Bytes pixels;
    for (int pixel = 0; pixel < 64; ++pixel) {
      pixels.insert(pixels.end(), inks[i].begin(), inks[i].end());
    }
    const Image image = Image::decode(encode_jpeg(8, 8, 4, pixels, false));
    for (int c = 0; c < 3; ++c) EXPECT_NEAR(image.row(0)[c], colours[i][c], 2);
  }
}

TEST(Image, Bmp) {
  const Image image = ramp(7, 5);
  EXPECT_EQ(Image::decode(bmp_of(image)), image);
}

TEST(Image, ExifOrientationTurnsUpright) {
  // For each orientation: the corner, in units of the shown picture's sides, in which the stored
  // upper left corner is shown.
  const Image stored = ramp(64, 32);
  struct Case {
    int orientation, corner_x, corner_y;
  };
  for (const Case c : {Case{1, 0, 0}, Case{2, 1, 0}, Case{3, 1, 1}, Case{4, 0, 1}, Case{5, 0, 0},
                       Case{6, 1, 0}, Case{7, 1, 1}, Case{8, 0, 1}}) {
    for (const bool little : {false, true}) {
      const Image shown = Image::decode(encode_jpeg(
          stored, false, exif_with_orientation(static_cast<uint8_t>(c.orientation), little)));
      const bool turned = c.orientation >= 5;
      ASSERT_EQ(shown.width(), turned ? 32 : 64) << c.orientation;
      ASSERT_EQ(shown.height(), turned ? 64 : 32) << c.orientation;
      const uint8_t* corner =
          shown.row(c.corner_y * (shown.height() - 1)) + 3 * c.corner_x * (shown.width() - 1);
      EXPECT_NEAR(corner[0], stored.row(0)[0], 8) << c.orientation;
      EXPECT_NEAR(corner[1], stored.row(0)[1], 8) << c.orientation;
      // The stored upper right corner lies at the other end of the side that the x axis became.
      const int x = turned ? c.corner_x : 1 - c.corner_x;
      const int y = turned ? 1 - c.corner_y : c.corner_y;
      const uint8_t* right = shown.row(y * (shown.height() - 1)) + 3 * x * (shown.width() - 1);
      EXPECT_NEAR(right[0], stored.row(0)[3 * 63], 8) << c.orientation;
      EXPECT_NEAR(right[1], stored.row(0)[3 * 63 + 1], 8) << c.orientation;
    }
  }
}

TEST(Image, DamagedExifIsIgnored) {
  EXPECT_EQ(codec::exif_orientation({}), 1);
  const Bytes good = exif_with_orientation(6, true);
  const std::span<const uint8_t> tiff = std::span<const uint8_t>(good).subspan(6);
  EXPECT_EQ(codec::exif_orientation(tiff), 6);
  for (size_t length = 0; length < 18; ++length) {
    EXPECT_EQ(codec::exif_orientation(tiff.subspan(0, length)), 1) << length;
  }
  Bytes far(tiff.begin(), tiff.end());
  far[4] = far[5] = far[6] = far[7] = 0xff;
  EXPECT_EQ(codec::exif_orientation(far), 1);
  Bytes nine(tiff.begin(), tiff.end());
  nine[18] = 9;
  EXPECT_EQ(codec::exif_orientation(nine), 1);
}

TEST(Image, RefusesWhatIsNoPicture) {
  const TemporaryFolder folder;
  EXPECT_ERROR(Image::load(folder / "none.jpg"), kInput, "none.jpg");
  write_file_atomic(folder / "empty.jpg", "");
  EXPECT_ERROR(Image::load(folder / "empty.jpg"), kInput, "empty.jpg': the file is empty");
  write_file_atomic(folder / "text.jpg", "this is no picture");
  EXPECT_ERROR(Image::load(folder / "text.jpg"), kInput, "not a JPEG, PNG or BMP file");
  write_file_atomic(folder / "a.gif", "GIF89a and so on");
  EXPECT_ERROR(Image::load(folder / "a.gif"), kInput, "GIF files are not supported; convert");
  EXPECT_ERROR(Image::load(folder.path()), kInput, "not a regular file");
}

TEST(Image, EveryTruncationIsRefused) {
  const Image image = ramp(24, 16);
  const Bytes files[] = {encode_jpeg(image), encode_jpeg(image, true), image.encode_png(),
                         bmp_of(image)};
  for (const Bytes& file : files) {
    for (size_t length = 0; length < file.size(); ++length) {
      EXPECT_ERROR(Image::decode({file.data(), length}, "cut.jpg"), kInput, "cut.jpg");
    }
  }
}

TEST(Image, DamagedPngDataIsRefused) {
  Bytes file = ramp(24, 16).encode_png();
  file[60] ^= 1;
  EXPECT_ERROR(Image::decode(file), kInput, "checksum");
}

TEST(Image, DamagedBytesNeverCrash) {
  const Image image = ramp(24, 16);
  for (const Bytes& file : {encode_jpeg(image), encode_jpeg(image, true), bmp_of(image)}) {
    for (size_t at = 0; at < file.size(); ++at) {
      for (const uint8_t mask : {0x01, 0x80, 0xff}) {
        Bytes damaged = file;
        damaged[at] ^= mask;
        try {
          Image::decode(damaged);
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::kInput) << error.what();
        }
      }
    }
  }
}

TEST(Image, HugePicturesAreRefusedFromTheirHeader) {
  // A BMP and a JPEG header that promise 20000 x 20000 pixels and hold nothing.
  Bytes bmp = bmp_of(ramp(4, 4));
  bmp[18] = bmp[22] = 0x20;
  bmp[19] = bmp[23] = 0x4e;
  EXPECT_ERROR(Image::decode(bmp), kInput, "20000 x 20000 pixels, the limit is");
  Bytes jpeg = encode_jpeg(ramp(16, 16));
  size_t frame = 0;
  while (!(jpeg[frame] == 0xff && jpeg[frame + 1] == 0xc0)) ++frame;
  jpeg[frame + 5] = jpeg[frame + 7] = 0x4e;
  jpeg[frame + 6] = jpeg[frame + 8] = 0x20;
  EXPECT_ERROR(Image::decode(jpeg), kInput, "20000 x 20000 pixels, the limit is");
}

TEST(Image, CropAndGray) {
  const Image image = ramp(10, 8);
  const Image part = image.crop(3, 2, 4, 5);
  EXPECT_EQ(part.width(), 4);
  EXPECT_EQ(part.height(), 5);
  EXPECT_EQ(std::memcmp(part.row(1), image.row(3) + 9, 12), 0);
  EXPECT_ERROR(image.crop(7, 0, 4, 1), kUsage, "leaves the picture");
  EXPECT_ERROR(image.crop(-1, 0, 4, 1), kUsage, "leaves the picture");
  Image colours(3, 1, 3);
  const uint8_t rgb[] = {255, 0, 0, 0, 255, 0, 0, 0, 255};
  std::copy(std::begin(rgb), std::end(rgb), colours.pixels().begin());
  const Image gray = colours.to_gray();
  EXPECT_EQ(gray.row(0)[0], 76);
  EXPECT_EQ(gray.row(0)[1], 150);
  EXPECT_EQ(gray.row(0)[2], 29);
  EXPECT_ERROR(Image(0, 4, 3), kUsage, "no picture has");
}

TEST(Image, GoldenPicturesDecodeToTheSameBytes) {
  REQUIRE_SHARED(shared);
  std::set<std::string> seen;
  for (const auto& entry : std::filesystem::directory_iterator(shared / "golden/logits")) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream stream(entry.path());
    const nlohmann::json index = nlohmann::json::parse(stream);
    for (const nlohmann::json& item : index.at("items")) {
      const std::string file = item.at("image");
      if (!item.contains("decoded_rgb_sha256") || !seen.insert(file).second) continue;
      const Image image = Image::load(shared / "zoo" / file);
      EXPECT_EQ(image.width(), item.at("width"));
      EXPECT_EQ(image.height(), item.at("height"));
      EXPECT_EQ(sha256(image.pixels()), item.at("decoded_rgb_sha256").get<std::string>()) << file;
    }
  }
  EXPECT_GT(seen.size(), 20u);
}

TEST(Image, EveryPictureOfTheZooDecodes) {
  REQUIRE_SHARED(shared);
  int pictures = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(shared / "zoo/images")) {
    const std::string extension = entry.path().extension();
    if (extension != ".jpg" && extension != ".png") continue;
    EXPECT_FALSE(Image::load(entry.path()).empty());
    ++pictures;
  }
  EXPECT_GT(pictures, 500);
}

}  // namespace
}  // namespace camlucida
