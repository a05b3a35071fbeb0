#include "engine/fs.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <string>

#include "engine/error.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string content(const fs::path& path) {
  const std::vector<uint8_t> bytes = read_file(path, 1 << 20);
  return std::string(bytes.begin(), bytes.end());
}

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

// Vectors of FIPS 180-4 and of the NIST example collection.
TEST(Sha256, KnownVectors) {
  EXPECT_EQ(sha256({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256(bytes_of("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(bytes_of(std::string(1000000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheSameDigestAsTheWhole) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (size_t length = 0; length < text.size(); ++length) {
    const std::string_view part = std::string_view(text).substr(0, length);
    Sha256 hash;
    for (size_t at = 0; at < length; at += 13) hash.update(bytes_of(part.substr(at, 13)));
    ASSERT_EQ(hash.finish(), sha256(bytes_of(part))) << length;
  }
}

TEST(Sha256, OfAFile) {
  const TemporaryFolder folder;
  write_file_atomic(folder / "abc", "abc");
  EXPECT_EQ(sha256_file(folder / "abc"), sha256(bytes_of("abc")));
  EXPECT_ERROR(sha256_file(folder / "missing"), kInput, "missing");
}

TEST(ReadFile, ReturnsTheContent) {
  const TemporaryFolder folder;
  const std::string text("one\0two", 7);
  write_file_atomic(folder / "file", text);
  EXPECT_EQ(content(folder / "file"), text);
  write_file_atomic(folder / "empty", "");
  EXPECT_EQ(content(folder / "empty"), "");
}

TEST(ReadFile, RefusesWhatCannotBeRead) {
  const TemporaryFolder folder;
  write_file_atomic(folder / "ten", "0123456789");
  EXPECT_ERROR(read_file(folder / "none", 10, "picture"), kInput, "picture");
  EXPECT_ERROR(read_file(folder / "none", 10), kInput, "No such file");
  EXPECT_ERROR(read_file(folder.path(), 10), kInput, "not a regular file");
  EXPECT_ERROR(read_file(folder / "ten", 9), kInput, "has 10 bytes, the limit is 9");
  EXPECT_EQ(read_file(folder / "ten", 10).size(), 10u);
}

TEST(WriteFileAtomic, ReplacesAndLeavesNothingElse) {
  const TemporaryFolder folder;
  write_file_atomic(folder / "file", "first, longer");
  write_file_atomic(folder / "file", "second");
  EXPECT_EQ(content(folder / "file"), "second");
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(WriteFileAtomic, FollowsASymbolicLink) {
  const TemporaryFolder folder;
  write_file_atomic(folder / "file", "first");
  fs::create_symlink(folder / "file", folder / "link");
  write_file_atomic(folder / "link", "second");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(content(folder / "file"), "second");
}

TEST(WriteFileAtomic, FailsWhenTheFolderIsMissing) {
  const TemporaryFolder folder;
  EXPECT_ERROR(write_file_atomic(folder / "no/such/file", "x"), kResource, "no/such/file");
}

TEST(WriteFileAtomic, RefusesAFolderAsTarget) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "inner");
  EXPECT_ERROR(write_file_atomic(folder / "inner", "x"), kResource, "is a folder");
  EXPECT_TRUE(fs::is_directory(folder / "inner"));
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(WriteFileAtomic, AFullDiskLeavesTheFormerFile) {
  const TemporaryFolder folder;
  write_file_atomic(folder / "file", "former");
  // A limit on the size of files stands in for the full disk: write() fails half way.
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {4096, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string large(100000, 'x');
  EXPECT_ERROR(write_file_atomic(folder / "file", large), kResource, "cannot write");
  EXPECT_ERROR(write_file_atomic(folder / "other", large), kResource, "free space");
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(content(folder / "file"), "former");
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(WriteFileAtomic, ADeviceIsWrittenNotReplaced) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  EXPECT_ERROR(write_file_atomic("/dev/full", "x"), kResource, "No space left");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

}  // namespace
}  // namespace camlucida
