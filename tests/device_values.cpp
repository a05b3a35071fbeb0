#include "tests/device_values.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/layer_harness.h"

namespace camlucida::test {

std::vector<double> numbers(int64_t count, const std::string& seed, DType type) {
  return make_data({type, Shape{count}}, -1, 1, seed);
}

double worst_error(const std::vector<double>& actual, const std::vector<double>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double peak = 1e-300;
  double worst = 0;
  for (size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    peak = std::max(peak, std::abs(expected[i]));
    const double error = std::abs(actual[i] - expected[i]);
    if (std::isnan(error)) return error;
    worst = std::max(worst, error);
  }
  return worst / peak;
}

DeviceValues::DeviceValues(std::shared_ptr<Stream> stream, const std::vector<double>& values,
                           DType type)
    : stream_(std::move(stream)), type_(type), count_(static_cast<int64_t>(values.size())) {
  Tensor tensor(Shape{count_}, type);
  from_double(type, values.data(), tensor.raw(), count_);
  buffer_ = stream_->allocate(std::max<size_t>(tensor.bytes(), 1));
  stream_->upload(buffer_.data(), tensor.raw(), tensor.bytes());
}

DeviceValues::DeviceValues(std::shared_ptr<Stream> stream, int64_t count)
    : stream_(std::move(stream)), type_(DType::kFloat64), count_(count) {
  buffer_ = stream_->allocate(static_cast<size_t>(count) * sizeof(double));
}

std::vector<double> DeviceValues::values() const {
  Tensor tensor(Shape{count_}, type_);
  stream_->download(tensor.raw(), buffer_.data(), tensor.bytes());
  return tensor.to_doubles();
}

}  // namespace camlucida::test
