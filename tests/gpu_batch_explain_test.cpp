/// Explanations of several pictures from shared passes (test_gpu: emulated unless asked otherwise)
/// against the same pictures one by one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "explain/batch_explainer.h"
#include "tests/cli_program.h"
#include "tests/gpu_harness.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using test::test_gpu;

const std::filesystem::path kMenagerie =
    std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "model_zoo" / "menagerie";

/// Of the largest value; 0: the same bits. Kernels of ours, all there are on an emulated GPU, sum
/// alike for any batch, but for products of up to four rows (layers/linear/few_rows.h), so for the
/// linear head. Libraries have kernels for every size.
double tolerance(const Gpu& gpu, size_t batch = 1) {
  if (!gpu.is_emulated()) return 1e-4;
  return batch <= 4 ? 0 : 1e-6;
}

void expect_close(const Tensor& mine, const Tensor& expected, const std::string& what,
                  double tolerance) {
  ASSERT_EQ(mine.desc(), expected.desc()) << what;
  EXPECT_EQ(mine.remote(), nullptr) << what << " is still on the GPU";
  if (tolerance == 0) {
    EXPECT_EQ(std::memcmp(mine.raw(), expected.raw(), expected.bytes()), 0) << what;
    return;
  }
  const std::vector<double> a = mine.to_doubles();
  const std::vector<double> b = expected.to_doubles();
  double peak = 0;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(std::isfinite(a[i]), std::isfinite(b[i])) << what << " at " << i;
    if (!std::isfinite(b[i])) continue;
    peak = std::max(peak, std::abs(b[i]));
    worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  EXPECT_LE(worst, tolerance * peak) << what;
}

double peak_of(const Tensor& tensor) {
  double peak = 0;
  for (const double value : tensor.to_doubles()) peak = std::max(peak, std::abs(value));
  return peak;
}

void expect_same(const Answer& mine, const Answer& expected, double tolerance) {
  expect_close(mine.prediction.scores, expected.prediction.scores, "scores", tolerance);
  ASSERT_EQ(mine.prediction.ranking.size(), expected.prediction.ranking.size());
  ASSERT_EQ(mine.explanations.size(), expected.explanations.size());
  for (size_t i = 0; i < mine.explanations.size(); ++i) {
    const Explanation& a = mine.explanations[i];
    const Explanation& b = expected.explanations[i];
    SCOPED_TRACE(b.method + " of " + b.target_text);
    EXPECT_EQ(a.slug, b.slug);
    EXPECT_EQ(a.target_text, b.target_text);
    EXPECT_EQ(a.layer, b.layer);
    EXPECT_EQ(a.layer_shape, b.layer_shape);
    EXPECT_EQ(a.status, b.status);
    EXPECT_EQ(a.advice, b.advice);
    EXPECT_EQ(a.parameters, b.parameters);
    EXPECT_EQ(a.passes.forwards, b.passes.forwards);
    EXPECT_EQ(a.passes.backwards, b.passes.backwards);
    EXPECT_EQ(a.passes.replays, b.passes.replays);
    EXPECT_EQ(a.picture, b.picture);
    EXPECT_NEAR(a.score, b.score, tolerance * peak_of(expected.prediction.scores));
    expect_close(a.raw, b.raw, "raw map", tolerance);
    expect_close(a.map, b.map, "map", tolerance);
    ASSERT_EQ(a.artefacts.size(), b.artefacts.size());
    for (const auto& [name, artefact] : b.artefacts) {
      expect_close(a.artefacts.at(name), artefact, name, tolerance);
    }
    ASSERT_EQ(a.series.size(), b.series.size());
  }
}

Model menagerie(std::shared_ptr<Gpu> gpu, int max_batch = 0,
                std::function<void(const std::string&)> notice = {}) {
  return Model::load(kMenagerie / "classifier" / "model.onnx",
                     {.gpu = std::move(gpu), .max_batch = max_batch, .notice = std::move(notice)});
}

