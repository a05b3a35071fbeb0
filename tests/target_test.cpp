/// What can be explained: values and derivatives of targets, and the texts that name them.
#include "explain/target.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/npy.h"
#include "explain/model.h"
#include "explain/target_grammar.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using test::TemporaryFolder;
using testing::random_tensor;

/// d score / d scores by central differences.
std::vector<double> by_differences(const Target& target, const Tensor& scores) {
  constexpr float kStep = 1.0f / 256;
  std::vector<double> slopes;
  for (int64_t i = 0; i < scores.count(); ++i) {
    Tensor moved = scores.clone();
    moved.floats()[i] = scores.floats()[i] + kStep;
    const double up = target.score(moved);
    const float high = moved.floats()[i];
    moved.floats()[i] = scores.floats()[i] - kStep;
    slopes.push_back((up - target.score(moved)) / (static_cast<double>(high) - moved.floats()[i]));
  }
  return slopes;
}

void expect_gradient(const Target& target, const Tensor& scores) {
  SCOPED_TRACE(target.describe());
  const std::vector<double> expected = by_differences(target, scores);
  const std::vector<double> seed = target.seed(scores).to_doubles();
  ASSERT_EQ(seed.size(), expected.size());
  double peak = 0;
  for (size_t i = 0; i < seed.size(); ++i) {
    peak = std::max(peak, std::abs(expected[i]));
    EXPECT_NEAR(seed[i], expected[i], 2e-5) << i;
  }
  EXPECT_GT(peak, 1e-3);
}

TEST(Target, GradientsAreThoseOfDifferences) {
  const Tensor logits = random_tensor({1, 6}, 3, 2.0f);
  const Tensor map = random_tensor({1, 3, 4, 5}, 4);
  for (const Target& target :
       {Target::of_class(2), Target::margin(4, 1), Target::probability(2),
        Target::log_probability(5), Target::logit_and_log_probability(0),
        Target::cosine(random_tensor({6}, 5), "a"),
        Target::negative_distance(random_tensor({1, 6}, 6), "b"), Target::entry(3, "c")}) {
    expect_gradient(target, logits);
  }
  const std::vector<double> reference = random_tensor({3}, 9).to_doubles();
  for (const Measure measure : {Measure::kCosine, Measure::kEuclidean}) {
    for (const Pooling& pooling : {Pooling{Pooling::Kind::kMean}, Pooling{Pooling::Kind::kGem, 2.5},
                                   Pooling{Pooling::Kind::kGem, 1}}) {
      const Embedding embedding{pooling, {0.5, 0, -0.5}, 0.25};
      expect_gradient(Target::similar({measure, embedding, reference}, "h"), map);
    }
  }
  const Tensor mask = Tensor::from_floats({4, 5}, std::vector<float>(20, 1.0f));
  for (const Target& target :
       {Target::region(1, mask, "d"), Target::cosine(random_tensor({3, 4, 5}, 7), "e"),
        Target::negative_distance(random_tensor({60}, 8), "f"), Target::entry(59, "g")}) {
    expect_gradient(target, map);
  }
}

TEST(Target, SlugsLeaveOutFoldersAndExtensions) {
  const Tensor vector = random_tensor({3}, 1);
  EXPECT_EQ(Target::of_class(281).slug(), "c281");
  EXPECT_EQ(Target::margin(3, 4).slug(), "margin-3-4");
  EXPECT_EQ(Target::cosine(vector, "faces/anna 1.jpg").slug(), "embed-anna-1");
  EXPECT_EQ(Target::cosine(vector, "/").slug(), "embed");
  EXPECT_EQ(Target::region(5, vector, "mask:a/b.png#5").slug(), "mask-b-5");
  EXPECT_EQ(Target::entry(5, "output:/l3/relu.2[1,2]").slug(), "output-relu.2-1-2");
}

