#include <csetjmp>
#include <cstdio>
#include <cstring>

// jpeglib.h needs size_t and FILE from the headers above.
#include <jerror.h>
#include <jpeglib.h>

#include "engine/image/codec.h"

namespace camlucida::codec {
namespace {

// A progressive file of a few kilobytes can ask for thousands of passes over a huge picture.
constexpr int kMaxScans = 500;
constexpr unsigned kExifMarker = JPEG_APP0 + 1;

/// State of one decoding. libjpeg reports errors through callbacks that must not return;
/// `longjmp` leads back into the function that called the library, which therefore keeps no C++
/// objects of its own.
struct Decoder {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX] = "";

  Decoder();
  ~Decoder() { jpeg_destroy_decompress(&info); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
};

[[noreturn]] void on_error(j_common_ptr common) {
  Decoder* decoder = static_cast<Decoder*>(common->client_data);
  common->err->format_message(common, decoder->message);
  std::longjmp(decoder->escape, 1);
}

/// libjpeg calls damaged data a warning and goes on with gray; here it is an error.
void on_message(j_common_ptr common, int level) {
  if (level >= 0) return;  // trace
  switch (common->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:  // padding between segments
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_BOGUS_ICC:
      return;
    default:
      on_error(common);
  }
}

void on_progress(j_common_ptr common) {
  Decoder* decoder = static_cast<Decoder*>(common->client_data);
  if (decoder->info.input_scan_number <= kMaxScans) return;
  std::snprintf(decoder->message, sizeof(decoder->message), "more than %d scans", kMaxScans);
  std::longjmp(decoder->escape, 1);
}

Decoder::Decoder() {
  std::memset(&info, 0, sizeof(info));
  std::memset(&progress, 0, sizeof(progress));
  info.err = jpeg_std_error(&errors);
  errors.error_exit = on_error;
  errors.emit_message = on_message;
  info.client_data = this;
  progress.progress_monitor = on_progress;
}

bool read_header(Decoder* decoder, const uint8_t* bytes, size_t count) {
  if (setjmp(decoder->escape) != 0) return false;
  jpeg_decompress_struct* info = &decoder->info;
  jpeg_create_decompress(info);
  info->progress = &decoder->progress;
  jpeg_mem_src(info, bytes, static_cast<unsigned long>(count));
  jpeg_save_markers(info, static_cast<int>(kExifMarker), 0xffff);
  jpeg_read_header(info, TRUE);
  const bool four_inks = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
  info->out_color_space = four_inks ? JCS_CMYK : JCS_RGB;
  return true;
}

bool read_pixels(Decoder* decoder, uint8_t* pixels, size_t stride) {
  if (setjmp(decoder->escape) != 0) return false;
  jpeg_decompress_struct* info = &decoder->info;
  jpeg_start_decompress(info);
  while (info->output_scanline < info->output_height) {
    JSAMPROW row = pixels + stride * info->output_scanline;
    jpeg_read_scanlines(info, &row, 1);
  }
  jpeg_finish_decompress(info);
  return true;
}

int orientation_of(const jpeg_decompress_struct& info) {
  constexpr char kSignature[6] = {'E', 'x', 'i', 'f', '\0', '\0'};
  for (jpeg_saved_marker_ptr m = info.marker_list; m != nullptr; m = m->next) {
    if (m->marker != kExifMarker || m->data_length < sizeof(kSignature)) continue;
    if (std::memcmp(m->data, kSignature, sizeof(kSignature)) != 0) continue;
    return exif_orientation(std::span<const uint8_t>(m->data, m->data_length).subspan(6));
  }
  return 1;
}

/// round(a * b / 255) for bytes.
int scale_byte(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/// Ink bytes are stored inverted, as Adobe's programs write them: 255 = no ink. The picture is
/// R = K - K C, and likewise G and B.
void inks_to_rgb(const uint8_t* inks, uint8_t* rgb, size_t pixels) {
  for (size_t i = 0; i < pixels; ++i, inks += 4, rgb += 3) {
    const int light = inks[3];
    for (int c = 0; c < 3; ++c) {
      rgb[c] = static_cast<uint8_t>(light - scale_byte(255 - inks[c], light));
    }
  }
}

}  // namespace

Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& name, int* orientation) {
  Decoder decoder;
  if (!read_header(&decoder, bytes.data(), bytes.size())) refuse(name, decoder.message);
  const int width = static_cast<int>(decoder.info.image_width);
  const int height = static_cast<int>(decoder.info.image_height);
  check_size(width, height, name);
  *orientation = orientation_of(decoder.info);

  Image image(width, height, 3);
  if (decoder.info.out_color_space == JCS_RGB) {
    if (!read_pixels(&decoder, image.pixels().data(), image.stride())) {
      refuse(name, decoder.message);
    }
    return image;
  }
  const size_t pixels = static_cast<size_t>(width) * static_cast<size_t>(height);
  std::vector<uint8_t> inks(pixels * 4);
  if (!read_pixels(&decoder, inks.data(), static_cast<size_t>(width) * 4)) {
    refuse(name, decoder.message);
  }
  inks_to_rgb(inks.data(), image.pixels().data(), pixels);
  return image;
}

}  // namespace camlucida::codec