std::vector<PictureToExplain> examples(const Model& model, size_t count) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(kMenagerie / "examples")) {
    if (entry.path().extension() == ".png" && entry.path().stem().extension().empty()) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<PictureToExplain> pictures;
  for (size_t i = 0; i < count; ++i) {
    const auto image = std::make_shared<const Image>(Image::load(files.at(i)));
    pictures.push_back({model.prepare(*image), image});
  }
  return pictures;
}

/// The pictures in batches of what one pass takes, and each as Model::explain explains it.
void expect_as_one_by_one(const Model& model, const ExplainOptions& options,
                          const std::vector<PictureToExplain>& pictures, size_t batch,
                          double tolerance) {
  BatchExplainer explainer(model, options, pictures.size());
  ASSERT_EQ(explainer.batch(pictures[0].input.tensor.shape()), batch);
  explainer.start(pictures);
  ASSERT_EQ(explainer.size(), pictures.size());
  for (size_t i = 0; i < pictures.size(); ++i) {
    SCOPED_TRACE("picture " + std::to_string(i));
    const Answer expected = model.explain(pictures[i].input, pictures[i].picture, options);
    expect_same(explainer.explain(i), expected, tolerance);
  }
}

/// Every method that claims to share passes and applies to the network.
std::string sharing_methods(const Model& model) {
  std::string names;
  for (const auto& method : ExplainerRegistry::instance().all()) {
    if (!method->shares_passes()) continue;
    Settings settings(method->name, method->variants[0].name, {});
    try {
      method->needs(model.subject(), settings);
    } catch (const Error&) {
      continue;
    }
    names += (names.empty() ? "" : ",") + method->name;
  }
  return names;
}

/// A layer in the middle of the network.
std::string inner_layer(const Model& model) {
  std::vector<std::string> layers;
  for (const Node& node : model.bound().nodes()) {
    const Value& value = model.bound().value(node.outputs[0]);
    if (node.layer->name == "Relu" && value.desc.shape.rank() == 4) layers.push_back(value.name);
  }
  return layers.at(layers.size() / 2);
}

TEST(BatchExplain, EveryMethodThatSharesPassesIsAsOneByOne) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const Model model = menagerie(gpu);
  const std::string methods = sharing_methods(model);
  for (const std::string name : {"cam", "gradcam", "gradcam++", "layercam", "fmgcam", "eigencam",
                                 "saliency", "guidedbackprop", "fullgrad"}) {
    EXPECT_NE(("," + methods + ",").find("," + name + ","), std::string::npos) << name;
  }
  for (const std::string name : {"scorecam", "opticam", "finercam", "relevancecam", "ablationcam",
                                 "smoothgrad", "guidedgradcam"}) {
    EXPECT_EQ(("," + methods + ",").find("," + name + ","), std::string::npos) << name;
  }
  expect_as_one_by_one(model,
                       {.method = methods,
                        .target = {.classes = {"top2", "0"}},
                        .settings = {{"gradcam.closed_form", "never"}}},
                       examples(model, 3), 3, tolerance(*gpu));
}

TEST(BatchExplain, LayersSmoothingAndNormalisation) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const Model model = menagerie(gpu);
  ExplainOptions options{.method = "gradcam,hirescam",
                         .settings = {{"gradcam.closed_form", "never"}},
                         .eigen_smooth = true};
  expect_as_one_by_one(model, options, examples(model, 3), 3, tolerance(*gpu));
  options.eigen_smooth = false;
  options.normalisation = Normalisation::kRaw;
  options.artefacts = false;
  options.layer = inner_layer(model) + "," + model.subject().layer;
  expect_as_one_by_one(model, options, examples(model, 3), 3, tolerance(*gpu));
}

TEST(BatchExplain, OtherMethodsBesideGoPictureByPicture) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const Model model = menagerie(gpu);
  const std::map<std::string, std::string> settings = {{"rise.masks", "5"}};
  const std::vector<PictureToExplain> pictures = examples(model, 3);
  expect_as_one_by_one(
      model, {.method = "rise,gradcam,guidedbackprop,finercam,layercam", .settings = settings},
      pictures, 3, tolerance(*gpu));
  expect_as_one_by_one(model, {.method = "rise,finercam", .settings = settings}, pictures, 1, 0);
  expect_as_one_by_one(model, {.method = "layercam", .aug_smooth = true}, pictures, 1, 0);
}

