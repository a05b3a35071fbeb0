/// Every method on a GPU (test_gpu: emulated unless asked otherwise) against the processor, what it
/// fetches from there, and what happens when its memory is short.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/cuda/device_tensor.h"
#include "engine/passes/passes.h"
#include "explain/blurring.h"
#include "explain/gpu/maps.h"
#include "explain/gpu/masks.h"
#include "explain/model.h"
#include "explain/perturb/masking_common.h"
#include "explain/residence.h"
#include "tests/gpu_harness.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using test::test_gpu;
using testing::random_tensor;
using testing::residual_net;

constexpr double kTolerance = 1e-4;  // relative to the largest magnitude

void expect_close(const Tensor& mine, const Tensor& reference, const std::string& what,
                  double tolerance = kTolerance) {
  ASSERT_EQ(mine.shape(), reference.shape()) << what;
  const std::vector<double> a = mine.to_doubles();
  const std::vector<double> b = reference.to_doubles();
  double peak = 0;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(std::isfinite(a[i]), std::isfinite(b[i])) << what << " at " << i;
    if (!std::isfinite(b[i])) continue;
    peak = std::max(peak, std::abs(b[i]));
    worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  EXPECT_LE(worst, tolerance * peak + 1e-12) << what;
}

/// Few variants, so that an emulated GPU is done soon.
const std::map<std::string, std::map<std::string, std::string>>& short_runs() {
  static const std::map<std::string, std::map<std::string, std::string>> settings = {
      {"rise", {{"masks", "12"}}},
      {"sscam", {{"samples", "2"}}},
      {"iscam", {{"samples", "2"}}},
      {"smoothgrad", {{"samples", "5"}}},
      {"smoothgradcam++", {{"samples", "5"}}},
      {"integratedgradients", {{"steps", "6"}}},
      {"opticam", {{"iterations", "12"}}},
      {"occlusion", {{"window", "4"}, {"stride", "3"}}}};
  return settings;
}

std::map<std::string, std::string> short_run(const std::string& method) {
  const auto found = short_runs().find(method);
  return found == short_runs().end() ? std::map<std::string, std::string>() : found->second;
}

/// A network explained by hand at one of its values, on a device.
class Trial {
 public:
  Trial(SessionPool::Options options, const Graph& graph = residual_net())
      : bound_(bind_shapes(graph, {{"x", picture_.shape()}})),
        pool_(bound_, "x", std::move(options)) {}

  std::vector<RawMap> explain(const std::string& method, const std::string& layer,
                              std::map<std::string, std::string> given) {
    const MethodChoice choice = choose_method(method);
    std::vector<Target> targets = {Target::of_class(1), Target::probability(3)};
    Subject subject{&bound_, "x", "logits", layer, Preprocessing::imagenet(9, 11)};
    if (choice.method->compares) {
      subject.score = layer;
      targets = {similar(layer)};
    }
    Settings settings(choice.method->name, choice.variant, std::move(given), 7);
    Needs needs = choice.method->needs(subject, settings);
    if (!needs.gradient_to.empty()) needs.seeds_per_image = static_cast<int>(targets.size());
    const SessionPool::Lease session = pool_.lend(picture_.shape(), needs);
    session->forward(picture_);
    Evidence evidence(pool_, *session, picture_, subject, targets);
    for (size_t t = 0; t < targets.size(); ++t) evidence.score(t);  // the caller wants it anyway
    const size_t before = fetched_bytes();
    std::vector<RawMap> maps = choice.method->explain(evidence, settings);
    fetched_ = fetched_bytes() - before;
    for (RawMap& map : maps) {
      if (!map.map.defined()) map.map = finish_map(map.raw, 9, 11, choice.method->tail);
      map.raw = on_host(map.raw);
      map.map = on_host(map.map);
      for (auto& [name, artefact] : map.artefacts) artefact = on_host(artefact);
    }
    return maps;
  }

  size_t fetched() const { return fetched_; }
  SessionPool& pool() { return pool_; }
  const Tensor& picture() const { return picture_; }
  size_t bytes_of(const std::string& value) const {
    return static_cast<size_t>(bound_.value(bound_.require(value)).desc.bytes());
  }

