#include "tools/picture_set.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "engine/error.h"
#include "engine/fs.h"
#include "engine/npy.h"

namespace camlucida::cli {

namespace fs = std::filesystem;

Image code_image(const std::vector<uint8_t>& codes, int size) {
  Image image(size, size, 1);
  std::copy(codes.begin(), codes.end(), image.pixels().begin());
  return image;
}

ArrayFile::ArrayFile(fs::path path, const TensorDesc& desc)
    : path_(std::move(path)), temporary_(path_) {
  temporary_ += ".tmp-" + std::to_string(::getpid());
  file_ = std::fopen(temporary_.c_str(), "wb");
  if (file_ == nullptr) fail(errno);
  const std::string header = npy_header(desc);
  append(header.data(), header.size());
}

ArrayFile::~ArrayFile() {
  if (file_ != nullptr) std::fclose(file_);
  std::error_code code;
  fs::remove(temporary_, code);
}

void ArrayFile::fail(int code) const {
  throw Error(ErrorKind::kResource,
              "cannot write '" + path_.string() + "': " + std::generic_category().message(code),
              "choose another folder with -o, or make room");
}

void ArrayFile::append(const void* bytes, size_t count) {
  if (std::fwrite(bytes, 1, count, file_) != count) fail(errno);
}

void ArrayFile::finish() {
  const int closed = std::fclose(file_);
  file_ = nullptr;
  if (closed != 0) fail(errno);
  std::error_code code;
  fs::rename(temporary_, path_, code);
  if (code) fail(code.value());
}

ArraySet::ArraySet(const fs::path& folder, int64_t count, int size) {
  const TensorDesc images{DType::kUint8, Shape({count, size, size, 3})};
  const TensorDesc labels{DType::kInt64, Shape({count})};
  const TensorDesc parts{DType::kUint8, Shape({count, size, size})};
  // desc.bytes() refuses what does not fit 64 bits.
  const auto needed = static_cast<uint64_t>(images.bytes() + labels.bytes() + parts.bytes());
  std::error_code code;
  const fs::space_info space = fs::space(folder, code);
  if (!code && needed > space.available) {
    throw Error(ErrorKind::kResource,
                "the arrays take " + std::to_string(needed >> 20) + " MiB, '" + folder.string() +
                    "' has room for " + std::to_string(space.available >> 20) + " MiB",
                "draw fewer or smaller pictures, or choose another folder with -o");
  }
  images_ = std::make_unique<ArrayFile>(folder / "images.npy", images);
  labels_ = std::make_unique<ArrayFile>(folder / "labels.npy", labels);
  parts_ = std::make_unique<ArrayFile>(folder / "parts.npy", parts);
}

void ArraySet::add(const menagerie::Scene& scene) {
  const int64_t label = scene.animal;
  images_->append(scene.picture.pixels().data(), scene.picture.pixels().size());
  labels_->append(&label, sizeof(label));
  parts_->append(scene.parts.data(), scene.parts.size());
}

void ArraySet::finish() {
  for (const auto& file : {&images_, &labels_, &parts_}) (*file)->finish();
}

std::string PictureSet::write_codes(const std::string& file, const std::vector<uint8_t>& codes,
                                    int size) const {
  code_image(codes, size).save_png(folder_ / file);
  return file;
}

void PictureSet::add(const std::string& name, const menagerie::Scene& scene,
                     const menagerie::SceneOptions& options) {
  const auto box = [](const menagerie::SceneBox& b) {
    return Json::array({b.left, b.top, b.right, b.bottom});
  };
  const auto label = [](int animal) { return menagerie::animals()[static_cast<size_t>(animal)]; };
  scene.picture.save_png(folder_ / (name + ".png"));
  Json entry = {{"file", name + ".png"},
                {"class", scene.animal},
                {"label", label(scene.animal)},
                {"box", box(scene.box)},
                {"mask", write_codes(name + ".mask.png", scene.object, options.size)},
                {"parts", write_codes(name + ".parts.png", scene.parts, options.size)}};
  if (scene.marker) entry["marker"] = box(*scene.marker);
  if (options.companion) {
    entry["companion"] = {
        {"class", *options.companion},
        {"label", label(*options.companion)},
        {"box", box(scene.companion_box)},
        {"mask", write_codes(name + ".companion.mask.png", scene.companion_object, options.size)}};
  }
  images_.push_back(std::move(entry));
}

void PictureSet::finish() const {
  Json index;
  index["images"] = images_;
  index["mask_values"] = {{"1", "object"}, {"0", "background"}};
  const auto& names = menagerie::parts();
  for (size_t i = 0; i < names.size(); ++i) index["part_values"][std::to_string(i + 1)] = names[i];
  write_file_atomic(folder_ / "index.json", to_text(index, 1) + "\n");
}

}  // namespace camlucida::cli
