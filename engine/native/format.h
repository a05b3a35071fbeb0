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
constexpr uint32_t kVersion = 2;
constexpr uint64_t kHeaderBytes = 64;
constexpr uint64_t kAlignment = 64;

/// How the elements of a tensor lie in the file.
enum class Storage : uint8_t {
  kPlain = 0,    ///< as in memory: used in place
  kFloat16 = 1,  ///< float32 tensor, rounded to half precision
  kInt8 = 2,     ///< float32 tensor: one float32 scale per entry of axis 0, then int8 elements
};

/// 64 bits that depend on every bit of `bytes`, made at the speed of memory: eight lanes that do
/// not wait for each other, each taking two words with one multiplication,
///
///     lane = high half ^ low half of the 128 bits of (lane ^ first) * (multiplier ^ second)
///
/// so that a changed bit changes half of those after it. Damage goes unnoticed with a chance of
/// about 2^-64. Not cryptographic: it finds damage, not malice.
inline uint64_t checksum(std::span<const std::byte> bytes) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
  constexpr size_t kLanes = 8;
  constexpr size_t kBlock = kLanes * 2 * sizeof(uint64_t);
  const auto fold = [](uint64_t a, uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product >> 64) ^ static_cast<uint64_t>(product);
  };
  // Nothing that tensors hold: a factor of zero would hide the other word.
  std::array<uint64_t, kLanes> lanes;
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = (i + 1) * 0xd6e8feb86659fd93u;
  const auto take_block = [&](const std::byte* block) {
    for (size_t i = 0; i < kLanes; ++i) {
      std::array<uint64_t, 2> words;
      std::memcpy(words.data(), block + i * sizeof words, sizeof words);
      lanes[i] = fold(lanes[i] ^ words[0], kMultiplier ^ words[1]);
    }
  };
  const std::byte* data = bytes.data();
  size_t left = bytes.size();
  for (; left >= kBlock; left -= kBlock, data += kBlock) take_block(data);
  if (left > 0) {
    std::array<std::byte, kBlock> rest = {};
    std::memcpy(rest.data(), data, left);
    take_block(rest.data());
  }
  uint64_t result = bytes.size();
  for (const uint64_t lane : lanes) result = fold(result ^ lane, kMultiplier);
  return result;
}

}  // namespace camlucida::native
