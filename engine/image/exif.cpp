#include <cstring>

#include "engine/image/codec.h"

namespace camlucida::codec {
namespace {

constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kTypeShort = 3;
constexpr size_t kEntryBytes = 12;  // tag (2), type (2), count (4), value or offset (4)

/// Unsigned numbers of a TIFF block in its own byte order; reading past the end gives 0.
class TiffReader {
 public:
  explicit TiffReader(std::span<const uint8_t> bytes) : bytes_(bytes) {
    little_ = bytes.size() >= 2 && bytes[0] == 'I' && bytes[1] == 'I';
  }
  bool valid() const {
    return bytes_.size() >= 8 && (little_ || (bytes_[0] == 'M' && bytes_[1] == 'M')) &&
           number(2, 2) == 42;
  }
  uint32_t number(size_t at, size_t length) const {
    if (at > bytes_.size() || bytes_.size() - at < length) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < length; ++i) {
      const size_t shift = 8 * (little_ ? i : length - 1 - i);
      value |= uint32_t{bytes_[at + i]} << shift;
    }
    return value;
  }

 private:
  std::span<const uint8_t> bytes_;
  bool little_ = false;
};

}  // namespace

int exif_orientation(std::span<const uint8_t> tiff) {
  const TiffReader reader(tiff);
  if (!reader.valid()) return 1;
  const size_t directory = reader.number(4, 4);
  const uint32_t entries = reader.number(directory, 2);
  for (uint32_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (reader.number(entry, 2) != kOrientationTag) continue;
    if (reader.number(entry + 2, 2) != kTypeShort) return 1;
    const uint32_t value = reader.number(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(const Image& image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const int w = image.width();
  const int h = image.height();
  const bool transposed = orientation >= 5;
  Image result(transposed ? h : w, transposed ? w : h, image.channels());
  const size_t channels = static_cast<size_t>(image.channels());
  for (int y = 0; y < result.height(); ++y) {
    uint8_t* to = result.row(y);
    for (int x = 0; x < result.width(); ++x, to += channels) {
      // Where the stored picture keeps what belongs at (x, y).
      int from_x = transposed ? y : x;
      int from_y = transposed ? x : y;
      if (orientation == 2 || orientation == 3 || orientation >= 7) from_x = w - 1 - from_x;
      if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) {
        from_y = h - 1 - from_y;
      }
      std::memcpy(to, image.row(from_y) + static_cast<size_t>(from_x) * channels, channels);
    }
  }
  return result;
}

}  // namespace camlucida::codec
