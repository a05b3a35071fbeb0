#include "engine/npy.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstring>
#include <optional>
#include <string_view>

#include "engine/error.h"
#include "engine/fs.h"

static_assert(std::endian::native == std::endian::little,
              "arrays are stored as they lie in memory");

namespace camlucida {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 36;
constexpr size_t kMaxHeaderBytes = 1 << 20;
constexpr size_t kAlignment = 64;  // NumPy pads the header so that the data starts on this multiple

struct TypeCode {
  DType dtype;
  std::string_view code;
};
constexpr TypeCode kTypeCodes[] = {
    {DType::kFloat32, "<f4"}, {DType::kFloat64, "<f8"}, {DType::kFloat16, "<f2"},
    {DType::kInt64, "<i8"},   {DType::kInt32, "<i4"},   {DType::kInt16, "<i2"},
    {DType::kInt8, "|i1"},    {DType::kUint64, "<u8"},  {DType::kUint32, "<u4"},
    {DType::kUint16, "<u2"},  {DType::kUint8, "|u1"},   {DType::kBool, "|b1"},
};

[[noreturn]] void refuse(const std::string& name, const std::string& why,
                         const std::string& hint = "write the array again with numpy.save") {
  throw Error(ErrorKind::kInput, "'" + name + "': " + why, hint);
}

struct Header {
  std::string type_code;
  bool fortran_order = false;
  std::vector<int64_t> dims;
};

/// Reads the header, a Python dictionary literal with the keys descr, fortran_order and shape:
///   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 224, 224), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  Header parse() {
    Header header;
    bool seen[3] = {false, false, false};
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr") {
        if (peek() == '[') refuse(name_, "structured arrays are not supported", "save one field");
        header.type_code = string();
        seen[0] = true;
      } else if (key == "fortran_order") {
        header.fortran_order = boolean();
        seen[1] = true;
      } else if (key == "shape") {
        header.dims = tuple();
        seen[2] = true;
      } else {
        malformed();
      }
      if (!accept(',') && peek() != '}') malformed();
    }
    if (!seen[0] || !seen[1] || !seen[2]) malformed();
    return header;
  }

 private:
  [[noreturn]] void malformed() { refuse(name_, "malformed header of a .npy file"); }

  void skip_space() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_[0]))) {
      rest_.remove_prefix(1);
    }
  }
  char peek() {
    skip_space();
    return rest_.empty() ? '\0' : rest_[0];
  }
  bool accept(char c) {
    if (peek() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) malformed();
  }
  std::string string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') malformed();
    const size_t end = rest_.find(quote, 1);
    if (end == std::string_view::npos) malformed();
    std::string value(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return value;
  }
  bool boolean() {
    for (const auto& [word, value] : {std::pair{"True", true}, std::pair{"False", false}}) {
      skip_space();
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(std::strlen(word));
        return value;
      }
    }
    malformed();
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect('(');
    while (!accept(')')) {
      values.push_back(integer());
      if (!accept(',') && peek() != ')') malformed();
    }
    return values;
  }
  int64_t integer() {
    constexpr int64_t kLargest = int64_t{1} << 58;  // leaves room for one more digit
    if (!std::isdigit(static_cast<unsigned char>(peek()))) malformed();
    int64_t value = 0;
    while (!rest_.empty() && std::isdigit(static_cast<unsigned char>(rest_[0]))) {
      value = value * 10 + (rest_[0] - '0');
      if (value > kLargest) malformed();
      rest_.remove_prefix(1);
    }
    return value;
  }

  std::string_view rest_;
  const std::string& name_;
};

DType dtype_of_code(const std::string& code, const std::string& name) {
  for (const TypeCode& known : kTypeCodes) {
    // Single bytes have no order; writers other than NumPy mark them '<' all the same.
    const bool same = code.substr(0, 1) != ">" && code.size() > 1 &&
                      std::string_view(code).substr(1) == known.code.substr(1);
    if (same) return known.dtype;
  }
  if (code.starts_with(">")) {
    refuse(name, "big-endian array ('" + code + "')",
           "convert it with a.astype(a.dtype.newbyteorder('<'))");
  }
  refuse(name, "element type '" + code + "' is not supported",
         "convert it with a.astype('float32')");
}

std::string_view code_of_dtype(DType dtype) {
  for (const TypeCode& known : kTypeCodes) {
    if (known.dtype == dtype) return known.code;
  }
  throw Error(ErrorKind::kUsage,
              "a .npy file cannot hold elements of type " + std::string(name_of(dtype)),
              "convert the tensor to float32");
}

}  // namespace