/// A context of a picture 40 x 20 of which the network sees the left half, 2 picture pixels per
/// pixel of its input of 10 x 10.
class Grammar : public ::testing::Test {
 protected:
  Target parse(const std::string& text, const Tensor& scores) const {
    return parse_target(text, {graph_, scores, placement_,
                               [](const std::string& name) -> int64_t {
                                 if (name == "sky") return 2;
                                 if (name.find_first_not_of("0123456789") == std::string::npos) {
                                   return std::stoi(name);
                                 }
                                 throw Error(ErrorKind::kUsage, "no label " + name);
                               },
                               [](const Image& image) {
                                 Tensor answer(Shape{1, 6});
                                 for (int i = 0; i < 6; ++i) {
                                   answer.floats()[i] = image.row(0)[i];
                                 }
                                 return answer;
                               }});
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  /// Black, but for the rectangle.
  std::string save_mask(const std::string& name, int width, int height, int x, int y, int x_end,
                        int y_end) const {
    Image mask(width, height, 1);
    for (int row = y; row < y_end; ++row) {
      for (int column = x; column < x_end; ++column) mask.row(row)[column] = 1;
    }
    mask.save_png(path(name));
    return path(name);
  }

  TemporaryFolder folder_;
  Graph graph_;
  Placement placement_ = {.picture_width = 40,
                          .picture_height = 20,
                          .width = 10,
                          .height = 10,
                          .scale_x = 2,
                          .scale_y = 2};
  Tensor logits_ = random_tensor({1, 6}, 3);
  Tensor grid_ = random_tensor({1, 4, 5, 5}, 4);  // a cell is 4 x 4 pixels of the picture
};

TEST_F(Grammar, ClassesAndTheirRelatives) {
  const float* logits = logits_.floats();
  EXPECT_FLOAT_EQ(parse("class:sky", logits_).score(logits_), logits[2]);
  EXPECT_FLOAT_EQ(parse("margin:sky-4", logits_).score(logits_), logits[2] - logits[4]);
  EXPECT_EQ(parse("rest:1", logits_).class_index(), 1);
  EXPECT_ERROR(parse("margin:sky", logits_), kUsage, "two classes");
  EXPECT_ERROR(parse("nonsense:1", logits_), kUsage, "log-probability");
}

TEST_F(Grammar, ReferencesAreVectorsOrPictures) {
  write_npy(path("same.npy"), logits_);
  EXPECT_NEAR(parse("embed:" + path("same.npy"), logits_).score(logits_), 1.0, 1e-12);
  EXPECT_EQ(parse("distance:" + path("same.npy"), logits_).score(logits_), 0.0);

  Image picture(2, 1, 3);
  for (uint8_t i = 0; i < 6; ++i) picture.row(0)[i] = static_cast<uint8_t>(10 * i);
  picture.save_png(path("reference.png"));
  double dot = 0, norm = 0, own = 0;
  for (int i = 0; i < 6; ++i) {
    dot += 10.0 * i * logits_.floats()[i];
    norm += 100.0 * i * i;
    own += std::pow(logits_.floats()[i], 2);
  }
  EXPECT_NEAR(parse("embed:" + path("reference.png"), logits_).score(logits_),
              dot / std::sqrt(norm * own), 1e-12);

  write_npy(path("short.npy"), Tensor(Shape{5}));
  write_npy(path("nan.npy"), Tensor::from_floats({6}, {1, 2, 3, 4, 5, NAN}));
  EXPECT_ERROR(parse("embed:" + path("short.npy"), logits_), kInput, "no direction");
  EXPECT_ERROR(parse("distance:" + path("short.npy"), logits_).score(logits_), kUsage,
               "5 values but the network's output has 6");
  EXPECT_ERROR(parse("embed:" + path("nan.npy"), logits_), kInput, "NaN");
  EXPECT_ERROR(parse("embed:" + path("missing.npy"), logits_), kInput, "missing.npy");
  EXPECT_ERROR(parse("embed:" + path("missing.jpg"), logits_), kInput, "missing.jpg");
  EXPECT_ERROR(parse("embed:", logits_), kUsage, "embed:REF.npy");
}

TEST_F(Grammar, MasksLieWhereThePictureSays) {
  // Cells (row 1, columns 0 and 1) of the output.
  const std::string file = save_mask("mask.png", 40, 20, 0, 4, 8, 8);
  const float* grid = grid_.floats();
  EXPECT_NEAR(parse("mask:" + file + "#3", grid_).score(grid_), grid[3 * 25 + 5] + grid[3 * 25 + 6],
              1e-6);
  int best = 0;
  for (int c = 1; c < 4; ++c) {
    if (grid[c * 25 + 5] + grid[c * 25 + 6] > grid[best * 25 + 5] + grid[best * 25 + 6]) best = c;
  }
  EXPECT_EQ(parse("mask:" + file, grid_).describe(), "mask:" + file + "#" + std::to_string(best));
  EXPECT_EQ(parse("mask:" + file + "#sky", grid_).describe(), "mask:" + file + "#2");
  expect_gradient(parse("mask:" + file, grid_), grid_);

  Tensor array(Shape{20, 40}, DType::kBool);
  for (int i = 0; i < 8; ++i) array.as<bool>()[static_cast<size_t>(4 * 40 + 80 + i)] = true;
  write_npy(path("mask.npy"), array);
  EXPECT_EQ(parse("mask:" + path("mask.npy") + "#3", grid_).score(grid_),
            parse("mask:" + file + "#3", grid_).score(grid_));
}

TEST_F(Grammar, MasksThatDoNotFitAreRefused) {
  EXPECT_ERROR(parse("mask:" + save_mask("size.png", 10, 10, 0, 0, 9, 9), grid_), kInput,
               "[10, 10], the picture [20, 40]");
  EXPECT_ERROR(parse("mask:" + save_mask("right.png", 40, 20, 20, 0, 40, 20), grid_), kUsage,
               "covers no cell");
  const std::string good = save_mask("good.png", 40, 20, 0, 0, 20, 20);
  EXPECT_ERROR(parse("mask:" + good + "#4", grid_), kUsage, "the output has 4");
  EXPECT_ERROR(parse("mask:" + good + "#grass", grid_), kUsage, "grass");
  EXPECT_ERROR(parse("mask:" + good, logits_), kUsage, "[1, classes, h, w]");
  EXPECT_ERROR(parse("mask:" + path("none.png"), grid_), kInput, "none.png");
}

TEST_F(Grammar, PixelsAreThoseOfThePicture) {
  const float* grid = grid_.floats();
  EXPECT_EQ(parse("pixel:0,0#1", grid_).score(grid_), grid[25]);
  EXPECT_EQ(parse("pixel:3,4#1", grid_).score(grid_), grid[25 + 5]);
  EXPECT_EQ(parse("pixel:19,19#1", grid_).score(grid_), grid[25 + 24]);
  double best = -1e9;
  for (int c = 0; c < 4; ++c) best = std::max<double>(best, grid[c * 25 + 7]);
  EXPECT_EQ(parse("pixel:11,5", grid_).score(grid_), best);
  EXPECT_ERROR(parse("pixel:20,5", grid_), kUsage, "x 0 to 19, y 0 to 19");
  EXPECT_ERROR(parse("pixel:1", grid_), kUsage, "pixel:X,Y");
  EXPECT_ERROR(parse("pixel:1,-2", grid_), kUsage, "pixel:X,Y");
  EXPECT_ERROR(parse("pixel:1,2", logits_), kUsage, "[1, classes, h, w]");
}

TEST_F(Grammar, OutputsAreEntriesOfAnyValue) {
  EXPECT_EQ(target_output("output:features.3[1,2,3]"), "features.3");
  EXPECT_EQ(target_output("class:3"), "");
  EXPECT_EQ(parse("output:v[3,4,0]", grid_).score(grid_), grid_.floats()[3 * 25 + 20]);
  EXPECT_EQ(
      parse("output:v", Tensor::from_floats({1, 1}, {7})).score(Tensor::from_floats({1, 1}, {7})),
      7.0);
  EXPECT_ERROR(parse("output:v[3,4]", grid_), kUsage, "needs 3 indices");
  EXPECT_ERROR(parse("output:v", grid_), kUsage, "output:v[0,0,0]");
  EXPECT_ERROR(parse("output:v[3,5,0]", grid_), kUsage, "use 0 to 4");
  EXPECT_ERROR(parse("output:v[3,4,0", grid_), kUsage, "list of indices");
  EXPECT_ERROR(target_output("output:[3]"), kUsage, "names no value");
}

TEST(Targets, AreSplitAtCommasBeforeTheNext) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(split_targets("tench, Tinca tinca"), Texts{"tench, Tinca tinca"});
  EXPECT_EQ(split_targets("1,2,pixel:3,4,output:a[1,2],embed:x,y.npy"),
            (Texts{"1,2", "pixel:3,4", "output:a[1,2]", "embed:x,y.npy"}));
}

