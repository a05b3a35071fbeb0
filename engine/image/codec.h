#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/image/image.h"

/// The decoders behind Image::decode. Each takes a whole file and gives RGB; `name` stands for the
/// file in messages. All throw Error(kInput) for what they cannot read and check the size of the
/// picture before taking memory.
namespace camlucida::codec {

/// Throws the Error(kInput) that all decoders use: "cannot decode picture 'name': why; hint".
[[noreturn]] void refuse(const std::string& name, const std::string& why,
                         const std::string& hint = "export or copy the picture again");
/// Throws Error(kInput) if a side is not positive or the picture exceeds Image::kMaxPixels.
void check_size(int64_t width, int64_t height, const std::string& name);

/// libjpeg-turbo. Pictures that end early or hold damaged data are refused, not half gray.
/// `orientation` receives the EXIF value (1 to 8, 1 = upright), the picture is as stored.
Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& name, int* orientation);

/// stb_image. Checksums (PNG) and length (BMP) are verified first, because stb_image does not.
Image decode_png(std::span<const uint8_t> bytes, const std::string& name);
Image decode_bmp(std::span<const uint8_t> bytes, const std::string& name);
std::vector<uint8_t> encode_png(const Image& image);

/// Orientation tag (0x0112) of an EXIF block that starts with a TIFF header; 1 if there is none or
/// the block is damaged: a picture is never refused for its metadata.
int exif_orientation(std::span<const uint8_t> tiff);
/// Turns a picture upright that was stored with this EXIF orientation.
Image upright(const Image& image, int orientation);

}  // namespace camlucida::codec
