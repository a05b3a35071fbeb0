#include "explain/heatmap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "engine/error.h"
#include "engine/image/resample.h"
#include "engine/npy.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Tail kTails[] = {Tail::kRectified, Tail::kSigned, Tail::kResizedRectified,
                           Tail::kResizedSigned};
constexpr Normalisation kNormalisations[] = {Normalisation::kMinMax, Normalisation::kMaxOnly,
                                             Normalisation::kRaw};

double max_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double worst = 0.0;
  for (int64_t i = 0; i < std::min(a.count(), b.count()); ++i) {
    const double difference = std::abs(static_cast<double>(a.floats()[i]) - b.floats()[i]);
    worst = std::isnan(difference) ? kInfinity : std::max(worst, difference);
  }
  return worst;
}

TEST(FinishMap, RectifiedAtTheSameSize) {
  const Tensor raw = Tensor::from_floats({2, 2}, {-1, 1, 2, 3});
  const Tensor map = finish_map(raw, 2, 2);
  const float expected[] = {0, 1 / 3.0f, 2 / 3.0f, 1};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(map.floats()[i], expected[i], 1e-6);
}

TEST(FinishMap, SignedKeepsNegativeDifferences) {
  const Tensor raw = Tensor::from_floats({1, 3}, {-1, 0, 3});
  const Tensor map = finish_map(raw, 1, 3, Tail::kSigned);
  const float expected[] = {0, 0.25f, 1};
  for (int i = 0; i < 3; ++i) EXPECT_FLOAT_EQ(map.floats()[i], expected[i]);
}

TEST(FinishMap, TheOrderOfResizeAndReluMatters) {
  // 2 -> 4 samples at -1, 0, 2, 3 quarters: resizing first lets the negative side leak in.
  const Tensor raw = Tensor::from_floats({1, 2}, {-4, 4});
  const Tensor first = finish_map(raw, 1, 4, Tail::kRectified);
  const Tensor last = finish_map(raw, 1, 4, Tail::kResizedRectified);
  EXPECT_NEAR(first.floats()[1], 0.25, 1e-6);
  EXPECT_FLOAT_EQ(last.floats()[1], 0.0f);
  EXPECT_NEAR(first.floats()[2], 0.75, 1e-6);
  EXPECT_FLOAT_EQ(last.floats()[2], 0.5f);
  EXPECT_FLOAT_EQ(finish_map(raw, 1, 4, Tail::kResizedSigned).floats()[1], 0.25f);
}

TEST(FinishMap, OtherNormalisations) {
  const Tensor raw = Tensor::from_floats({1, 3}, {-8, 2, 4});
  const auto value = [&raw](Tail tail, Normalisation n, int i) {
    return finish_map(raw, 1, 3, tail, n).floats()[i];
  };
  for (const Tail tail : kTails) EXPECT_EQ(value(tail, Normalisation::kRaw, 0), -8.0f);
  EXPECT_EQ(value(Tail::kRectified, Normalisation::kMaxOnly, 0), 0.0f);
  EXPECT_EQ(value(Tail::kRectified, Normalisation::kMaxOnly, 1), 0.5f);
  EXPECT_EQ(value(Tail::kSigned, Normalisation::kMaxOnly, 0), -1.0f);
  EXPECT_EQ(value(Tail::kSigned, Normalisation::kMaxOnly, 2), 0.5f);
}

TEST(FinishMap, NeverNanAndConstantBecomesZero) {
  const Tensor maps[] = {Tensor::from_floats({2, 2}, {0, 0, 0, 0}),
                         Tensor::from_floats({2, 2}, {5, 5, 5, 5}),
                         Tensor::from_floats({2, 2}, {-5, -5, -5, -5}),
                         Tensor::from_floats({2, 2}, {kNan, kInfinity, -kInfinity, kNan}),
                         Tensor::from_floats({1, 1}, {3})};
  for (const Tensor& raw : maps) {
    for (const Tail tail : kTails) {
      const Tensor map = finish_map(raw, 5, 7, tail);
      for (const float value : map.as<float>()) EXPECT_EQ(value, 0.0f);
      for (const Normalisation normalisation : kNormalisations) {
        const Tensor other = finish_map(raw, 5, 7, tail, normalisation);
        for (const float value : other.as<float>()) EXPECT_TRUE(std::isfinite(value));
      }
    }
  }
}

TEST(FinishMap, StaysWithinZeroAndOne) {
  const Tensor raw = Tensor::from_floats({2, 3}, {-1, 1e-12f, 2, 1e30f, 3, kNan});
  for (const Tail tail : kTails) {
    const Tensor map = finish_map(raw, 9, 9, tail);
    for (const float value : map.as<float>()) {
      EXPECT_GE(value, 0.0f);
      EXPECT_LE(value, 1.0f);
    }
  }
}

