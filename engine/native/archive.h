#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/error.h"

/// Two archives with one interface, so that one function per type fixes the order in which it is
/// stored, for writing and reading alike:
///
///     template <class Archive> void store(Archive& archive, Placement& p) {
///       archive(p.width), archive(p.height);
///     }
namespace camlucida::native {

template <class T>
concept Plain = std::is_arithmetic_v<T> || std::is_enum_v<T>;

/// Appends to a byte vector.
class WriteArchive {
 public:
  static constexpr bool kReads = false;

  void operator()(const Plain auto& value) { append(&value, sizeof value); }
  void operator()(const bool& value) { (*this)(static_cast<uint8_t>(value)); }
  void operator()(const std::string& text) {
    count(text.size());
    append(text.data(), text.size());
  }
  template <class T>
  void operator()(std::vector<T>& list) {
    count(list.size());
    for (T& element : list) (*this)(element);
  }
  template <class T>
  void operator()(std::map<std::string, T>& map) {
    count(map.size());
    for (auto& [key, value] : map) {
      (*this)(key);
      (*this)(value);
    }
  }
  template <class T>
  void operator()(std::optional<T>& value) {
    (*this)(value.has_value());
    if (value) (*this)(*value);
  }
  template <class T>
  requires requires(WriteArchive& a, T& t) { store(a, t); }
  void operator()(T& value) { store(*this, value); }

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void count(size_t size) {
    if (size > UINT32_MAX) throw Error(ErrorKind::kUnsupported, "a list of the model is too long");
    (*this)(static_cast<uint32_t>(size));
  }
  void append(const void* data, size_t size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), bytes, bytes + size);
  }

  std::vector<std::byte> bytes_;
};

/// Reads what a WriteArchive wrote; every length is checked against what is left before anything
/// is allocated. Throws Error(kModel).
class ReadArchive {
 public:
  static constexpr bool kReads = true;

  explicit ReadArchive(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <Plain T>
  void operator()(T& value) {
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
  }
  void operator()(bool& value) {
    uint8_t byte = 0;
    (*this)(byte);
    if (byte > 1) damaged();
    value = byte == 1;
  }
  void operator()(std::string& text) {
    const size_t size = count(1);
    text.assign(reinterpret_cast<const char*>(take(size)), size);
  }
  template <class T>
  void operator()(std::vector<T>& list) {
    list.resize(count(least_bytes<T>()));
    for (T& element : list) (*this)(element);
  }
  template <class T>
  void operator()(std::map<std::string, T>& map) {
    const size_t size = count(least_bytes<T>());
    for (size_t i = 0; i < size; ++i) {
      std::string key;
      (*this)(key);
      (*this)(map[key]);
    }
  }
  template <class T>
  void operator()(std::optional<T>& value) {
    bool present = false;
    (*this)(present);
    if (!present) return;
    (*this)(value.emplace());
  }
  template <class T>
  requires requires(ReadArchive& a, T& t) { store(a, t); }
  void operator()(T& value) { store(*this, value); }

  bool at_end() const { return bytes_.empty(); }
  [[noreturn]] static void damaged() {
    throw Error(ErrorKind::kModel, "the description of the model is damaged");
  }

 private:
  /// Bytes that any value of the type takes in the file at least.
  template <class T>
  static constexpr size_t least_bytes() {
    return Plain<T> ? sizeof(T) : sizeof(uint32_t);
  }
  /// A length whose elements take at least `least` bytes each.
  size_t count(size_t least) {
    uint32_t size = 0;
    (*this)(size);
    if (size > bytes_.size() / least) damaged();
    return size;
  }
  const std::byte* take(size_t size) {
    if (size > bytes_.size()) damaged();
    const std::byte* data = bytes_.data();
    bytes_ = bytes_.subspan(size);
    return data;
  }

  std::span<const std::byte> bytes_;
};

}  // namespace camlucida::native