 private:
  Target similar(const std::string& layer) const {
    const auto channels = static_cast<size_t>(bound_.value(bound_.require(layer)).desc.shape[1]);
    Similarity similarity;
    similarity.embedding.pooling.kind = Pooling::Kind::kMean;
    for (size_t k = 0; k < channels; ++k) {
      similarity.reference.push_back(0.3 + 0.1 * static_cast<double>(k % 7));
    }
    return Target::similar(std::move(similarity), "cosine:other");
  }

  Tensor picture_ = random_tensor({1, 3, 9, 11}, 5);
  Graph bound_;
  SessionPool pool_;
  size_t fetched_ = 0;
};

struct Form {
  std::string method;  // with its variant
  std::string layer;
  std::map<std::string, std::string> settings;
};

std::ostream& operator<<(std::ostream& out, const Form& form) {
  return out << form.method << " at " << form.layer;
}

/// Every variant of every method, in front of the head and inside the network.
std::vector<Form> all_forms() {
  std::vector<Form> forms;
  for (const auto& method : ExplainerRegistry::instance().all()) {
    for (const ExplainerDef::Variant& variant : method->variants) {
      for (const std::string layer : {"relu1", "relu2"}) {
        if (method->name == "cam" && layer == "relu1") continue;  // needs a head
        if (!method->uses_layer && layer == "relu2") continue;
        forms.push_back({method->name + "@" + variant.name, layer, short_run(method->name)});
      }
    }
  }
  // Settings that lead elsewhere.
  forms.push_back({"gradcam", "relu2", {{"closed_form", "never"}}});
  forms.push_back({"ablationcam", "relu2", {{"closed_form", "false"}}});
  forms.push_back({"scorecam@official", "relu1", {{"channels", "6"}}});
  forms.push_back({"groupcam", "relu1", {{"percentile", "70"}, {"groups", "7"}}});
  forms.push_back({"reciprocam", "relu1", {{"gaussian", "false"}}});
  forms.push_back({"decomcam1", "relu1", {{"channel_weights", "gradcam++"}}});
  forms.push_back({"occlusion", "relu1", {{"fill", "blur"}, {"window", "4"}, {"stride", "3"}}});
  forms.push_back({"occlusion", "relu1", {{"fill", "black"}, {"window", "4"}, {"stride", "3"}}});
  for (const std::string baseline : {"black", "mean", "blur"}) {
    forms.push_back({"integratedgradients", "relu1", {{"steps", "5"}, {"baseline", baseline}}});
  }
  for (const std::string channels : {"signed-sum", "abs-sum", "max-abs"}) {
    forms.push_back({"saliency", "relu1", {{"channels", channels}}});
  }
  for (const std::string normaliser : {"max", "sigmoid"}) {
    forms.push_back({"opticam", "relu1", {{"iterations", "12"}, {"normaliser", normaliser}}});
  }
  for (const std::string kernel : {"rbf", "poly", "linear"}) {
    forms.push_back({"kpcacam", "relu1", {{"kernel", kernel}}});
  }
  for (const std::string sign : {"v_max", "correlation"}) {
    forms.push_back({"eigencam", "relu1", {{"sign", sign}}});
  }
  forms.push_back({"ifa", "relu1", {{"base", "hirescam"}}});
  return forms;
}

class GpuMethod : public ::testing::TestWithParam<Form> {};

