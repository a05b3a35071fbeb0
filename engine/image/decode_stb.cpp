#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "engine/error.h"
#include "engine/image/codec.h"

namespace {

/// Largest single block stb_image may take in this thread: a small PNG file can unpack to gigabytes
/// that its header says nothing about.
thread_local size_t allocation_limit = 0;

void* limited_malloc(size_t bytes) {
  return bytes > allocation_limit ? nullptr : std::malloc(bytes);
}
void* limited_realloc(void* block, size_t bytes) {
  return bytes > allocation_limit ? nullptr : std::realloc(block, bytes);
}

}  // namespace

#define STBI_MALLOC(bytes) limited_malloc(bytes)
#define STBI_REALLOC(block, bytes) limited_realloc(block, bytes)
#define STBI_FREE(block) std::free(block)
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

namespace camlucida::codec {
namespace {

struct FreeBlock {
  void operator()(uint8_t* block) const { std::free(block); }
};
using Block = std::unique_ptr<uint8_t, FreeBlock>;

uint32_t big_endian(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

int64_t little_endian(const uint8_t* p, int bytes) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= uint32_t{p[i]} << (8 * i);
  return bytes == 4 ? int64_t{static_cast<int32_t>(value)} : int64_t{value};
}

/// CRC-32 of PNG (ISO 3309): polynomial 0xedb88320, bits reversed.
uint32_t crc32(std::span<const uint8_t> bytes) {
  static const std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      table[i] = i;
      for (int bit = 0; bit < 8; ++bit) {
        table[i] = (table[i] >> 1) ^ (table[i] & 1 ? 0xedb88320u : 0u);
      }
    }
    return table;
  }();
  uint32_t crc = 0xffffffff;
  for (const uint8_t byte : bytes) crc = kTable[(crc ^ byte) & 0xff] ^ (crc >> 8);
  return ~crc;
}

/// Walks over the chunks (length, type, data, CRC) up to IEND and verifies their checksums.
void check_png(std::span<const uint8_t> bytes, const std::string& name) {
  constexpr size_t kSignatureBytes = 8;
  size_t at = kSignatureBytes;
  while (true) {
    if (bytes.size() < at + 12) refuse(name, "truncated PNG file");
    const size_t length = big_endian(bytes.data() + at);
    if (bytes.size() - at - 12 < length) refuse(name, "truncated PNG file");
    const std::span<const uint8_t> typed = bytes.subspan(at + 4, length + 4);
    const std::string type(typed.begin(), typed.begin() + 4);
    const bool critical = (typed[0] & 0x20) == 0;
    if (critical && crc32(typed) != big_endian(bytes.data() + at + 8 + length)) {
      refuse(name, "damaged PNG file: checksum of its " + type + " data is wrong");
    }
    if (type == "IEND") return;
    at += 12 + length;
  }
}

Image decode_with_stb(std::span<const uint8_t> bytes, const std::string& name) {
  constexpr size_t kSlack = 1 << 16;
  const int count = static_cast<int>(bytes.size());
  allocation_limit = kSlack;
  int width = 0;
  int height = 0;
  int components = 0;
  if (!stbi_info_from_memory(bytes.data(), count, &width, &height, &components)) {
    refuse(name, stbi_failure_reason());
  }
  check_size(width, height, name);

  // Up to four components of two bytes and one filter byte per row; buffers grow by doubling.
  const size_t unpacked = static_cast<size_t>(height) * (static_cast<size_t>(width) * 8 + 8);
  allocation_limit = kSlack + 2 * std::max(bytes.size(), unpacked);
  const Block decoded(stbi_load_from_memory(bytes.data(), count, &width, &height, &components, 3));
  if (!decoded) refuse(name, stbi_failure_reason());
  Image image(width, height, 3);
  std::memcpy(image.pixels().data(), decoded.get(), image.pixels().size());
  return image;
}

}  // namespace

Image decode_png(std::span<const uint8_t> bytes, const std::string& name) {
  check_png(bytes, name);
  return decode_with_stb(bytes, name);
}

Image decode_bmp(std::span<const uint8_t> bytes, const std::string& name) {
  // File header: 10 = offset of the pixels. Info header from 14: 18 width, 22 height (negative: top
  // row first), 28 bits per pixel; the old 12-byte header has 16-bit fields at 18, 20 and 24.
  constexpr size_t kShortestHeader = 26;
  constexpr size_t kInfoHeader = 34;
  const bool old = bytes.size() >= 18 && little_endian(bytes.data() + 14, 4) == 12;
  if (bytes.size() < (old ? kShortestHeader : kInfoHeader)) refuse(name, "truncated BMP file");
  const uint8_t* p = bytes.data();
  const int64_t offset = little_endian(p + 10, 4);
  const int64_t width = old ? little_endian(p + 18, 2) : little_endian(p + 18, 4);
  const int64_t height = std::abs(old ? little_endian(p + 20, 2) : little_endian(p + 22, 4));
  const int64_t bits = little_endian(p + (old ? 24 : 28), 2);
  check_size(width, height, name);
  const int64_t row_bytes = (width * bits + 31) / 32 * 4;
  if (offset < 0 || offset + row_bytes * height > static_cast<int64_t>(bytes.size())) {
    refuse(name, "truncated BMP file (or run-length coded, which is not supported)");
  }
  return decode_with_stb(bytes, name);
}

std::vector<uint8_t> encode_png(const Image& image) {
  int length = 0;
  const Block file(stbi_write_png_to_mem(image.pixels().data(), static_cast<int>(image.stride()),
                                         image.width(), image.height(), image.channels(), &length));
  if (!file) throw Error(ErrorKind::kResource, "not enough memory to encode a PNG file");
  return std::vector<uint8_t>(file.get(), file.get() + length);
}

}  // namespace camlucida::codec
