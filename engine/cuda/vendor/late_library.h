#pragma once

#include <compare>
#include <optional>
#include <string>
#include <vector>

#include "engine/error.h"

/// Shared libraries that are loaded when they are first needed: a program that does without them
/// starts quickly, and starts where they are not installed.
namespace camlucida {

struct LibraryVersion {
  int major = 0;
  int minor = 0;
  int patch = 0;

  auto operator<=>(const LibraryVersion&) const = default;
  std::string to_string() const;  ///< "9.19.0"
};

class LateLibrary;

/// A library as it is wanted.
struct LibrarySource {
  std::string name;  ///< for messages: "cuDNN"
  std::string file;  ///< "libcudnn.so.9", to be found as the loader finds libraries
  /// Where else to look for the file, in this order. An empty name is passed over.
  std::vector<std::string> folders;
  /// The least version that serves; later ones of the same first number do, too.
  LibraryVersion least;
  LibraryVersion (*version)(const LateLibrary& library);  ///< asks it; may throw as operator[]
};

/// The address of a function, which becomes a pointer of the type that it is assigned to.
class LateFunction {
 public:
  explicit LateFunction(void* address) : address_(address) {}
  template <class F>
  operator F*() const {
    return reinterpret_cast<F*>(address_);
  }

 private:
  void* address_;
};

/// A library of a version that serves, loaded into this process. The first file that can be loaded
/// is taken, whatever its version: a second one beside it could not be told apart from it by the
/// parts that it loads itself. It stays loaded to the end of the process: CUDA's libraries start
/// threads and leave functions with the driver that run until then. Immutable.
class LateLibrary {
 public:
  /// Throws Error(kUnsupported) with what the loader says, or with the version if it does not
  /// serve.
  explicit LateLibrary(const LibrarySource& source);

  /// Throws Error(kUnsupported) if the library has no function of that name.
  LateFunction operator[](const char* function) const;
  const std::string& path() const { return path_; }
  const LibraryVersion& version() const { return version_; }

 private:
  std::string name_;  // "cuDNN 9"
  void* handle_ = nullptr;
  std::string path_;
  LibraryVersion version_;
};

/// The functions of a library, or the reason why they cannot be had. `Functions` is a table, made
/// from a library, of pointers that have the types of the vendor's header:
///
///     struct Functions {
///       const LateLibrary& in;
///       decltype(&::cudnnCreate) create = in["cudnnCreate"];
///     };
///
/// Immutable.
template <class Functions>
class LateFunctions {
 public:
  explicit LateFunctions(const LibrarySource& source) {
    try {
      library_.emplace(source);
      functions_.emplace(Functions{*library_});
    } catch (const Error& error) {
      reason_ = error.message();
    }
  }
  LateFunctions(const LateFunctions&) = delete;
  LateFunctions& operator=(const LateFunctions&) = delete;

  explicit operator bool() const { return functions_.has_value(); }
  /// Why there are none, in one line; else empty.
  const std::string& reason() const { return reason_; }
  /// Throws Error(kUnsupported) with the reason if there are none.
  const Functions& operator*() const {
    if (!functions_) throw Error(ErrorKind::kUnsupported, reason_);
    return *functions_;
  }
  /// Only where there are functions.
  const LibraryVersion& version() const { return library_->version(); }

 private:
  std::optional<LateLibrary> library_;
  std::optional<Functions> functions_;
  std::string reason_;
};

}  // namespace camlucida