TEST_P(GpuMethod, GivesTheMapsOfTheProcessor) {
  const Form& form = GetParam();
  Trial processor({.max_batch = 8});
  Trial device({.gpu = test_gpu()});
  const std::vector<RawMap> expected = processor.explain(form.method, form.layer, form.settings);
  const std::vector<RawMap> mine = device.explain(form.method, form.layer, form.settings);
  ASSERT_EQ(mine.size(), expected.size());
  // A search repeats what rounding did, step by step.
  const double tolerance = form.method.rfind("opticam", 0) == 0 ? 1e-3 : kTolerance;
  for (size_t t = 0; t < mine.size(); ++t) {
    SCOPED_TRACE("target " + std::to_string(t));
    expect_close(mine[t].raw, expected[t].raw, "raw map", tolerance);
    expect_close(mine[t].map, expected[t].map, "map", tolerance);
    EXPECT_EQ(mine[t].remark, expected[t].remark);
    ASSERT_EQ(mine[t].artefacts.size(), expected[t].artefacts.size());
    for (const auto& [name, artefact] : expected[t].artefacts) {
      expect_close(mine[t].artefacts.at(name), artefact, name, tolerance);
    }
    ASSERT_EQ(mine[t].series.size(), expected[t].series.size());
  }
}

/// Where a method claims to leave nothing to the host, it fetches less than the smallest tensor
/// that it works on: neither layer nor picture nor their gradients come down.
TEST_P(GpuMethod, FetchesNoMoreThanItSays) {
  const Form& form = GetParam();
  const ExplainerDef& method = *choose_method(form.method).method;
  if (!method.host_part.empty()) GTEST_SKIP() << method.host_part << " on the host";
  Trial device({.gpu = test_gpu()});
  device.explain(form.method, form.layer, form.settings);
  EXPECT_LT(device.fetched(), device.bytes_of(method.uses_layer ? form.layer : "x"));
}

std::string name_of_form(const ::testing::TestParamInfo<Form>& info) {
  std::string name;
  for (const char c : info.param.method + "_" + info.param.layer) {
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return name + "_" + std::to_string(info.index);
}

INSTANTIATE_TEST_SUITE_P(Methods, GpuMethod, ::testing::ValuesIn(all_forms()), name_of_form);

// ---- The façade on a real network ------------------------------------------------------------

const std::filesystem::path kMenagerie =
    std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "model_zoo" / "menagerie";

Image example() { return Image::load(kMenagerie / "examples" / "bird-125925.png"); }

Model menagerie(std::shared_ptr<Gpu> gpu, Precision precision = Precision::kFp32) {
  return Model::load(kMenagerie / "classifier" / "model.onnx",
                     {.gpu = std::move(gpu), .precision = precision});
}

/// Ranks of the values, ties shared.
std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> result(values.size());
  for (size_t i = 0; i < order.size();) {
    size_t end = i;
    while (end < order.size() && values[order[end]] == values[order[i]]) ++end;
    for (size_t j = i; j < end; ++j) result[order[j]] = static_cast<double>(i + end - 1) / 2;
    i = end;
  }
  return result;
}

