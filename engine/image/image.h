#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace camlucida {

/// An 8-bit picture, row by row from the top, channels interleaved: RGB (3) or gray (1). A value
/// type that owns its pixels; copying copies them.
///
/// Decoding reads JPEG, PNG and BMP and always gives RGB, the way Pillow's convert("RGB") does, so
/// that a network sees the bytes it was trained on: gray is repeated, a palette looked up, 16 bits
/// cut to the upper 8, transparency dropped (not blended: hidden pixels keep their stored colour),
/// colour profiles ignored. JPEG bytes equal those of libjpeg-turbo. Unlike Pillow's plain open, a
/// JPEG is turned upright by its EXIF orientation.
class Image {
 public:
  /// Larger pictures are refused before memory is taken (16384 x 16384).
  static constexpr int64_t kMaxPixels = int64_t{1} << 28;

  Image() = default;  ///< empty, 0 x 0
  /// Black. Throws Error(kUsage) unless both sides are positive and channels is 1 or 3,
  /// Error(kResource) if the memory cannot be had.
  Image(int width, int height, int channels);

  /// Throws Error(kInput), naming the file: missing, empty, of an unknown kind, damaged, truncated
  /// or larger than kMaxPixels; Error(kResource) if memory runs out.
  static Image load(const std::filesystem::path& path);
  /// The same from memory; `name` stands for the file in messages.
  static Image decode(std::span<const uint8_t> bytes, const std::string& name = "picture");

  int width() const { return width_; }
  int height() const { return height_; }
  int channels() const { return channels_; }
  bool empty() const { return pixels_.empty(); }

  /// All height * width * channels bytes.
  std::span<const uint8_t> pixels() const { return pixels_; }
  std::span<uint8_t> pixels() { return pixels_; }
  /// First byte of row `y`, which is not checked.
  const uint8_t* row(int y) const { return pixels_.data() + stride() * static_cast<size_t>(y); }
  uint8_t* row(int y) { return pixels_.data() + stride() * static_cast<size_t>(y); }
  size_t stride() const { return static_cast<size_t>(width_) * static_cast<size_t>(channels_); }

  /// Luma (19595 R + 38470 G + 7471 B + 32768) >> 16, ITU-R BT.601 in 16-bit fixed point.
  Image to_gray() const;
  /// The rectangle with its upper left corner at (x, y), which must lie inside; Error(kUsage).
  Image crop(int x, int y, int width, int height) const;

  std::vector<uint8_t> encode_png() const;
  /// Writes a PNG file atomically: never a partial file. Throws Error(kResource).
  void save_png(const std::filesystem::path& path) const;

  bool operator==(const Image&) const = default;

 private:
  int width_ = 0;
  int height_ = 0;
  int channels_ = 3;
  std::vector<uint8_t> pixels_;
};

}  // namespace camlucida