Tensor parse_npy(std::span<const uint8_t> bytes, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (bytes.empty()) refuse(name, "the file is empty");
  if (!text.starts_with(kMagic)) refuse(name, "not a .npy file", "give a file of numpy.save");
  if (text.size() < 10) refuse(name, "truncated in the header of a .npy file");

  const int version = bytes[6];
  if (version < 1 || version > 3) {
    refuse(name, "version " + std::to_string(version) + " of the .npy format is not supported");
  }
  const size_t length_bytes = version == 1 ? 2 : 4;
  size_t header_bytes = 0;
  if (text.size() < 8 + length_bytes) refuse(name, "truncated in the header of a .npy file");
  for (size_t i = 0; i < length_bytes; ++i) header_bytes |= size_t{bytes[8 + i]} << (8 * i);
  const size_t data_start = 8 + length_bytes + header_bytes;
  if (header_bytes > kMaxHeaderBytes) refuse(name, "malformed header of a .npy file");
  if (data_start > text.size()) refuse(name, "truncated in the header of a .npy file");

  const Header header = HeaderParser(text.substr(8 + length_bytes, header_bytes), name).parse();
  TensorDesc desc{dtype_of_code(header.type_code, name), Shape(header.dims)};
  if (header.fortran_order && desc.shape.rank() > 1) {
    refuse(name, "the array is stored in Fortran order", "save numpy.ascontiguousarray(a)");
  }
  int64_t needed = 0;
  try {
    needed = desc.bytes();
  } catch (const Error&) {
    refuse(name, "shape " + desc.shape.to_string() + " is too large");
  }
  const uint64_t there = text.size() - data_start;
  if (there != static_cast<uint64_t>(needed)) {
    refuse(name, std::string(there < static_cast<uint64_t>(needed) ? "truncated" : "too long") +
                     ": shape " + desc.shape.to_string() + " of " +
                     std::string(name_of(desc.dtype)) + " takes " + std::to_string(needed) +
                     " bytes, the file holds " + std::to_string(there));
  }
  Tensor tensor(desc.shape, desc.dtype);
  if (needed > 0) std::memcpy(tensor.raw(), bytes.data() + data_start, static_cast<size_t>(needed));
  if (desc.dtype == DType::kBool) {
    // A byte other than 0 and 1 is no valid bool in C++.
    uint8_t* values = static_cast<uint8_t*>(tensor.raw());
    for (int64_t i = 0; i < needed; ++i) values[i] = values[i] != 0;
  }
  return tensor;
}

Tensor read_npy(const std::filesystem::path& path) {
  return parse_npy(read_file(path, kMaxFileBytes, "array"), path.string());
}

Tensor read_npy_float32(const std::filesystem::path& path) {
  Tensor tensor = read_npy(path);
  if (tensor.dtype() != DType::kFloat32) {
    refuse(path.string(),
           "elements are " + std::string(name_of(tensor.dtype())) + ", float32 is needed",
           "convert it with a.astype('float32')");
  }
  return tensor;
}

std::string npy_header(const TensorDesc& desc) {
  std::string header = "{'descr': '" + std::string(code_of_dtype(desc.dtype)) +
                       "', 'fortran_order': False, 'shape': (";
  for (const int64_t dim : desc.shape) header += std::to_string(dim) + ", ";
  // A tuple of one needs its comma, a longer one reads better without the last.
  if (desc.shape.rank() > 1) header.resize(header.size() - 2);
  if (desc.shape.rank() == 1) header.resize(header.size() - 1);
  header += "), }";

  const auto padded = [&header](size_t preamble) {
    const size_t end = preamble + header.size() + 1;
    return (end + kAlignment - 1) / kAlignment * kAlignment - preamble;
  };
  const bool is_short = padded(10) <= 0xffff;
  const size_t preamble = is_short ? 10 : 12;
  const size_t header_bytes = padded(preamble);
  header.resize(header_bytes - 1, ' ');
  header += '\n';

  std::string start(kMagic);
  start += is_short ? '\x01' : '\x02';
  start += '\0';
  for (size_t i = 0; i < preamble - 8; ++i) {
    start += static_cast<char>((header_bytes >> (8 * i)) & 0xff);
  }
  return start + header;
}

std::vector<uint8_t> format_npy(const Tensor& tensor) {
  const std::string header = npy_header(tensor.desc());
  std::vector<uint8_t> bytes(header.size() + tensor.bytes());
  std::copy(header.begin(), header.end(), bytes.begin());
  if (tensor.bytes() > 0) std::memcpy(bytes.data() + header.size(), tensor.raw(), tensor.bytes());
  return bytes;
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  write_file_atomic(path, format_npy(tensor));
}

}  // namespace camlucida