double rank_correlation(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = ranks(a.to_doubles());
  const std::vector<double> y = ranks(b.to_doubles());
  const auto n = static_cast<double>(x.size());
  const double mean = (n - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xy / std::sqrt(xx * yy);
}

const std::string kGradientCams =
    "gradcam,gradcam++,xgradcam,hirescam,layercam,gradcamelementwise,refinecam";

TEST(GpuModel, ExplainsAsTheProcessorDoes) {
  const Image picture = example();
  ExplainOptions options{.method = kGradientCams + ",eigencam,decomcam,saliency,ablationcam",
                         .target = {.classes = {"top2"}},
                         .settings = {{"gradcam.closed_form", "never"}}};
  const Answer expected = menagerie(nullptr).explain(picture, options);
  const Answer mine = menagerie(test_gpu()).explain(picture, options);
  expect_close(mine.prediction.scores, expected.prediction.scores, "scores");
  ASSERT_EQ(mine.explanations.size(), expected.explanations.size());
  for (size_t i = 0; i < mine.explanations.size(); ++i) {
    const Explanation& a = mine.explanations[i];
    const Explanation& b = expected.explanations[i];
    SCOPED_TRACE(b.slug);
    EXPECT_EQ(a.status, b.status);
    EXPECT_EQ(a.raw.remote(), nullptr);
    EXPECT_EQ(a.map.remote(), nullptr);
    expect_close(a.raw, b.raw, "raw map");
    expect_close(a.map, b.map, "map");
  }
}

TEST(GpuModel, SmoothsAsTheProcessorDoes) {
  const Image picture = example();
  for (const bool eigen : {false, true}) {
    SCOPED_TRACE(eigen);
    const ExplainOptions options{.method = "gradcam,hirescam",
                                 .settings = {{"gradcam.closed_form", "never"}},
                                 .aug_smooth = !eigen,
                                 .eigen_smooth = eigen};
    const Answer expected = menagerie(nullptr).explain(picture, options);
    const Answer mine = menagerie(test_gpu()).explain(picture, options);
    for (size_t i = 0; i < mine.explanations.size(); ++i) {
      expect_close(mine.explanations[i].map, expected.explanations[i].map, "map");
    }
  }
}

TEST(GpuModel, HalfPrecisionRanksPixelsAlike) {
  const Image picture = example();
  const ExplainOptions options{.method = kGradientCams,
                               .normalisation = Normalisation::kRaw,
                               .settings = {{"gradcam.closed_form", "never"}}};
  const Answer expected = menagerie(nullptr).explain(picture, options);
  for (const Precision precision : {Precision::kFp16, Precision::kBf16}) {
    SCOPED_TRACE(name_of(precision));
    const Answer mine = menagerie(test_gpu(), precision).explain(picture, options);
    for (size_t i = 0; i < mine.explanations.size(); ++i) {
      EXPECT_GE(rank_correlation(mine.explanations[i].map, expected.explanations[i].map), 0.999)
          << expected.explanations[i].slug;
    }
  }
}

TEST(GpuModel, ThreadsDoNotChangeABit) {
  const Image picture = example();
  const ExplainOptions options{.method = kGradientCams + ",decomcam,fullgrad",
                               .settings = {{"gradcam.closed_form", "never"}}};
  const Answer one = menagerie(Gpu::emulated(1)).explain(picture, options);
  const Answer three = menagerie(Gpu::emulated(3)).explain(picture, options);
  for (size_t i = 0; i < one.explanations.size(); ++i) {
    const Tensor& a = one.explanations[i].map;
    const Tensor& b = three.explanations[i].map;
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << one.explanations[i].slug;
  }
}

TEST(GpuModel, OnlyMapsAndListsComeBack) {
  const Model model = menagerie(test_gpu());
  const Image picture = example();
  const Graph& bound = model.bound();
  const TensorDesc& layer = bound.value(model.default_layer().value).desc;
  const TensorDesc& scores = bound.value(bound.require(model.score_name())).desc;
  const ExplainOptions options{.method = kGradientCams,
                               .settings = {{"gradcam.closed_form", "never"}}};
  model.explain(picture, options);  // plans
  const size_t before = fetched_bytes();
  const Answer answer = model.explain(picture, options);
  const size_t fetched = fetched_bytes() - before;
  // Per method a raw map, the final one and the weights; once the scores.
  size_t expected = static_cast<size_t>(scores.bytes());
  for (const Explanation& one : answer.explanations) {
    expected += one.raw.bytes() + one.map.bytes();
    for (const auto& [name, artefact] : one.artefacts) expected += artefact.bytes();
  }
  EXPECT_LE(fetched, expected);
  EXPECT_LT(expected, answer.explanations.size() * static_cast<size_t>(layer.bytes()));

  ExplainOptions bare = options;
  bare.artefacts = false;
  const size_t then = fetched_bytes();
  EXPECT_TRUE(model.explain(picture, bare).explanations[0].artefacts.empty());
  EXPECT_LT(fetched_bytes() - then, fetched);
}

// ---- Memory ----------------------------------------------------------------------------------

TEST(GpuMemory, PassesAreHalvedWhenItIsShort) {
  Trial plenty({.gpu = Gpu::emulated()});
  const RawMap expected = plenty.explain("scorecam", "relu1", {})[0];

  // The first variants are followed by a guest that leaves no memory.
  constexpr size_t kMemory = size_t{16} << 20;
  const std::shared_ptr<Gpu> gpu = Gpu::emulated(1, kMemory);
  std::vector<std::string> notices;
  Trial scarce({.gpu = gpu, .notice = [&](const std::string& text) { notices.push_back(text); }});
  const Needs needs{.outputs = {"logits"}, .score = "logits"};
  const auto owner = gpu->new_stream();
  std::vector<DeviceBuffer> guests;
  std::vector<int64_t> batches;
  std::vector<bool> done(22, false);
  scarce.pool().in_passes({1, 3, 9, 11}, 22, needs,
                          [&](Session& session, int64_t first, int64_t rows) {
                            batches.push_back(session.plan().desc("x").shape[0]);
                            Shape shape{batches.back(), 3, 9, 11};
                            session.forward(random_tensor(shape, 3));
                            if (guests.empty()) {
                              for (size_t bytes = kMemory; bytes >= 512; bytes /= 2) {
                                while (gpu->free_bytes() - gpu->allocator().kept_bytes() >= bytes) {
                                  guests.push_back(owner->allocate(bytes));
                                }
                              }
                            }
                            session.activation("logits");  // takes memory
                            for (int64_t row = first; row < first + rows; ++row) {
                              EXPECT_FALSE(done[static_cast<size_t>(row)]);
                              done[static_cast<size_t>(row)] = true;
                            }
                          });
  EXPECT_TRUE(std::all_of(done.begin(), done.end(), [](bool row) { return row; }));
  ASSERT_GE(batches.size(), 2u);
  EXPECT_EQ(batches.front(), 22);
  EXPECT_LE(batches.back(), 11);
  ASSERT_FALSE(notices.empty());
  EXPECT_NE(notices[0].find("GPU memory is short"), std::string::npos);
  EXPECT_NE(notices[0].find("instead of 22"), std::string::npos);

  guests.clear();
  const RawMap mine = scarce.explain("scorecam", "relu1", {})[0];
  expect_close(mine.raw, expected.raw, "raw map");
}

TEST(GpuMemory, AnyLimitGivesTheSameMapsOrAnError) {
  for (const std::string method : {"scorecam", "ablationcam", "smoothgrad"}) {
    SCOPED_TRACE(method);
    Trial plenty({.gpu = Gpu::emulated()});
    const RawMap expected = plenty.explain(method, "relu1", short_run(method))[0];
    int refused = 0;
    int explained = 0;
    for (size_t limit = size_t{32} << 10; limit <= size_t{2} << 20; limit += limit / 3) {
      try {
        Trial scarce({.gpu = Gpu::emulated(1, limit)});
        expect_close(scarce.explain(method, "relu1", short_run(method))[0].raw, expected.raw,
                     std::to_string(limit) + " bytes");
        ++explained;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kResource) << error.what();
        ++refused;
      }
    }
    EXPECT_GT(refused, 0);
    EXPECT_GT(explained, 0);
  }
}