TEST(BatchExplain, ALastBatchIsFilledUp) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const Model model = menagerie(gpu, 3);
  // Five pictures in passes of three: the last picture of the second one stands twice.
  expect_as_one_by_one(model, {.method = "layercam", .target = {.classes = {"top1"}}},
                       examples(model, 5), 3, tolerance(*gpu));
}

TEST(BatchExplain, LargeBatchesDifferByRounding) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const Model model = menagerie(gpu);
  expect_as_one_by_one(model,
                       {.method = "gradcam,layercam,saliency,eigencam",
                        .target = {.classes = {"top2"}},
                        .settings = {{"gradcam.closed_form", "never"}}},
                       examples(model, 8), 8, tolerance(*gpu, 8));
}

TEST(BatchExplain, TheProcessorDoesNotBatch) {
  const Model model = menagerie(nullptr);
  EXPECT_FALSE(model.takes_batches());
  expect_as_one_by_one(model, {.method = "gradcam,layercam"}, examples(model, 2), 1, 0);
}

TEST(BatchExplain, AFailureCostsOnlyItsPicture) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const Model model = menagerie(gpu);
  const ExplainOptions options{.method = "gradcam,layercam,saliency",
                               .target = {.classes = {"top2"}},
                               .settings = {{"gradcam.closed_form", "never"}}};
  std::vector<PictureToExplain> pictures = examples(model, 4);
  Tensor spoiled = pictures[1].input.tensor.clone();
  for (float& value : spoiled.as<float>()) value = NAN;
  pictures[1].input.tensor = spoiled;
  pictures[2].targets = {Target::of_class(99999)};
  BatchExplainer explainer(model, options, pictures.size());
  ASSERT_EQ(explainer.batch(spoiled.shape()), 4u);
  explainer.start(pictures);
  for (const size_t i : {0u, 1u, 3u}) {
    SCOPED_TRACE(i);
    const Answer mine = explainer.explain(i);
    if (i == 1) {
      EXPECT_EQ(mine.explanations.at(0).status, Status::kNonfinite);
    } else {
      expect_same(mine, model.explain(pictures[i].input, pictures[i].picture, options),
                  tolerance(*gpu));
    }
  }
  explainer.start(pictures);
  explainer.explain(0);
  try {
    explainer.explain(2);
    FAIL() << "class 99999 does not exist";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  }
  expect_same(explainer.explain(3), model.explain(pictures[3].input, pictures[3].picture, options),
              tolerance(*gpu));
}

TEST(BatchExplain, PicturesMayHaveTheirOwnTargets) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const Model model = menagerie(gpu);
  ExplainOptions options{.method = "layercam", .target = {.classes = {}}};
  std::vector<PictureToExplain> pictures = examples(model, 3);
  pictures[0].targets = {Target::of_class(1)};
  pictures[1].targets = {Target::margin(0, 2), Target::probability(1), Target::of_class(3)};
  pictures[2].targets = {Target::of_class(2), Target::of_class(0)};
  BatchExplainer explainer(model, options, pictures.size());
  EXPECT_EQ(explainer.batch(pictures[0].input.tensor.shape()), 3u);
  explainer.start(pictures);
  for (size_t i = 0; i < pictures.size(); ++i) {
    SCOPED_TRACE(i);
    options.target.targets = pictures[i].targets;
    expect_same(explainer.explain(i),
                model.explain(pictures[i].input, pictures[i].picture, options), tolerance(*gpu));
  }
}

TEST(BatchExplain, OneShapeAtATime) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "net.onnx";
  test::write_text(path, test::small_classifier(0));
  const Model model = Model::load(path, {.gpu = test_gpu()});
  std::vector<PictureToExplain> pictures;
  for (const int height : {16, 24}) {
    pictures.push_back({{testing::random_tensor({1, 3, height, 20}, static_cast<unsigned>(height)),
                         Placement::identity(20, height)}});
  }
  BatchExplainer explainer(model, {.method = "layercam"}, 4);
  EXPECT_THROW(explainer.start(pictures), Error);
  // Other shapes are planned for as they come.
  for (const PictureToExplain& picture : pictures) {
    const Shape& shape = picture.input.tensor.shape();
    EXPECT_EQ(explainer.batch(shape), 4u);
    explainer.start({picture, picture});
    explainer.explain(0);
    EXPECT_EQ(explainer.explain(1).explanations.at(0).map.shape(), (Shape{shape[2], shape[3]}));
  }
}

