#include "engine/npy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "engine/error.h"
#include "engine/fs.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

using test::TemporaryFolder;

/// A file as NumPy would write it, from header text and data given by hand.
std::vector<uint8_t> file_with(std::string header, const std::string& data, int version = 1) {
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version);
  file += '\0';
  const size_t length_bytes = version == 1 ? 2 : 4;
  while ((8 + length_bytes + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  for (size_t i = 0; i < length_bytes; ++i) {
    file += static_cast<char>((header.size() >> (8 * i)) & 0xff);
  }
  file += header + data;
  return std::vector<uint8_t>(file.begin(), file.end());
}

std::vector<uint8_t> with_shape(const std::string& type, const std::string& shape, size_t bytes) {
  return file_with("{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }",
                   std::string(bytes, '\0'));
}

Tensor parse(const std::vector<uint8_t>& bytes) { return parse_npy(bytes, "x.npy"); }

TEST(Npy, WritesWhatNumpyWrites) {
  const Tensor tensor = Tensor::from_floats({2, 3}, {1, 2, 3, 4, 5, 6});
  std::string data(24, '\0');
  std::memcpy(data.data(), tensor.raw(), 24);
  EXPECT_EQ(format_npy(tensor),
            file_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", data));
  EXPECT_EQ(
      format_npy(Tensor(Shape{4}, DType::kUint8)),
      file_with("{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }", std::string(4, '\0')));
  EXPECT_EQ(
      format_npy(Tensor(Shape{}, DType::kInt64)),
      file_with("{'descr': '<i8', 'fortran_order': False, 'shape': (), }", std::string(8, '\0')));
}

TEST(Npy, EveryTypeAndRankComesBack) {
  const DType types[] = {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kInt64,
                         DType::kInt32,   DType::kInt16,   DType::kInt8,    DType::kUint64,
                         DType::kUint32,  DType::kUint16,  DType::kUint8,   DType::kBool};
  const Shape shapes[] = {{}, {1}, {7}, {0, 3}, {2, 3}, {1, 2, 3, 4}, {1, 1, 1, 1, 2}};
  const TemporaryFolder folder;
  for (const DType type : types) {
    for (const Shape& shape : shapes) {
      Tensor values{shape};
      for (int64_t i = 0; i < values.count(); ++i) values.floats()[i] = static_cast<float>(i % 5);
      const Tensor written = values.cast(type);
      write_npy(folder / "a.npy", written);
      const Tensor read = read_npy(folder / "a.npy");
      ASSERT_EQ(read.desc(), written.desc()) << name_of(type) << shape.to_string();
      ASSERT_EQ(read.to_doubles(), written.to_doubles()) << name_of(type) << shape.to_string();
    }
  }
}

TEST(Npy, SpecialValuesKeepTheirBits) {
  const float nan = std::nanf("");
  const Tensor written = Tensor::from_floats({4}, {nan, INFINITY, -0.0f, 1e-45f});
  const Tensor read = parse(format_npy(written));
  EXPECT_EQ(std::memcmp(read.raw(), written.raw(), 16), 0);
}

TEST(Npy, AVeryLongHeaderTakesVersion2) {
  const Tensor tensor(Shape(std::vector<int64_t>(30000, 1)));
  const std::vector<uint8_t> bytes = format_npy(tensor);
  EXPECT_EQ(bytes[6], 2);
  EXPECT_EQ(parse(bytes).shape(), tensor.shape());
}

TEST(Npy, AcceptsOtherSpellingsOfTheHeader) {
  const std::string header = R"({"shape":(2,),"fortran_order":False,"descr":"<f4"})";
  for (const int version : {1, 2, 3}) {
    EXPECT_EQ(parse(file_with(header, std::string(8, '\0'), version)).shape(), Shape({2}));
  }
  EXPECT_EQ(parse(with_shape("<u1", "(3,)", 3)).dtype(), DType::kUint8);
  // Fortran order of a vector is C order.
  EXPECT_EQ(parse(file_with("{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }",
                            std::string(8, '\0')))
                .shape(),
            Shape({2}));
}

TEST(Npy, RefusesWhatItDoesNotRead) {
  EXPECT_ERROR(parse({}), kInput, "empty");
  EXPECT_ERROR(parse(std::vector<uint8_t>(100, 'x')), kInput, "not a .npy file");
  EXPECT_ERROR(parse(with_shape(">f4", "(2,)", 8)), kInput, "big-endian");
  EXPECT_ERROR(parse(with_shape("<c8", "(2,)", 16)), kInput, "'<c8' is not supported");
  EXPECT_ERROR(parse(with_shape("|O", "(2,)", 16)), kInput, "'|O' is not supported");
  EXPECT_ERROR(parse(file_with("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
                               std::string(4, '\0'))),
               kInput, "structured");
  EXPECT_ERROR(parse(file_with("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }",
                               std::string(16, '\0'))),
               kInput, "Fortran order");
  EXPECT_ERROR(parse(file_with("{}", "", 4)), kInput, "version 4");
}

TEST(Npy, ChecksTheLengthBeforeTakingMemory) {
  EXPECT_ERROR(parse(with_shape("<f4", "(3,)", 8)), kInput, "truncated: shape [3]");
  EXPECT_ERROR(parse(with_shape("<f4", "(1,)", 8)), kInput, "too long");
  EXPECT_ERROR(parse(with_shape("<f4", "(100000, 100000, 1000)", 8)), kInput, "truncated");
  EXPECT_ERROR(parse(with_shape("<f4", "(4000000000, 4000000000, 4000000000)", 8)), kInput,
               "too large");
  EXPECT_ERROR(parse(with_shape("<f4", "(99999999999999999999,)", 8)), kInput, "malformed");
}

TEST(Npy, EveryTruncationAndDamagedByteIsRefusedOrRead) {
  const std::vector<uint8_t> good = format_npy(Tensor::from_floats({2, 2}, {1, 2, 3, 4}));
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_ERROR(parse(std::vector<uint8_t>(good.begin(), good.begin() + length)), kInput, "x.npy");
  }
  for (size_t at = 0; at < good.size(); ++at) {
    for (const char value : {'\0', '\xff', '\'', '(', '9', '-'}) {
      std::vector<uint8_t> damaged = good;
      damaged[at] = static_cast<uint8_t>(value);
      try {
        EXPECT_LE(parse(damaged).bytes(), good.size());
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kInput) << error.what();
      }
    }
  }
}

TEST(Npy, Float32IsAskedForByName) {
  const TemporaryFolder folder;
  write_npy(folder / "d.npy", Tensor(Shape{2}, DType::kFloat64));
  EXPECT_ERROR(read_npy_float32(folder / "d.npy"), kInput, "float64, float32 is needed");
  write_npy(folder / "f.npy", Tensor(Shape{2}));
  EXPECT_EQ(read_npy_float32(folder / "f.npy").shape(), Shape({2}));
}

TEST(Npy, BrainFloatCannotBeWritten) {
  EXPECT_ERROR(format_npy(Tensor(Shape{2}, DType::kBFloat16)), kUsage, "bfloat16");
}

TEST(Npy, ReadsEveryGoldenFile) {
  REQUIRE_SHARED(shared);
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(shared / "golden")) {
    if (entry.path().extension() != ".npy") continue;
    const Tensor tensor = read_npy(entry.path());
    EXPECT_EQ(format_npy(tensor), read_file(entry.path(), 1 << 30)) << entry.path();
    ++files;
  }
  EXPECT_GT(files, 0);
}

}  // namespace
}  // namespace camlucida