TEST(GpuMemory, IdleSessionsMakeRoom) {
  const std::shared_ptr<Gpu> gpu = Gpu::emulated(1, size_t{1} << 20);
  Trial trial({.gpu = gpu});
  for (int i = 0; i < 3; ++i) {
    for (const std::string method : {"gradcam", "scorecam", "saliency", "rise", "ablationcam"}) {
      EXPECT_NO_THROW(trial.explain(method, "relu1", short_run(method))) << method;
    }
  }
}

// ---- Building blocks -------------------------------------------------------------------------

TEST(GpuMaps, TailsAgree) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const auto stream = gpu->new_stream();
  Tensor odd = random_tensor({7, 5}, 3);
  odd.floats()[4] = NAN;
  odd.floats()[9] = INFINITY;
  Tensor flat(Shape{4, 6});
  for (float& value : flat.as<float>()) value = 2.5f;
  Tensor negative = random_tensor({3, 4}, 8);
  for (float& value : negative.as<float>()) value = -std::abs(value);
  const Tensor wide = random_tensor({6, 9}, 5).cast(DType::kFloat64);
  const Tensor large = random_tensor({80, 90}, 6);  // more than one run of a reduction
  for (const Tensor& raw : {odd, flat, negative, wide, large}) {
    for (const Tail tail :
         {Tail::kRectified, Tail::kSigned, Tail::kResizedRectified, Tail::kResizedSigned}) {
      for (const Normalisation how :
           {Normalisation::kMinMax, Normalisation::kMaxOnly, Normalisation::kRaw}) {
        for (const auto& [height, width] : {std::pair{70, 91}, std::pair{3, 2}}) {
          SCOPED_TRACE(raw.shape().to_string() + " " + std::to_string(static_cast<int>(tail)) +
                       " " + std::to_string(static_cast<int>(how)));
          const Tensor mine = finish_map(to_device(raw, stream), height, width, tail, how);
          EXPECT_TRUE(on_device(mine));
          expect_close(mine, finish_map(raw, height, width, tail, how), "map", 2e-6);
        }
      }
    }
  }
}

