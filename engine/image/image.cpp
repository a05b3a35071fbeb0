#include "engine/image/image.h"

#include <cstring>
#include <new>
#include <string_view>

#include "engine/error.h"
#include "engine/fs.h"
#include "engine/image/codec.h"

namespace camlucida {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

/// What the first bytes of a file say it is.
enum class Format { kJpeg, kPng, kBmp, kOther };

struct Signature {
  size_t offset;
  std::string_view bytes;
  Format format;
  std::string_view name;
};

using std::string_view_literals::operator""sv;
constexpr Signature kSignatures[] = {
    {0, "\xff\xd8\xff"sv, Format::kJpeg, "JPEG"},
    {0, "\x89PNG\r\n\x1a\n"sv, Format::kPng, "PNG"},
    {0, "BM"sv, Format::kBmp, "BMP"},
    {0, "GIF8"sv, Format::kOther, "GIF"},
    {8, "WEBP"sv, Format::kOther, "WebP"},
    {0, "II*\0"sv, Format::kOther, "TIFF"},
    {0, "MM\0*"sv, Format::kOther, "TIFF"},
    {4, "ftypheic"sv, Format::kOther, "HEIC"},
    {4, "ftypmif1"sv, Format::kOther, "HEIF"},
    {4, "ftypavif"sv, Format::kOther, "AVIF"},
    {0, "\x93NUMPY"sv, Format::kOther, "NumPy array"},
};

const Signature* recognise(std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Signature& signature : kSignatures) {
    if (text.size() >= signature.offset &&
        text.substr(signature.offset).starts_with(signature.bytes)) {
      return &signature;
    }
  }
  return nullptr;
}

Image decode_any(std::span<const uint8_t> bytes, const std::string& name) {
  const std::string convert = "convert it to JPEG or PNG";
  if (bytes.empty()) codec::refuse(name, "the file is empty");
  const Signature* signature = recognise(bytes);
  if (signature == nullptr) codec::refuse(name, "not a JPEG, PNG or BMP file", convert);
  switch (signature->format) {
    case Format::kJpeg: {
      int orientation = 1;
      const Image stored = codec::decode_jpeg(bytes, name, &orientation);
      return codec::upright(stored, orientation);
    }
    case Format::kPng:
      return codec::decode_png(bytes, name);
    case Format::kBmp:
      return codec::decode_bmp(bytes, name);
    case Format::kOther:
      break;
  }
  codec::refuse(name, std::string(signature->name) + " files are not supported", convert);
}

}  // namespace

namespace codec {

void refuse(const std::string& name, const std::string& why, const std::string& hint) {
  throw Error(ErrorKind::kInput, "cannot decode picture '" + name + "': " + why, hint);
}

void check_size(int64_t width, int64_t height, const std::string& name) {
  const std::string size = std::to_string(width) + " x " + std::to_string(height);
  if (width <= 0 || height <= 0) refuse(name, "its size is " + size);
  if (width > Image::kMaxPixels / height) {
    refuse(name, size + " pixels, the limit is " + std::to_string(Image::kMaxPixels) + " in all",
           "scale or cut the picture");
  }
}

}  // namespace codec

Image::Image(int width, int height, int channels)
    : width_(width), height_(height), channels_(channels) {
  if (width <= 0 || height <= 0 || (channels != 1 && channels != 3)) {
    throw Error(ErrorKind::kUsage, "no picture has " + std::to_string(width) + " x " +
                                       std::to_string(height) + " pixels and " +
                                       std::to_string(channels) + " channels");
  }
  try {
    pixels_.resize(stride() * static_cast<size_t>(height));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kResource, "not enough memory for a picture of " +
                                          std::to_string(width) + " x " + std::to_string(height));
  }
}

Image Image::load(const std::filesystem::path& path) {
  return decode(read_file(path, kMaxFileBytes, "picture"), path.string());
}

Image Image::decode(std::span<const uint8_t> bytes, const std::string& name) {
  try {
    return decode_any(bytes, name);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kResource, "not enough memory to decode picture '" + name + "'");
  }
}

Image Image::to_gray() const {
  if (channels_ == 1) return *this;
  Image gray(width_, height_, 1);
  const uint8_t* rgb = pixels_.data();
  for (uint8_t& luma : gray.pixels_) {
    luma = static_cast<uint8_t>((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) >> 16);
    rgb += 3;
  }
  return gray;
}

Image Image::crop(int x, int y, int width, int height) const {
  if (x < 0 || y < 0 || width <= 0 || height <= 0 || width > width_ - x || height > height_ - y) {
    throw Error(ErrorKind::kUsage, "a crop of " + std::to_string(width) + " x " +
                                       std::to_string(height) + " at (" + std::to_string(x) + ", " +
                                       std::to_string(y) + ") leaves the picture of " +
                                       std::to_string(width_) + " x " + std::to_string(height_));
  }
  Image part(width, height, channels_);
  for (int row_index = 0; row_index < height; ++row_index) {
    const size_t skip = static_cast<size_t>(x) * static_cast<size_t>(channels_);
    std::memcpy(part.row(row_index), row(y + row_index) + skip, part.stride());
  }
  return part;
}

std::vector<uint8_t> Image::encode_png() const {
  if (empty()) throw Error(ErrorKind::kUsage, "an empty picture cannot be written");
  return codec::encode_png(*this);
}

void Image::save_png(const std::filesystem::path& path) const {
  write_file_atomic(path, encode_png());
}

}  // namespace camlucida