TEST(BatchExplain, AskedAgainItIsMadeAgain) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const Model model = menagerie(gpu);
  const std::vector<PictureToExplain> pictures = examples(model, 3);
  BatchExplainer explainer(model, {.method = "layercam"}, 3);
  explainer.start(pictures);
  const Answer last = explainer.explain(2);
  const Answer first = explainer.explain(0);
  expect_same(explainer.explain(2), last, tolerance(*gpu));
  expect_same(explainer.explain(0), first, tolerance(*gpu));
}

// ---- Memory ----------------------------------------------------------------------------------

TEST(BatchExplainMemory, TheBatchIsHalvedWhenItIsShort) {
  std::vector<std::string> notices;
  const std::shared_ptr<Gpu> gpu = Gpu::emulated(1, size_t{48} << 20);
  const Model model = menagerie(gpu, 8, [&](const std::string& line) { notices.push_back(line); });
  const ExplainOptions options{.method = "layercam,hirescam"};
  const std::vector<PictureToExplain> pictures = examples(model, 8);
  const Model plenty = menagerie(Gpu::emulated());
  BatchExplainer explainer(model, options, pictures.size());
  ASSERT_EQ(explainer.batch(pictures[0].input.tensor.shape()), 8u);
  explainer.start(pictures);
  const auto owner = gpu->new_stream();
  std::vector<DeviceBuffer> guests;
  for (size_t i = 0; i < pictures.size(); ++i) {
    SCOPED_TRACE(i);
    if (i == 2) {  // in the middle of a batch
      for (size_t bytes = size_t{16} << 20; bytes >= 512;) {
        try {
          guests.push_back(owner->allocate(bytes));
        } catch (const Error&) {
          bytes /= 2;
        }
      }
    }
    const Answer mine = explainer.explain(i);
    expect_same(mine, plenty.explain(pictures[i].input, pictures[i].picture, options),
                tolerance(*gpu, 8));
  }
  ASSERT_FALSE(notices.empty());
  EXPECT_NE(notices[0].find("instead of 8"), std::string::npos) << notices[0];
  EXPECT_LT(explainer.batch(pictures[0].input.tensor.shape()), 8u);
}

TEST(BatchExplainMemory, AnyLimitGivesTheSameMapsOrAnError) {
  const ExplainOptions options{.method = "layercam,saliency"};
  const Model plenty = menagerie(Gpu::emulated());
  const std::vector<PictureToExplain> pictures = examples(plenty, 4);
  std::vector<Answer> expected;
  for (const PictureToExplain& one : pictures) {
    expected.push_back(plenty.explain(one.input, one.picture, options));
  }
  int refused = 0;
  int explained = 0;
  for (size_t limit = size_t{1} << 20; limit <= size_t{64} << 20; limit += limit / 2) {
    SCOPED_TRACE(limit);
    const Model scarce = menagerie(Gpu::emulated(1, limit));
    BatchExplainer explainer(scarce, options, pictures.size());
    explainer.batch(pictures[0].input.tensor.shape());
    explainer.start(pictures);
    try {
      for (size_t i = 0; i < pictures.size(); ++i) {
        expect_same(explainer.explain(i), expected[i], 0);
      }
      ++explained;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kResource) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(explained, 1);
}

TEST(BatchExplainMemory, CallersMayWantLess) {
  const Model model = menagerie(test_gpu());
  BatchExplainer explainer(model, {.method = "layercam"}, 12);
  const Shape shape = examples(model, 1)[0].input.tensor.shape();
  EXPECT_EQ(explainer.batch(shape), 12u);
  explainer.limit(5);
  EXPECT_EQ(explainer.batch(shape), 4u) << "evened out";
  explainer.limit(100);
  EXPECT_EQ(explainer.batch(shape), 4u);
}

}  // namespace
}  // namespace camlucida
