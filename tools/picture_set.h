#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/image/image.h"
#include "engine/tensor.h"
#include "model_zoo/menagerie/renderer/menagerie.h"
#include "tools/json_output.h"

/// Files in which drawn scenes are kept.
namespace camlucida::cli {

/// Mask or parts of a scene [size * size] as a gray picture.
Image code_image(const std::vector<uint8_t>& codes, int size);

/// An array written piece by piece, whatever its size. The file gets its name when it is complete;
/// until then, and after a failure, there is none of that name (or the former one).
class ArrayFile {
 public:
  ArrayFile(std::filesystem::path path, const TensorDesc& desc);
  ~ArrayFile();
  ArrayFile(const ArrayFile&) = delete;
  ArrayFile& operator=(const ArrayFile&) = delete;

  /// Throws Error(kResource), for instance if the disk is full.
  void append(const void* bytes, size_t count);
  /// All elements must have been appended.
  void finish();

 private:
  [[noreturn]] void fail(int code) const;

  std::filesystem::path path_, temporary_;
  std::FILE* file_ = nullptr;
};

/// images.npy uint8 [N, size, size, 3], labels.npy int64 [N], parts.npy uint8 [N, size, size].
class ArraySet {
 public:
  /// Throws Error(kResource) if the disk has not the room, before anything is written.
  ArraySet(const std::filesystem::path& folder, int64_t count, int size);
  void add(const menagerie::Scene& scene);
  void finish();

 private:
  std::unique_ptr<ArrayFile> images_, labels_, parts_;
};

/// NAME.png, NAME.mask.png (1 = animal), NAME.parts.png (code of the part), and index.json, written
/// last, which says what they are: see evaluation_data.h.
class PictureSet {
 public:
  explicit PictureSet(std::filesystem::path folder) : folder_(std::move(folder)) {}

  void add(const std::string& name, const menagerie::Scene& scene,
           const menagerie::SceneOptions& options);
  void finish() const;

 private:
  std::string write_codes(const std::string& file, const std::vector<uint8_t>& codes,
                          int size) const;

  std::filesystem::path folder_;
  Json images_ = Json::array();
};

}  // namespace camlucida::cli
