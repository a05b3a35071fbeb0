#pragma once

#include <filesystem>

#include "engine/graph.h"
#include "engine/labels.h"
#include "engine/manifest.h"

/// Reading and writing `.clm` files, the native model format (engine/native/format.h).
namespace camlucida {

/// A network with what belongs to it.
struct NativeModel {
  Graph graph;  ///< as imported; weights stored plainly are read from the mapped file
  Manifest manifest;
  Labels labels;
};

/// Precision of stored float32 weights. Computation is in float32 in any case.
enum class WeightStorage {
  kFloat32,  ///< exact
  kFloat16,  ///< half the size; rounded to 11 bits
  kInt8,     ///< a quarter; large weights only, rounded to 255 steps per output channel
};

struct NativeWriteReport {
  uint64_t bytes = 0;         ///< of the file
  uint64_t weight_bytes = 0;  ///< of the tensors in it
  int tensors = 0;
  double largest_error = 0;  ///< |stored - given| over the largest magnitude of its tensor
};

/// Writes `model` atomically. Throws Error(kResource) if the disk is full or not writable,
/// Error(kUnsupported) if a weight cannot be stored as asked (not finite).
NativeWriteReport write_native(const std::filesystem::path& path, const NativeModel& model,
                               WeightStorage storage = WeightStorage::kFloat32);

/// Maps the file and checks all of it before anything is used: sizes, offsets, references and the
/// checksums of description and tensors. Throws Error(kModel) that says what is wrong: not a .clm
/// file, truncated, damaged (which part), of another version; Error(kUnsupported) listing layers
/// this build does not have.
NativeModel read_native(const std::filesystem::path& path);

}  // namespace camlucida
