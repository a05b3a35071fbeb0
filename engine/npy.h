#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace camlucida {

/// NumPy's .npy files (format versions 1.0 to 3.0): one array each, little-endian, C order.
/// Read: bool, signed and unsigned integers of 8 to 64 bits, float16, float32, float64. Big-endian,
/// Fortran-ordered, structured, complex and object arrays are refused by name, and so is a file
/// whose length does not fit its header; the length is checked before memory is taken.
/// All errors of reading are Error(kInput) and name the file.
Tensor read_npy(const std::filesystem::path& path);

/// The same from memory; `name` stands for the file in messages.
Tensor parse_npy(std::span<const uint8_t> bytes, const std::string& name);

/// read_npy for an array that must be float32 (a prepared network input, a map). float64 and
/// integers are not converted silently: the message says how to convert.
Tensor read_npy_float32(const std::filesystem::path& path);

/// What a file with this array starts with; the elements follow. For arrays too large for memory.
std::string npy_header(const TensorDesc& desc);

/// The bytes of a version 1.0 file; version 2.0 if the header is too long for it.
/// bfloat16 has no .npy form: Error(kUsage).
std::vector<uint8_t> format_npy(const Tensor& tensor);

/// Writes atomically (see write_file_atomic), Error(kResource) on failure.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace camlucida