TEST(GpuMaps, BlursAgree) {
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const auto stream = gpu->new_stream();
  const Tensor maps = random_tensor({2, 3, 17, 9}, 4);
  const Tensor there = to_device(maps, stream);
  for (const Border border : {Border::kMirror, Border::kReflect, Border::kZero}) {
    const std::vector<double> kernel = gaussian_kernel(3.0, 12);
    expect_close(blurred(there, kernel, border), blur(maps, kernel, border), "blur", 1e-6);
  }
  expect_close(gaussian_blurred(there, 2.0), gaussian_blur(maps, 2.0), "blur", 1e-6);
}

TEST(GpuMasks, VariantsAgree) {
  using namespace perturb;
  const std::shared_ptr<Gpu> gpu = test_gpu();
  const auto stream = gpu->new_stream();
  const Tensor picture = random_tensor({1, 3, 13, 10}, 2);
  Tensor layer = random_tensor({1, 4, 5, 3}, 9);
  for (int p = 0; p < 15; ++p) layer.floats()[15 + p] = 0.75f;  // constant
  const Tensor behind = random_tensor({1, 3, 13, 10}, 6);
  const Tensor colour = random_tensor({3}, 7);
  const std::vector<int64_t> runs = {3, 1, kEmptyMask, 0, 2};
  const MaskChange changes[] = {
      {},
      {.kind = MaskChange::Kind::kContrast, .samples = 3},
      {.kind = MaskChange::Kind::kNoise, .samples = 3, .deviation = 2, .seed = 4, .channels = 4}};
  for (const Tensor& back : {behind, colour}) {
    for (const Corners corners : {Corners::kHalfPixel, Corners::kAligned}) {
      for (const MaskScaling scaling :
           {MaskScaling::kEnlarged, MaskScaling::kLayer, MaskScaling::kGate}) {
        for (const MaskChange& change : changes) {
          const MaskForm form{corners, scaling, 1e-8};
          const ChannelMasks here(layer, 13, 10, form);
          const ChannelMasks there(to_device(layer, stream), 13, 10, form);
          EXPECT_EQ(there.varying(), here.varying());
          EXPECT_EQ(there.constant(), here.constant());
          EXPECT_EQ(there.peak(2), here.peak(2));
          const MaskedPicture shown(picture, back);
          const int64_t rows = change.samples * std::ssize(runs);
          const RowSource expected = here.masked(shown, runs, change.samples, change);
          const RowSource source = there.masked(shown, runs, change.samples, change);
          ASSERT_TRUE(source.on_device);
          Tensor a(Shape{rows, 3, 13, 10});
          for (int64_t row = 0; row < rows; ++row) {
            expected.on_host(row, a.floats() + row * picture.count());
          }
          Tensor b = new_device_tensor(a.desc(), stream);
          auto* values = static_cast<float*>(mutable_device_data(b, *stream));
          source.on_device(*stream, 0, 2, values);
          source.on_device(*stream, 2, rows - 2, values + 2 * picture.count());
          expect_close(b, a, "rows", 2e-6);
          expect_close(there.sum({0, kEmptyMask, 3}, {0.5, 1, -2}),
                       here.sum({0, kEmptyMask, 3}, {0.5, 1, -2}), "sum", 2e-6);
        }
      }
    }
  }
}

}  // namespace
}  // namespace camlucida
