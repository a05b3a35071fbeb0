/// Gram matrices and eigenproblems on the GPU under test (tests/gpu_harness.h), against the host's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/cuda/gram.h"
#include "engine/cuda/solver.h"
#include "explain/linalg/channel_matrix.h"
#include "explain/linalg/symmetric_eigen.h"
#include "tests/device_values.h"
#include "tests/gpu_harness.h"

namespace camlucida {
namespace {

using test::DeviceValues;
using test::numbers;
using test::worst_error;

/// A layer [1, channels, side, side] with a constant channel and numbers that are not finite.
Tensor awkward_layer(int64_t channels, int64_t side) {
  Tensor layer(Shape{1, channels, side, side});
  const std::vector<double> values = numbers(layer.count(), "layer");
  from_double(DType::kFloat32, values.data(), layer.raw(), layer.count());
  float* data = layer.floats();
  std::fill_n(data + 2 * side * side, side * side, 0.1f);
  data[1] = NAN;
  data[side * side + 3] = INFINITY;
  data[side * side] = -INFINITY;
  return layer;
}

TEST(GramOnGpu, RowsOfALayerAreThoseOfTheHost) {
  const std::shared_ptr<Stream> stream = test::test_gpu()->new_stream();
  const Tensor layer = awkward_layer(5, 4);
  const DeviceValues device(stream, layer.to_doubles(), DType::kFloat32);
  for (const bool centre : {false, true}) {
    ChannelMatrix host = channel_matrix(layer);
    EXPECT_EQ(zero_nonfinite(&host), 3);
    double squares_of_host = 0;
    for (const double v : host.values) squares_of_host += v * v;
    if (centre) centre_channels(&host);
    const DeviceValues rows(stream, 5 * 16);
    const DeviceValues nonfinite(stream, 5);
    const DeviceValues squares(stream, 5);
    channel_rows(*stream, {.layer = device.as<float>(), .channels = 5, .pixels = 16}, centre,
                 rows.as<double>(), nonfinite.as<double>(), squares.as<double>());
    EXPECT_LE(worst_error(rows.values(), host.values), 1e-15);
    EXPECT_EQ(nonfinite.values(), (std::vector<double>{1, 2, 0, 0, 0}));
    const std::vector<double> per_row = squares.values();
    double sum = 0;
    for (const double v : per_row) sum += v;
    EXPECT_NEAR(sum, squares_of_host, 1e-13 * squares_of_host);
    if (!centre) continue;
    const std::vector<double> values = rows.values();
    for (size_t p = 0; p < 16; ++p) EXPECT_EQ(values[2 * 16 + p], 0.0) << "constant channel";
  }
}

TEST(GramOnGpu, ChosenAndWeightedRows) {
  const std::shared_ptr<Stream> stream = test::test_gpu()->new_stream();
  const std::vector<double> layer = numbers(6 * 9, "layer");
  const DeviceValues device(stream, layer, DType::kFloat32);
  const DeviceValues chosen(stream, {4, 0, 5}, DType::kInt64);
  const DeviceValues weights(stream, {2, -0.5, 3}, DType::kFloat64);
  const DeviceValues rows(stream, 3 * 9);
  channel_rows(*stream,
               {.layer = device.as<float>(),
                .channels = 3,
                .pixels = 9,
                .chosen = chosen.as<int64_t>(),
                .weights = weights.as<double>()},
               false, rows.as<double>(), nullptr, nullptr);
  const std::vector<double> values = rows.values();
  for (size_t p = 0; p < 9; ++p) {
    EXPECT_EQ(values[p], 2 * layer[4 * 9 + p]);
    EXPECT_EQ(values[9 + p], -0.5 * layer[p]);
    EXPECT_EQ(values[18 + p], 3 * layer[5 * 9 + p]);
  }
}

TEST(GramOnGpu, MatricesAreThoseOfTheHost) {
  const std::shared_ptr<Stream> stream = test::test_gpu()->new_stream();
  for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
           {5, 7}, {7, 5}, {1, 3}, {3, 1}, {130, 49}, {16, 64}}) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(columns));
    const std::vector<double> matrix = numbers(rows * columns, "matrix");
    const DeviceValues floats(stream, matrix, DType::kFloat32);
    const DeviceValues doubles(stream, matrix, DType::kFloat64);
    ChannelMatrix turned{columns, rows, matrix};
    const std::vector<double> host = gram(matrix, rows, columns);
    const std::vector<double> host_rows = gram(pixel_rows(turned), columns, rows);
    const auto check = [&](const DeviceValues& result, const std::vector<double>& expected,
                           int64_t order) {
      const std::vector<double> values = result.values();
      for (int64_t i = 0; i < order; ++i) {
        for (int64_t j = 0; j <= i; ++j) {
          const double at = values[static_cast<size_t>(i * order + j)];
          const double want = expected[static_cast<size_t>(i * order + j)];
          EXPECT_NEAR(at, want, 1e-14 * static_cast<double>(rows * columns));
          EXPECT_EQ(at, values[static_cast<size_t>(j * order + i)]) << "not symmetric";
          if (stream->is_emulated()) {
            EXPECT_EQ(at, want) << "another order of sums";
          }
        }
      }
    };
    const DeviceValues of_columns(stream, columns * columns);
    gram_of_columns(*stream, floats.as<float>(), rows, columns, of_columns.as<double>());
    check(of_columns, host, columns);
    gram_of_columns(*stream, doubles.as<double>(), rows, columns, of_columns.as<double>());
    check(of_columns, host, columns);
    const DeviceValues of_rows(stream, rows * rows);
    gram_of_rows(*stream, floats.as<float>(), rows, columns, of_rows.as<double>());
    check(of_rows, host_rows, rows);
    gram_of_rows(*stream, doubles.as<double>(), rows, columns, of_rows.as<double>());
    check(of_rows, host_rows, rows);
  }
}