TEST(FinishMap, TakesDoubleAndRefusesOtherShapes) {
  const Tensor raw = Tensor::from_floats({2, 2}, {-1, 1, 2, 3});
  EXPECT_EQ(max_difference(finish_map(raw.cast(DType::kFloat64), 4, 4), finish_map(raw, 4, 4)), 0);
  EXPECT_ERROR(finish_map(Tensor(Shape{1, 2, 2}), 4, 4), kUsage, "[1, 2, 2]");
  EXPECT_ERROR(finish_map(Tensor(), 4, 4), kUsage, "raw map");
}

TEST(FuseMaps, MeanThenScaled) {
  const Tensor maps[] = {Tensor::from_floats({1, 3}, {0, 0.5f, 1}),
                         Tensor::from_floats({1, 3}, {0, 1, 0})};
  const Tensor fused = fuse_maps(maps);
  EXPECT_NEAR(fused.floats()[1], 1.0, 1e-6);
  EXPECT_NEAR(fused.floats()[2], 2 / 3.0, 1e-6);
  EXPECT_EQ(fuse_maps(maps, Normalisation::kRaw).floats()[1], 0.75f);
  const Tensor other[] = {maps[0], Tensor(Shape{3, 1})};
  EXPECT_ERROR(fuse_maps(other), kUsage, "cannot be fused");
  EXPECT_ERROR(fuse_maps({}), kUsage, "no maps");
}

TEST(Statistics, CountWhatIsNotFinite) {
  const RawStatistics s =
      statistics_of(Tensor::from_floats({2, 3}, {kNan, -1, 2, kInfinity, 4, -kInfinity}));
  EXPECT_EQ(s.min, -1.0);
  EXPECT_EQ(s.max, 4.0);
  EXPECT_EQ(s.sum, 5.0);
  EXPECT_EQ(s.mean, 5.0 / 3.0);
  EXPECT_EQ(s.nonfinite, 3);
  EXPECT_EQ(statistics_of(Tensor::from_floats({1}, {kNan})).mean, 0.0);
}

/// The tail that the golden maps of a method were made with; none for methods whose map does not
/// follow from `raw` alone.
std::optional<Tail> golden_tail(const std::string& method, const std::string& source) {
  if (method == "cam" || method.starts_with("relevancecam")) return Tail::kSigned;
  if (method == "scorecam_official") return Tail::kResizedRectified;
  if (method.starts_with("opticam") || method == "fullgrad_official") return Tail::kResizedSigned;
  if (source.starts_with("jacobgil/pytorch-grad-cam")) return Tail::kRectified;
  return std::nullopt;
}

TEST(FinishMap, GoldenMapsFollowFromGoldenRawMaps) {
  REQUIRE_SHARED(shared);
  std::set<Tail> tails;
  int compared = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(shared / "golden/maps")) {
    if (entry.path().filename() != "index.json") continue;
    std::ifstream stream(entry.path());
    const nlohmann::json index = nlohmann::json::parse(stream);
    if (!index.contains("methods")) continue;
    const std::filesystem::path folder = entry.path().parent_path();
    for (const auto& [method, item] : index.at("methods").items()) {
      if (!item.contains("files")) continue;
      const nlohmann::json& files = item.at("files");
      const std::optional<Tail> tail = golden_tail(method, item.value("source", ""));
      if (!tail || !files.contains("raw") || !files.contains("map")) continue;
      const Tensor raw = read_npy(folder / files.at("raw").get<std::string>());
      const Tensor golden = read_npy(folder / files.at("map").get<std::string>());
      const Tensor map = finish_map(raw, static_cast<int>(golden.shape()[0]),
                                    static_cast<int>(golden.shape()[1]), *tail);
      double tolerance = 1e-4;  // of final maps, where the index leaves it out (Opti-CAM)
      if (item.contains("tolerance") && item.at("tolerance").contains("map") &&
          item.at("tolerance").at("map").value("recommended", nlohmann::json()).is_number()) {
        tolerance = item.at("tolerance").at("map").at("recommended");
      }
      const double difference = max_difference(map, golden.cast(DType::kFloat32));
      EXPECT_LE(difference, tolerance) << folder << method;
      RecordProperty(folder.filename().string() + "." + method, std::to_string(difference));
      tails.insert(*tail);
      ++compared;
    }
  }
  EXPECT_EQ(tails.size(), std::size(kTails));
  EXPECT_GT(compared, 50);
}

TEST(ResizeMap, GoldenFusedMapsAreBicubic) {
  REQUIRE_SHARED(shared);
  int compared = 0;
  for (const std::string name : {"3_cat_0050", "9_truck_0020"}) {
    const std::filesystem::path folder = shared / "golden/maps/resnet20_cifar10" / name;
    if (!std::filesystem::exists(folder / "fmgcam_intended.map.npy")) continue;
    const Tensor fused = read_npy(folder / "fmgcam_intended.fused.npy").cast(DType::kFloat32);
    const Tensor golden = read_npy(folder / "fmgcam_intended.map.npy").cast(DType::kFloat32);
    const int rank = golden.shape().rank();
    const Tensor map = resize_bicubic(fused, static_cast<int>(golden.shape()[rank - 2]),
                                      static_cast<int>(golden.shape()[rank - 1]));
    EXPECT_LE(max_difference(map, golden), 1e-6);
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

}  // namespace
}  // namespace camlucida
