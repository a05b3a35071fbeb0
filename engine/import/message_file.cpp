#include "engine/import/message_file.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <fstream>
#include <limits>
#include <string>

#include "engine/error.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;
namespace pbio = google::protobuf::io;

constexpr uint64_t kMaxMessage = std::numeric_limits<int32_t>::max();

/// Feeds protobuf from a file piece by piece.
class FileStream final : public pbio::CopyingInputStream {
 public:
  explicit FileStream(std::ifstream& file) : file_(file) {}
  int Read(void* buffer, int size) override {
    file_.read(static_cast<char*>(buffer), size);
    return file_.bad() ? -1 : static_cast<int>(file_.gcount());
  }

 private:
  std::ifstream& file_;
};

/// Whether the file is a Git LFS pointer in the place of the model.
bool is_pointer(const fs::path& path) {
  std::string start(7, '\0');
  std::ifstream(path, std::ios::binary).read(start.data(), 7);
  return start == "version";
}

}  // namespace

void check_message_size(uint64_t bytes, const char* hint_large) {
  if (bytes <= kMaxMessage) return;
  throw Error(ErrorKind::kModel,
              "the model has " + std::to_string(bytes) +
                  " bytes, more than the 2 GB that one file can hold",
              hint_large);
}

void check_model_file(const fs::path& path) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (!fs::exists(status)) {
    throw Error(ErrorKind::kModel, "cannot be read: no such file", "check the path");
  }
  if (!fs::is_regular_file(status)) {
    throw Error(ErrorKind::kModel, "cannot be read: not a regular file",
                "give the path of a model");
  }
}

bool parse_message_file(const fs::path& path, google::protobuf::MessageLite& message,
                        const char* hint_large) {
  check_model_file(path);
  std::ifstream file(path, std::ios::binary);
  std::error_code code;
  const uint64_t size = fs::file_size(path, code);
  if (!file || code) throw Error(ErrorKind::kModel, "cannot be read", "check its permissions");
  check_message_size(size, hint_large);
  FileStream stream(file);
  pbio::CopyingInputStreamAdaptor adaptor(&stream, 1 << 20);
  if (message.ParseFromZeroCopyStream(&adaptor)) return true;
  if (is_pointer(path)) {
    throw Error(ErrorKind::kModel, "a Git LFS pointer, not the model itself", "run `git lfs pull`");
  }
  return false;
}

}  // namespace camlucida
