#include "engine/exact_run.h"
#include "engine/passes/passes.h"
#include "tests/golden_maps.h"

/// The class-activation family against the golden maps, at the last layer and at inner ones.
namespace camlucida::test {
namespace {

struct Entry {
  const char* golden;
  const char* method;
};

constexpr Entry kEntries[] = {
    {"gradcampp", "gradcam++@pytorch-grad-cam"},
    {"hirescam", "hirescam"},
    {"gradcamelementwise", "gradcamelementwise"},
    {"layercam", "layercam"},
    {"fem", "fem"},
    {"finercam", "finercam"},
};

TEST_P(GoldenMaps, CamFamily) {
  int stored = 0;
  for (const Entry& entry : kEntries) {
    if (!index_["methods"].contains(entry.golden)) continue;
    ++stored;
    check_method(entry.golden, entry.method);
  }
  EXPECT_EQ(stored, static_cast<int>(std::size(kEntries)));
  EXPECT_GE(compared_, stored);
}

/// The second-order term vanishes for a logit and does not for logit + log probability.
TEST_P(GoldenMaps, ShapleyCam) {
  for (const std::string kind : {"logit", "rest"}) {
    const std::string entry = "shapleycam_" + kind;
    const std::string target = (kind == "rest" ? "rest:" : "class:") + std::to_string(class_index_);
    const Explanation explanation =
        model_->explain(input_, {.method = "shapleycam", .layer = layer_, .target = {{target}}})
            .explanations.at(0);
    compare(entry, "raw", explanation.raw.to_doubles());
    compare(entry, "map", explanation.map.to_doubles());
    compare(entry, "weights", explanation.artefacts.at("weights").to_doubles());
  }
  EXPECT_GE(compared_, 2);
}

TEST_P(GoldenMaps, FinerCamComparesTheNearestClasses) {
  const std::vector<double> classes = index_["methods"]["finercam"]["params"]["comparison_classes"];
  EXPECT_EQ(explain("finercam").series.at("references"), classes);
}

/// The maps of several classes stand in one file, [K, h, w].
TEST_P(GoldenMaps, FmgCam) {
  std::vector<std::string> classes;
  for (const Json& index : index_["methods"]["fmgcam_intended"]["params"]["classes"]) {
    classes.push_back(std::to_string(index.get<int64_t>()));
  }
  const Answer answer = model_->explain(
      input_, {.method = "fmgcam", .layer = layer_, .target = {.classes = classes}});
  std::vector<double> raw, fused, map;
  const auto append = [](std::vector<double>& to, const Tensor& tensor) {
    const std::vector<double> values = tensor.to_doubles();
    to.insert(to.end(), values.begin(), values.end());
  };
  for (const Explanation& explanation : answer.explanations) {
    append(raw, explanation.raw);
    append(fused, explanation.artefacts.at("fused"));
    append(map, explanation.map);
  }
  compare("fmgcam_intended", "raw", raw);
  compare("fmgcam_intended", "fused", fused);
  compare("fmgcam_intended", "map", map);
  EXPECT_GE(compared_, 2);
}

/// XGrad-CAM divides by sum_p A_k(p), which nearly vanishes for some channels of layers with
/// negative values: what float32 rounds in A then decides the weight. So the definition is held to
/// the golden with A and G in double, and the engine's weight of channel k to those up to
///
///     tolerance * peak + u * (sum |G A| + |w_k| sum |A|) / |sum A|
///
/// where u is twice what float32 does to activations relative to their size in the reference.
TEST_P(GoldenMaps, XGradCam) {
  constexpr double kRounding = 4e-6;
  const Explanation mine = explain("xgradcam");
  const Graph bound = bind_shapes(model_->graph(), {{model_->input_name(), input_.shape()}});
  ExactRun exact(bound);
  exact.forward({{model_->input_name(), input_}});
  const std::vector<double>& scores = exact.value(model_->score_name());
  std::vector<double> one(scores.size(), 0.0);
  one[static_cast<size_t>(class_index_)] = 1.0;
  exact.backward(model_->score_name(), one, {mine.layer});
  const std::vector<double>& a = exact.value(mine.layer);
  const std::vector<double>& g = exact.gradient(mine.layer);

  const Tensor& weights = mine.artefacts.at("weights");
  const auto channels = static_cast<size_t>(weights.count());
  const size_t pixels = a.size() / channels;
  std::vector<double> exact_weights(channels), slack(channels);
  std::vector<double> raw(pixels, 0.0), raw_slack(pixels, 0.0);
  for (size_t k = 0; k < channels; ++k) {
    double product = 0, sum = 1e-7, size = 0, product_size = 0;
    for (size_t i = k * pixels; i < (k + 1) * pixels; ++i) {
      product += g[i] * a[i];
      product_size += std::abs(g[i] * a[i]);
      sum += a[i];
      size += std::abs(a[i]);
    }
    exact_weights[k] = product / sum;
    slack[k] = kRounding * (product_size + std::abs(exact_weights[k]) * size) / std::abs(sum);
    for (size_t p = 0; p < pixels; ++p) {
      raw[p] += exact_weights[k] * a[k * pixels + p];
      raw_slack[p] += slack[k] * std::abs(a[k * pixels + p]);
    }
  }
  compare("xgradcam", "weights", exact_weights);
  compare("xgradcam", "raw", raw);

  const auto check = [&](const char* name, const std::vector<double>& got,
                         const std::vector<double>& expected, const std::vector<double>& allowed) {
    const double tolerance =
        index_["methods"]["xgradcam"]["tolerance"][name]["recommended"].get<double>();
    double peak = 0;
    for (const double v : expected) peak = std::max(peak, std::abs(v));
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NEAR(got[i], expected[i], tolerance * peak + allowed[i]) << name << " " << i;
    }
  };
  check("weights", weights.to_doubles(), exact_weights, slack);
  check("raw", mine.raw.to_doubles(), raw, raw_slack);
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenMaps,
                         ::testing::ValuesIn(golden_folders_of("GoldenMaps", __FILE__)),
                         golden_test_name);

}  // namespace
}  // namespace camlucida::test
