#pragma once

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/npy.h"
#include "tests/gpu_harness.h"
#include "tests/shared.h"

/// Comparing with reference outputs (their README defines files and measures).
namespace camlucida::test {

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream stream(path);
  return nlohmann::json::parse(stream);
}

/// What networks are run on: the GPU that CAMLUCIDA_TEST_GPU names, null for the processor.
inline std::shared_ptr<Gpu> golden_gpu() {
  return std::getenv("CAMLUCIDA_TEST_GPU") != nullptr ? test_gpu() : nullptr;
}

/// max|a - b| / max|golden|, over the flat arrays.
inline double relative_deviation(const std::vector<double>& mine,
                                 const std::vector<double>& golden) {
  EXPECT_EQ(mine.size(), golden.size());
  if (mine.size() != golden.size()) return INFINITY;
  double peak = 0;
  double worst = 0;
  for (size_t i = 0; i < golden.size(); ++i) {
    peak = std::max(peak, std::abs(golden[i]));
    const double difference = std::abs(mine[i] - golden[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst / peak;
}

/// ||a - b|| / ||golden||.
inline double relative_l2(const std::vector<double>& mine, const std::vector<double>& golden) {
  EXPECT_EQ(mine.size(), golden.size());
  if (mine.size() != golden.size()) return INFINITY;
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < golden.size(); ++i) {
    difference += (mine[i] - golden[i]) * (mine[i] - golden[i]);
    norm += golden[i] * golden[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace camlucida::test
