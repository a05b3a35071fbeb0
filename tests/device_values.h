#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/cuda/gpu.h"
#include "engine/tensor.h"

/// Data of tests of functions that take addresses on a GPU.
namespace camlucida::test {

/// `count` distinct numbers in [-1, 1], exact in `type`, the same for the same seed.
std::vector<double> numbers(int64_t count, const std::string& seed, DType type = DType::kFloat32);

/// The largest difference as a share of the largest expected value; NaN if there is one. Reports
/// different lengths.
double worst_error(const std::vector<double>& actual, const std::vector<double>& expected);

/// Values on the stream's GPU in a type of their own.
class DeviceValues {
 public:
  DeviceValues(std::shared_ptr<Stream> stream, const std::vector<double>& values, DType type);
  /// Uninitialised doubles.
  DeviceValues(std::shared_ptr<Stream> stream, int64_t count);

  std::byte* data() const { return buffer_.data(); }
  template <class T>
  T* as() const {
    return buffer_.as<T>();
  }
  std::vector<double> values() const;

 private:
  std::shared_ptr<Stream> stream_;
  DType type_;
  int64_t count_;
  DeviceBuffer buffer_;
};

}  // namespace camlucida::test
