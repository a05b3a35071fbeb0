#include "explain/colormap.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <span>

#include "engine/error.h"

namespace camlucida {
namespace {

/// Colours (0xrrggbb) at equal distances from 0 to 1, linear in between. Jet, gray, bwr and seismic
/// are defined that way: jet is red min(4v - 1.5, 4.5 - 4v), green and blue the same a quarter and
/// two quarters earlier, cut to [0, 1]. The others are the published palettes at 17 places, which
/// keeps every channel within 8 levels of them: viridis, inferno and magma by van der Walt and
/// Smith (CC0), turbo by Mikhailov, coolwarm by Moreland (2009).
constexpr uint32_t kJetColours[] = {0x000080, 0x0000ff, 0x0080ff, 0x00ffff, 0x80ff80,
                                    0xffff00, 0xff8000, 0xff0000, 0x800000};
constexpr uint32_t kViridisColours[] = {0x440154, 0x48186a, 0x472d7b, 0x424086, 0x3b528b, 0x33638d,
                                        0x2c728e, 0x26818e, 0x21908c, 0x1f9f88, 0x28ae80, 0x3ebc74,
                                        0x5dc963, 0x82d34c, 0xabdc32, 0xd5e21a, 0xfde725};
constexpr uint32_t kInfernoColours[] = {0x000004, 0x0b0724, 0x210c4a, 0x3c0965, 0x57106d, 0x70196e,
                                        0x89226a, 0xa32b61, 0xbb3755, 0xd14644, 0xe35932, 0xf1711e,
                                        0xf98d0a, 0xfcab0f, 0xf9ca32, 0xf2e865, 0xfcffa4};
constexpr uint32_t kMagmaColours[] = {0x000004, 0x0a0822, 0x1d1146, 0x36106a, 0x50127c, 0x691c81,
                                      0x822681, 0x9c2e7f, 0xb63779, 0xcf4170, 0xe65163, 0xf5695c,
                                      0xfb8761, 0xfea571, 0xfec387, 0xfde0a2, 0xfcfdbf};
constexpr uint32_t kTurboColours[] = {0x30123b, 0x4040a1, 0x466be3, 0x4293ff, 0x29bbec, 0x18dcc3,
                                      0x31f299, 0x6bfd64, 0xa3fd3c, 0xcced34, 0xedd03a, 0xfdae35,
                                      0xfb8022, 0xec520f, 0xd23105, 0xac1701, 0x7a0403};
constexpr uint32_t kGrayColours[] = {0x000000, 0xffffff};
constexpr uint32_t kBwrColours[] = {0x0000ff, 0xffffff, 0xff0000};
constexpr uint32_t kSeismicColours[] = {0x00004d, 0x0000ff, 0xffffff, 0xff0000, 0x800000};
constexpr uint32_t kCoolwarmColours[] = {0x3b4cc0, 0x4d68d7, 0x6282ea, 0x779af7, 0x8db0fe, 0xa3c2fe,
                                         0xb8d0f9, 0xccd9ee, 0xdddddd, 0xecd3c5, 0xf4c4ad, 0xf7b194,
                                         0xf49a7b, 0xec7f63, 0xde604d, 0xcb3e38, 0xb40426};

struct Palette {
  Colormap colormap;
  const char* name;
  std::span<const uint32_t> colours;
  bool diverging;
};

// In the order of the enumeration.
constexpr Palette kPalettes[] = {
    {Colormap::kJet, "jet", kJetColours, false},
    {Colormap::kViridis, "viridis", kViridisColours, false},
    {Colormap::kInferno, "inferno", kInfernoColours, false},
    {Colormap::kMagma, "magma", kMagmaColours, false},
    {Colormap::kTurbo, "turbo", kTurboColours, false},
    {Colormap::kGray, "gray", kGrayColours, false},
    {Colormap::kBwr, "bwr", kBwrColours, true},
    {Colormap::kSeismic, "seismic", kSeismicColours, true},
    {Colormap::kCoolwarm, "coolwarm", kCoolwarmColours, true},
};

const Palette& palette_of(Colormap colormap) { return kPalettes[static_cast<size_t>(colormap)]; }

}  // namespace

Rgb colour(Colormap colormap, double value) {
  const std::span<const uint32_t> colours = palette_of(colormap).colours;
  const double last = static_cast<double>(colours.size() - 1);
  const double position = std::isnan(value) ? 0.0 : std::clamp(value, 0.0, 1.0) * last;
  const size_t lower = std::min(static_cast<size_t>(position), colours.size() - 2);
  const double fraction = position - static_cast<double>(lower);
  const auto channel = [&](int shift) {
    const double a = (colours[lower] >> shift) & 0xff;
    const double b = (colours[lower + 1] >> shift) & 0xff;
    return static_cast<uint8_t>(std::lround(a + (b - a) * fraction));
  };
  return {channel(16), channel(8), channel(0)};
}

bool is_diverging(Colormap colormap) { return palette_of(colormap).diverging; }

const char* name_of(Colormap colormap) { return palette_of(colormap).name; }

std::vector<std::string> colormap_names() {
  std::vector<std::string> names;
  for (const Palette& palette : kPalettes) names.push_back(palette.name);
  return names;
}

Colormap colormap_of(const std::string& name) {
  std::string lower = name;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string known;
  for (const Palette& palette : kPalettes) {
    if (lower == palette.name) return palette.colormap;
    if (!known.empty()) known += ", ";
    known += palette.name;
  }
  throw Error(ErrorKind::kUsage, "unknown palette '" + name + "'", "known are " + known);
}

}  // namespace camlucida
