#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

/// The native model format, `.clm`: one file that is mapped into memory and used in place.
///
///     offset  bytes
///          0      8  magic 89 'C' 'L' 'M' 0d 0a 1a 0a (a text-mode copy damages it visibly)
///          8      4  version
///         12      4  bytes of this header, 64
///         16      8  bytes of the file
///         24      8  offset of the description
///         32      8  bytes of the description
///         40      8  checksum of the description
///         48      8  zero
///         56      8  checksum of the 56 bytes before
///         64         tensors, each at a multiple of 64
///          …         description: manifest, labels, values, nodes; see writer.cpp for its order
///
/// Little-endian throughout; strings are a 32-bit length and UTF-8, lists a 32-bit count and their
/// elements. A tensor's entry in the description has element type, shape, storage form, offset,
/// bytes and checksum. The description comes last so that a file can be written in one pass.
namespace camlucida::native {

static_assert(std::endian::native == std::endian::little, ".clm files are mapped as they are");

constexpr std::array<unsigned char, 8> kMagic = {0x89, 'C', 'L', 'M', '\r', '\n', 0x1a, '\n'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kHeaderBytes = 64;
constexpr uint64_t kAlignment = 64;

/// How the elements of a tensor lie in the file.
enum class Storage : uint8_t {
  kPlain = 0,    ///< as in memory: used in place
  kFloat16 = 1,  ///< float32 tensor, rounded to half precision
  kInt8 = 2,     ///< float32 tensor: one float32 scale per entry of axis 0, then int8 elements
};

/// 64 bits that change if any bit of `bytes` does: four interleaved multiply-xor lanes, so that it
/// runs at the speed of memory. Not cryptographic; it finds damage, not malice.
inline uint64_t checksum(std::span<const std::byte> bytes) {
  constexpr uint64_t kPrime = 0x9e3779b97f4a7c15u;
  std::array<uint64_t, 4> lanes = {1, 2, 3, 4};
  const std::byte* data = bytes.data();
  size_t left = bytes.size();
  const auto mix = [&](uint64_t& lane, uint64_t word) {
    lane = (lane ^ word) * kPrime;
    lane ^= lane >> 29;
  };
  for (; left >= 32; left -= 32, data += 32) {
    std::array<uint64_t, 4> words;
    std::memcpy(words.data(), data, 32);
    for (size_t i = 0; i < 4; ++i) mix(lanes[i], words[i]);
  }
  for (size_t i = 0; left > 0; ++i) {
    uint64_t word = 0;
    const size_t used = left < 8 ? left : 8;
    std::memcpy(&word, data, used);
    mix(lanes[i % 4], word);
    data += used;
    left -= used;
  }
  uint64_t result = bytes.size();
  for (const uint64_t lane : lanes) mix(result, lane);
  return result;
}

}  // namespace camlucida::native
