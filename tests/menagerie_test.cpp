#include "model_zoo/menagerie/renderer/menagerie.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numbers>
#include <numeric>
#include <set>
#include <thread>

#include "engine/error.h"
#include "engine/npy.h"
#include "model_zoo/menagerie/renderer/canvas.h"
#include "tests/cli_program.h"
#include "tests/shared.h"

/// The pictures of the Menagerie and their truth, and `camlucida menagerie`.
namespace camlucida::menagerie {
namespace {

namespace fs = std::filesystem;
using test::names_in;
using test::Outcome;
using test::run_program;

int animal_count() { return static_cast<int>(animals().size()); }

Scene scene_of(uint64_t seed, int size, std::optional<int> animal = {}) {
  SceneOptions options;
  options.size = size;
  options.animal = animal;
  return draw(seed, options);
}

bool same(const Scene& a, const Scene& b) {
  return a.picture == b.picture && a.animal == b.animal && a.object == b.object &&
         a.parts == b.parts;
}

int64_t area(const std::vector<uint8_t>& mask) {
  return std::count(mask.begin(), mask.end(), uint8_t{1});
}

TEST(Canvas, CoversHalfPixelsByHalfAndGivesThemToWhoCoversMost) {
  Canvas canvas(16);
  canvas.fill(Path::box({2, 3}, {5.5, 6.25}), {}, Color{1, 1, 1}, 7);
  const Image picture = canvas.picture();
  const auto value = [&](int x, int y) { return int{picture.row(y)[3 * x]}; };
  EXPECT_EQ(value(1, 4), 0);
  EXPECT_EQ(value(2, 4), 255);
  EXPECT_EQ(value(5, 4), 128);
  EXPECT_EQ(value(3, 6), 64);
  EXPECT_EQ(value(5, 6), 32);
  const auto points = [&](int x, int y) {
    int count = 0;
    canvas.visit_owners(x, y, [&](Owner owner) { count += owner == 7; });
    return count;
  };
  EXPECT_EQ(points(2, 4), 16);
  EXPECT_EQ(points(5, 4), 8);
  EXPECT_EQ(points(3, 6), 4);
  EXPECT_EQ(points(6, 4), 0);
}

TEST(Canvas, FillsCirclesToTheirAreaAlsoBeyondTheEdge) {
  // Chords lie inside a circle, and at their middle at most a tenth of a pixel from it.
  const auto check = [](const Coverage& coverage, double area, double arc) {
    const double sum = std::accumulate(coverage.values.begin(), coverage.values.end(), 0.0);
    EXPECT_LT(sum, area + 0.5);
    EXPECT_GT(sum, area - 2.0 / 3 * 0.1 * arc);
  };
  Canvas canvas(64);
  check(canvas.coverage(Path::circle({30, 31}, 20), {}), 400 * std::numbers::pi,
        40 * std::numbers::pi);
  check(canvas.coverage(Path::circle({0, 0}, 20), {}), 100 * std::numbers::pi,
        10 * std::numbers::pi);
  EXPECT_TRUE(canvas.coverage(Path::circle({-30, 10}, 20), {}).values.empty());
}

TEST(Menagerie, DrawsTheSameBytesForTheSameSeedOnAnyThread) {
  constexpr int kScenes = 12;
  std::vector<Scene> first, second(kScenes);
  for (uint64_t seed = 0; seed < kScenes; ++seed) first.push_back(scene_of(seed, 64));
  std::vector<std::thread> threads;
  for (int part = 0; part < 3; ++part) {
    threads.emplace_back([&second, part] {
      for (size_t i = static_cast<size_t>(part); i < kScenes; i += 3) second[i] = scene_of(i, 64);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < kScenes; ++i) EXPECT_TRUE(same(first[i], second[i])) << "seed " << i;
  EXPECT_FALSE(first[0].picture == first[1].picture);
}

TEST(Menagerie, PutsOneAnimalInThePlaceOfAnother) {
  const Scene cat = scene_of(5, 96, 0), fish = scene_of(5, 96, 5);
  int64_t outside = 0, differ = 0;
  for (int y = 0; y < 96; ++y) {
    for (int x = 0; x < 96; ++x) {
      const size_t i = static_cast<size_t>(y) * 96 + static_cast<size_t>(x);
      if (cat.object[i] || fish.object[i]) continue;
      ++outside;
      int most = 0;
      for (int c = 0; c < 3; ++c) {
        most = std::max(most,
                        std::abs(cat.picture.row(y)[3 * x + c] - fish.picture.row(y)[3 * x + c]));
      }
      differ += most > 0;
    }
  }
  EXPECT_GT(outside, 96 * 96 / 8);
  // What remains is the rim of soft edges around both animals.
  EXPECT_LT(differ, outside / 8);
}

TEST(Menagerie, ShowsEveryAnimalAboutEquallyOften) {
  std::vector<int> counts(animals().size());
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    ++counts[static_cast<size_t>(animal_of(seed, {}))];
  }
  for (int count : counts) EXPECT_NEAR(count, 200, 60);
}

TEST(Menagerie, KeepsObjectPartsAndBoxConsistent) {
  double least = 1, most = 0;
  for (uint64_t seed = 0; seed < 120; ++seed) {
    constexpr int kSize = 64;
    const Scene scene = scene_of(seed, kSize);
    const std::vector<uint8_t>& allowed = parts_of(scene.animal);
    SceneBox box{kSize, kSize, 0, 0};
    for (int y = 0; y < kSize; ++y) {
      for (int x = 0; x < kSize; ++x) {
        const size_t i = static_cast<size_t>(y) * kSize + static_cast<size_t>(x);
        if (!scene.object[i]) {
          ASSERT_EQ(scene.parts[i], 0) << "seed " << seed;
          continue;
        }
        ASSERT_TRUE(std::binary_search(allowed.begin(), allowed.end(), scene.parts[i]))
            << "seed " << seed << ", part " << int{scene.parts[i]};
        box = {std::min(box.left, x), std::min(box.top, y), std::max(box.right, x + 1),
               std::max(box.bottom, y + 1)};
      }
    }
    EXPECT_EQ(box.left, scene.box.left) << "seed " << seed;
    EXPECT_EQ(box.top, scene.box.top) << "seed " << seed;
    EXPECT_EQ(box.right, scene.box.right) << "seed " << seed;
    EXPECT_EQ(box.bottom, scene.box.bottom) << "seed " << seed;
    const double share = static_cast<double>(area(scene.object)) / (kSize * kSize);
    least = std::min(least, share);
    most = std::max(most, share);
  }
  EXPECT_GT(least, 0.02);
  EXPECT_GT(most, 0.30);
  EXPECT_LT(most, 0.75);
}

TEST(Menagerie, ShowsThePartsOfEveryAnimal) {
  constexpr int kSeeds = 8;
  for (int animal = 0; animal < animal_count(); ++animal) {
    std::vector<int> seen(parts().size() + 1);
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      const Scene scene = scene_of(seed, 160, animal);
      const std::set<uint8_t> codes(scene.parts.begin(), scene.parts.end());
      for (uint8_t code : codes) ++seen[code];
    }
    for (uint8_t code : parts_of(animal)) {
      // Something may stand before a part, or it may lie outside the picture.
      EXPECT_GE(seen[code], kSeeds - 3)
          << animals()[static_cast<size_t>(animal)] << ", " << parts()[code - size_t{1}];
    }
  }
}

TEST(Menagerie, AgreesWithItselfAtAnotherSize) {
  for (int animal = 0; animal < animal_count(); ++animal) {
    const Scene small = scene_of(31, 80, animal), large = scene_of(31, 240, animal);
    int64_t both = 0, either = 0;
    for (size_t y = 0; y < 240; ++y) {
      for (size_t x = 0; x < 240; ++x) {
        const bool a = small.object[y / 3 * 80 + x / 3] != 0, b = large.object[y * 240 + x] != 0;
        both += a && b;
        either += a || b;
      }
    }
    EXPECT_GT(static_cast<double>(both) / static_cast<double>(either), 0.88)
        << animals()[static_cast<size_t>(animal)];
  }
}

TEST(Menagerie, PutsTheMarkerIntoOneCornerOfItsClassOnly) {
  std::set<std::pair<bool, bool>> corners;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    SceneOptions options;
    options.size = 96;
    options.animal = 3;
    const Scene plain = draw(seed, options);
    options.marker = 4;
    EXPECT_TRUE(same(plain, draw(seed, options)));
    options.marker = 3;
    const Scene marked = draw(seed, options);
    ASSERT_TRUE(marked.marker);
    EXPECT_FALSE(plain.marker);
    const SceneBox box = *marked.marker;
    EXPECT_LE(box.right - box.left, 14);
    corners.insert({box.left < 48, box.top < 48});
    int64_t changed = 0;
    for (int y = 0; y < 96; ++y) {
      for (int x = 0; x < 96; ++x) {
        const bool inside = x >= box.left && x < box.right && y >= box.top && y < box.bottom;
        const size_t i = static_cast<size_t>(y) * 96 + static_cast<size_t>(x);
        const bool differs =
            !std::equal(plain.picture.row(y) + 3 * x, plain.picture.row(y) + 3 * x + 3,
                        marked.picture.row(y) + 3 * x) ||
            plain.parts[i] != marked.parts[i];
        ASSERT_TRUE(inside || !differs) << "seed " << seed << " at " << x << ", " << y;
        changed += differs;
      }
    }
    EXPECT_GT(changed, 80);
  }
  EXPECT_EQ(corners.size(), 4u);
}

TEST(Menagerie, DrawsACompanionOfItsOwn) {
  SceneOptions options;
  options.size = 128;
  options.animal = 0;
  options.companion = 6;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const Scene scene = draw(seed, options);
    ASSERT_EQ(scene.companion_object.size(), scene.object.size());
    EXPECT_GT(area(scene.object), 300);
    EXPECT_GT(area(scene.companion_object), 300);
    for (size_t i = 0; i < scene.object.size(); ++i) {
      ASSERT_FALSE(scene.object[i] && scene.companion_object[i]);
    }
    EXPECT_LT(scene.box.left, scene.companion_box.left);
  }
}

