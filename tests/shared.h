#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace camlucida::test {

/// Folder with the model and picture zoo and the golden outputs, which is not part of the project:
/// $CAMLUCIDA_SHARED, else `shared` beside the source folder. Empty if there is none.
inline std::optional<std::filesystem::path> shared_dir() {
  std::filesystem::path dir;
  if (const char* set = std::getenv("CAMLUCIDA_SHARED")) {
    dir = set;
  } else {
#ifdef CAMLUCIDA_SOURCE_DIR
    dir = std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / ".." / "shared";
#else
    dir = std::filesystem::path("..") / "shared";
#endif
  }
  std::error_code code;
  if (!std::filesystem::is_directory(dir / "zoo", code)) return std::nullopt;
  return dir.lexically_normal();
}

/// A fresh folder that is removed with everything in it when the test ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "camlucida-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "cannot make a temporary folder";
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code code;
    std::filesystem::remove_all(path_, code);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Runs `statement`, which must throw camlucida::Error of `expected_kind`; `part` must occur in its
/// one-line message.
#define EXPECT_ERROR(statement, expected_kind, part)                                  \
  do {                                                                                \
    try {                                                                             \
      statement;                                                                      \
      ADD_FAILURE() << #statement << " did not throw";                                \
    } catch (const ::camlucida::Error& error) {                                       \
      EXPECT_EQ(error.kind(), ::camlucida::ErrorKind::expected_kind) << error.what(); \
      const std::string line = error.what();                                          \
      EXPECT_NE(line.find(part), std::string::npos) << line;                          \
      EXPECT_EQ(line.find('\n'), std::string::npos) << line;                          \
    }                                                                                 \
  } while (false)

/// Leaves the test when there is no zoo; defines `variable` as its folder otherwise.
#define REQUIRE_SHARED(variable)                                                                   \
  const std::optional<std::filesystem::path> variable##_or_none = ::camlucida::test::shared_dir(); \
  if (!variable##_or_none) GTEST_SKIP() << "SKIPPED: no zoo";                                      \
  const std::filesystem::path variable = *variable##_or_none

}  // namespace camlucida::test
