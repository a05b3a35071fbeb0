#include "engine/fs.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <new>
#include <system_error>

#include "engine/error.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;

std::string reason(int code) { return std::generic_category().message(code); }

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

/// Opens a regular file for reading and says how long it is.
File open_for_reading(const fs::path& path, std::string_view what, uint64_t* size) {
  const std::string failed = "cannot read " + std::string(what) + " '" + path.string() + "'";
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (!fs::exists(status)) {
    throw Error(ErrorKind::kInput, failed + ": " + code.message(), "check the path");
  }
  if (!fs::is_regular_file(status)) {
    throw Error(ErrorKind::kInput, failed + ": not a regular file", "give the path of a file");
  }
  errno = 0;
  File file(std::fopen(path.c_str(), "rb"));
  if (!file) throw Error(ErrorKind::kInput, failed + ": " + reason(errno), "check permissions");
  *size = fs::file_size(path, code);
  if (code) throw Error(ErrorKind::kInput, failed + ": " + code.message());
  return file;
}

void check_read(std::FILE* file, const fs::path& path) {
  if (std::ferror(file)) {
    throw Error(ErrorKind::kInput, "cannot read '" + path.string() + "': " + reason(errno));
  }
}

[[noreturn]] void throw_write_error(const fs::path& path, const std::string& why) {
  throw Error(ErrorKind::kResource, "cannot write '" + path.string() + "': " + why,
              "check that the folder exists, is writable and has free space");
}

/// Writes and closes; returns 0 or the errno of the first failure. Closing counts: with buffering
/// and on network file systems a full disk may show only there.
int write_and_close(File file, std::span<const uint8_t> bytes) {
  errno = 0;
  const size_t written = std::fwrite(bytes.data(), 1, bytes.size(), file.get());
  const int write_error = written == bytes.size() ? 0 : (errno != 0 ? errno : EIO);
  const int close_error = std::fclose(file.release()) == 0 ? 0 : (errno != 0 ? errno : EIO);
  return write_error != 0 ? write_error : close_error;
}

}  // namespace

std::vector<uint8_t> read_file(const fs::path& path, uint64_t max_bytes, std::string_view what) {
  uint64_t size = 0;
  const File file = open_for_reading(path, what, &size);
  if (size > max_bytes) {
    throw Error(ErrorKind::kInput,
                std::string(what) + " '" + path.string() + "' has " + std::to_string(size) +
                    " bytes, the limit is " + std::to_string(max_bytes),
                "give a smaller file");
  }
  std::vector<uint8_t> bytes;
  try {
    bytes.resize(static_cast<size_t>(size));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kResource, "not enough memory to read '" + path.string() + "' (" +
                                          std::to_string(size) + " bytes)");
  }
  const size_t got = std::fread(bytes.data(), 1, bytes.size(), file.get());
  check_read(file.get(), path);
  bytes.resize(got);
  return bytes;
}

void write_file_atomic(const fs::path& path, std::span<const uint8_t> bytes) {
  std::error_code code;
  fs::path target = path;
  if (fs::is_symlink(path, code)) target = fs::weakly_canonical(path, code);
  const fs::file_status status = fs::status(target, code);
  if (fs::is_directory(status)) throw_write_error(path, "is a folder");

  if (fs::exists(status) && !fs::is_regular_file(status)) {
    // Renaming over a device or pipe would destroy it.
    File file(std::fopen(target.c_str(), "wb"));
    if (!file) throw_write_error(path, reason(errno));
    if (const int error = write_and_close(std::move(file), bytes)) {
      throw_write_error(path, reason(error));
    }
    return;
  }

  static std::atomic<uint64_t> counter{0};
  fs::path temporary = target;
  temporary += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
  File file(std::fopen(temporary.c_str(), "wbx"));
  if (!file) throw_write_error(path, reason(errno));
  if (const int error = write_and_close(std::move(file), bytes)) {
    fs::remove(temporary, code);
    throw_write_error(path, reason(error));
  }
  fs::rename(temporary, target, code);
  if (code) {
    const std::string why = code.message();
    fs::remove(temporary, code);
    throw_write_error(path, why);
  }
}

void write_file_atomic(const fs::path& path, std::string_view text) {
  const auto* data = reinterpret_cast<const uint8_t*>(text.data());
  write_file_atomic(path, std::span<const uint8_t>(data, text.size()));
}

namespace {

// First 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4).
constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// First 32 bits of the fractional parts of the square roots of the first eight primes.
constexpr uint32_t kInitial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

uint32_t load_big_endian(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

}  // namespace

Sha256::Sha256() { std::copy(std::begin(kInitial), std::end(kInitial), state_); }

void Sha256::compress(const uint8_t* block) {
  uint32_t w[64];
  for (int t = 0; t < 16; ++t) w[t] = load_big_endian(block + 4 * t);
  for (int t = 16; t < 64; ++t) {
    const uint32_t s0 = std::rotr(w[t - 15], 7) ^ std::rotr(w[t - 15], 18) ^ (w[t - 15] >> 3);
    const uint32_t s1 = std::rotr(w[t - 2], 17) ^ std::rotr(w[t - 2], 19) ^ (w[t - 2] >> 10);
    w[t] = w[t - 16] + s0 + w[t - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (int t = 0; t < 64; ++t) {
    const uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const uint32_t choice = (e & f) ^ (~e & g);
    const uint32_t t1 = h + sum1 + choice + kRound[t] + w[t];
    const uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    const uint32_t t2 = sum0 + majority;
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  const uint32_t round[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) state_[i] += round[i];
}

void Sha256::update(std::span<const uint8_t> bytes) {
  total_ += bytes.size();
  while (!bytes.empty()) {
    if (used_ == 0 && bytes.size() >= sizeof(block_)) {
      compress(bytes.data());
      bytes = bytes.subspan(sizeof(block_));
      continue;
    }
    const size_t n = std::min(bytes.size(), sizeof(block_) - used_);
    std::copy_n(bytes.begin(), n, block_ + used_);
    used_ += n;
    bytes = bytes.subspan(n);
    if (used_ == sizeof(block_)) {
      compress(block_);
      used_ = 0;
    }
  }
}

std::string Sha256::finish() {
  // Padding: a one bit, zeros up to 56 bytes modulo 64, then the length in bits as 64-bit number.
  const uint64_t bits = total_ * 8;
  uint8_t padding[72] = {0x80};
  const size_t zeros_end = used_ < 56 ? 56 - used_ : 120 - used_;
  for (int i = 0; i < 8; ++i) {
    padding[zeros_end + static_cast<size_t>(i)] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  }
  update({padding, zeros_end + 8});

  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) hex += kDigits[(word >> shift) & 15];
  }
  return hex;
}

std::string sha256(std::span<const uint8_t> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

std::string sha256_file(const fs::path& path) { return sha256_files({path}); }

std::string sha256_files(const std::vector<fs::path>& paths) {
  Sha256 hash;
  std::vector<uint8_t> piece(1 << 20);
  for (const fs::path& path : paths) {
    uint64_t size = 0;
    const File file = open_for_reading(path, "file", &size);
    while (const size_t n = std::fread(piece.data(), 1, piece.size(), file.get())) {
      hash.update({piece.data(), n});
    }
    check_read(file.get(), path);
  }
  return hash.finish();
}

}  // namespace camlucida