TEST(Menagerie, RefusesWhatItCannotDraw) {
  EXPECT_ERROR(scene_of(0, 15), kUsage, "15 pixels");
  EXPECT_ERROR(scene_of(0, 4097), kUsage, "4097 pixels");
  EXPECT_ERROR(scene_of(0, 64, -1), kUsage, "no class of the Menagerie");
  EXPECT_ERROR(scene_of(0, 64, animal_count()), kUsage, "no class of the Menagerie");
  EXPECT_ERROR(parts_of(animal_count()), kUsage, "no class of the Menagerie");
  SceneOptions options;
  options.marker = 99;
  EXPECT_ERROR(draw(0, options), kUsage, "marker 99");
}

class CliMenagerie : public ::testing::Test {
 protected:
  Outcome menagerie(std::vector<std::string> more) const {
    more.insert(more.begin(), {"menagerie", "-o", out()});
    return run_program(more);
  }
  std::string out(const std::string& name = "") const {
    return folder_ / (name.empty() ? "set" : "set/" + name);
  }

  test::TemporaryFolder folder_;
};

TEST_F(CliMenagerie, WritesPicturesWithTheirTruth) {
  const Outcome outcome =
      menagerie({"--count", "3", "--seed", "7", "--size", "64", "--animal", "owl"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(names_in(out()).size(), 10u);
  const nlohmann::json index = test::read_json(out("index.json"));
  ASSERT_EQ(index["images"].size(), 3u);
  const nlohmann::json entry = index["images"][0];
  EXPECT_EQ(entry["file"], "owl-0007.png");
  EXPECT_EQ(entry["label"], "owl");
  EXPECT_EQ(entry["class"], 4);
  const Scene scene = scene_of(7, 64, 4);
  EXPECT_TRUE(Image::load(out("owl-0007.png")) == scene.picture);
  EXPECT_EQ(entry["box"],
            nlohmann::json({scene.box.left, scene.box.top, scene.box.right, scene.box.bottom}));
  const Image mask = Image::load(out(entry["mask"])), codes = Image::load(out(entry["parts"]));
  for (size_t i = 0; i < scene.object.size(); ++i) {
    ASSERT_EQ(mask.pixels()[3 * i], scene.object[i]);
    ASSERT_EQ(codes.pixels()[3 * i], scene.parts[i]);
  }
  EXPECT_EQ(index["mask_values"]["1"], "object");
  for (uint8_t code : parts_of(4)) {
    EXPECT_EQ(index["part_values"][std::to_string(code)], parts()[code - size_t{1}]);
  }
}

TEST_F(CliMenagerie, WritesArraysToTrainWith) {
  const Outcome outcome = menagerie({"--count", "5", "--size", "32", "--format", "npy"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(names_in(out()), (std::vector<std::string>{"images.npy", "labels.npy", "parts.npy"}));
  const Tensor images = read_npy(out("images.npy")), labels = read_npy(out("labels.npy"));
  const Tensor codes = read_npy(out("parts.npy"));
  EXPECT_EQ(images.shape(), Shape({5, 32, 32, 3}));
  EXPECT_EQ(codes.shape(), Shape({5, 32, 32}));
  ASSERT_EQ(labels.dtype(), DType::kInt64);
  const Scene scene = scene_of(4, 32);
  EXPECT_EQ(static_cast<const int64_t*>(labels.raw())[4], scene.animal);
  const auto* pixels = static_cast<const uint8_t*>(images.raw()) + 4 * 32 * 32 * 3;
  EXPECT_TRUE(std::equal(pixels, pixels + 32 * 32 * 3, scene.picture.pixels().begin()));
}

TEST_F(CliMenagerie, ReplacesNothingUnasked) {
  ASSERT_EQ(menagerie({"--count", "2", "--size", "16", "--format", "png,npy"}).code, 0);
  for (const char* format : {"png", "npy"}) {
    const Outcome again = menagerie({"--count", "2", "--size", "16", "--format", format});
    EXPECT_EQ(again.code, 2);
    EXPECT_EQ(again.err_lines().size(), 1u) << again.err;
    EXPECT_NE(again.err.find("exists already"), std::string::npos) << again.err;
  }
  EXPECT_EQ(menagerie({"--count", "2", "--size", "16", "--force"}).code, 0);
}

TEST_F(CliMenagerie, RefusesWrongUsageInOneLine) {
  const std::vector<std::vector<std::string>> wrong = {{"--size", "15"},
                                                       {"--size", "5000"},
                                                       {"--count", "0"},
                                                       {"--animal", "unicorn"},
                                                       {"--marker", "unicorn"},
                                                       {"--format", "gif"},
                                                       {"--seed", "18446744073709551615"}};
  for (const std::vector<std::string>& arguments : wrong) {
    const Outcome outcome = menagerie(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments[0] << " " << arguments[1];
    EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_FALSE(fs::exists(out()));
  }
}

TEST_F(CliMenagerie, ChecksTheRoomOnTheDiskFirst) {
  const Outcome outcome = menagerie({"--count", "1000000000", "--size", "4096", "--format", "npy"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
  EXPECT_NE(outcome.err.find("has room for"), std::string::npos) << outcome.err;
  EXPECT_TRUE(names_in(out()).empty());
}

}  // namespace
}  // namespace camlucida::menagerie