/// Through the façade, on the network that comes with the project.
class TargetRun : public ::testing::Test {
 protected:
  const std::filesystem::path folder_ =
      std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";
  Model model_ = Model::load(folder_ / "shapes.onnx");
  Image star_ = Image::load(folder_ / "examples" / "star.png");
};

TEST_F(TargetRun, ThePictureItselfIsPerfectlySimilar) {
  const std::string file = (folder_ / "examples" / "star.png").string();
  const Answer answer = model_.explain(star_, {.target = {.classes = {"embed:" + file}}});
  EXPECT_NEAR(answer.explanations[0].score, 1.0, 1e-9);
  const Answer other = model_.explain(Image::load(folder_ / "examples" / "heart.png"),
                                      {.target = {.classes = {"embed:" + file}}});
  EXPECT_LT(other.explanations[0].score, 0.9);
}

/// A channel's entry after the layer is reached by gradients of that channel only.
TEST_F(TargetRun, AnEntryOfAValueIsItsOwnScore) {
  const Subject subject = model_.subject();
  const Answer answer =
      model_.explain(star_, {.target = {.classes = {"output:" + subject.layer + "[0,1,2]"}}});
  EXPECT_EQ(answer.explanations[0].layer, subject.layer);
  EXPECT_TRUE(answer.prediction.ranking.empty());
  EXPECT_ERROR(model_.explain(star_, {.target = {.classes = {"output:layer3[0,1,2]", "top1"}}}),
               kUsage, "one after the other");
  EXPECT_ERROR(model_.explain(star_, {.target = {.classes = {"output:layer33[0]"}}}), kUsage,
               "layer33");
}

}  // namespace
}  // namespace camlucida