TEST(GramOnGpu, CombinesAndMultipliesRows) {
  const std::shared_ptr<Stream> stream = test::test_gpu()->new_stream();
  const std::vector<double> matrix = numbers(6 * 10, "matrix");
  const std::vector<double> factors = numbers(3 * 6, "factors");
  const std::vector<double> vectors = numbers(2 * 10, "vectors");
  const DeviceValues m(stream, matrix, DType::kFloat64);
  const DeviceValues f(stream, factors, DType::kFloat64);
  const DeviceValues v(stream, vectors, DType::kFloat64);
  const DeviceValues combined(stream, 3 * 10);
  const DeviceValues multiplied(stream, 2 * 6);
  combine_rows(*stream, f.as<double>(), 3, m.as<double>(), 6, 10, combined.as<double>());
  multiply_rows(*stream, v.as<double>(), 2, m.as<double>(), 6, 10, multiplied.as<double>());
  std::vector<double> of_columns(30, 0.0);
  std::vector<double> of_rows(12, 0.0);
  for (size_t k = 0; k < 6; ++k) {
    for (size_t i = 0; i < 10; ++i) {
      for (size_t o = 0; o < 3; ++o)
        of_columns[o * 10 + i] += factors[o * 6 + k] * matrix[k * 10 + i];
      for (size_t o = 0; o < 2; ++o) of_rows[o * 6 + k] += vectors[o * 10 + i] * matrix[k * 10 + i];
    }
  }
  EXPECT_LE(worst_error(combined.values(), of_columns), 1e-15);
  EXPECT_LE(worst_error(multiplied.values(), of_rows), 1e-15);
  const DeviceValues reversed(stream, 2 * 10);
  reverse_rows(*stream, m.as<double>(), 6, 10, 2, reversed.as<double>());
  const std::vector<double> turned = reversed.values();
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(turned[i], matrix[(5 - i / 10) * 10 + i % 10]);
}

TEST(EigenOnGpu, AgreesWithTheHost) {
  const std::shared_ptr<Gpu> gpu = test::test_gpu();
  std::string why_not;
  if (!eigen_available(*gpu, &why_not)) GTEST_SKIP() << why_not;
  const std::shared_ptr<Stream> stream = gpu->new_stream();
  constexpr int64_t kOrder = 60;
  const std::vector<double> rows = numbers(80 * kOrder, "rows");
  const DeviceValues matrix(stream, rows, DType::kFloat64);
  const DeviceValues gram_matrix(stream, kOrder * kOrder);
  for (const int64_t count : {int64_t{1}, int64_t{5}, kOrder}) {
    gram_of_columns(*stream, matrix.as<double>(), 80, kOrder, gram_matrix.as<double>());
    const SymmetricEigen host = decompose_symmetric(gram_matrix.values(), kOrder, count);
    const DeviceEigen found = largest_eigenpairs(*stream, gram_matrix.as<double>(), kOrder, count);
    ASSERT_EQ(std::ssize(found.values), count);
    std::vector<double> vectors(static_cast<size_t>(count * kOrder));
    stream->download(vectors.data(), found.vectors.data(), vectors.size() * sizeof(double));
    for (int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      EXPECT_NEAR(found.values[at], host.values[at], 1e-12 * host.values[0]);
      double cosine = 0;
      for (size_t j = 0; j < kOrder; ++j) {
        cosine += vectors[at * kOrder + j] * host.vectors[at * kOrder + j];
      }
      EXPECT_NEAR(std::abs(cosine), 1.0, 1e-9);
    }
  }
}

TEST(EigenOnGpu, EmulatedGpuHasNone) {
  std::string why_not;
  EXPECT_FALSE(eigen_available(*Gpu::emulated(), &why_not));
  EXPECT_EQ(why_not, "an emulated GPU has no cuSOLVER");
}

}  // namespace
}  // namespace camlucida
