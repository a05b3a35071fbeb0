/// Opti-CAM's search on a GPU (test_gpu: emulated unless asked otherwise): what is recorded and
/// runs ahead of the host gives what single steps give, and the search is that of the processor as
/// long as rounding has not been amplified.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "engine/cuda/device_tensor.h"
#include "engine/passes/passes.h"
#include "explain/gpu/mask_search.h"
#include "explain/residence.h"
#include "tests/gpu_harness.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using test::test_gpu;
using testing::random_tensor;
using testing::residual_net;
using Values = std::vector<double>;

/// The small net with what a method is given.
class Trial {
 public:
  explicit Trial(std::shared_ptr<Gpu> gpu, std::string score = "logits",
                 const Graph& graph = residual_net())
      : bound_(bind_shapes(graph, {{"x", picture_.shape()}})),
        subject_{&bound_, "x", std::move(score), "relu1", Preprocessing::imagenet(9, 11)},
        pool_(bound_, "x", {.gpu = std::move(gpu)}) {}

  RawMap explain(const Target& target, std::map<std::string, std::string> given,
                 ProgressFunction progress = {}) {
    const ExplainerDef& method = ExplainerRegistry::instance().require("opticam");
    Settings settings("opticam", "paper", std::move(given));
    const SessionPool::Lease session =
        pool_.lend(picture_.shape(), method.needs(subject_, settings));
    session->forward(picture_);
    Evidence evidence(pool_, *session, picture_, subject_, {target});
    evidence.set_progress(std::move(progress));
    return method.explain(evidence, settings).at(0);
  }

  /// Calls use(search) with a search of its own, whose session is timed step by step or not: timed
  /// ones cannot be recorded.
  template <class Use>
  void search(const Target& target, SearchForm form, bool timed, const Use& use) {
    const Needs evidence_needs = activation_needs(subject_);
    const SessionPool::Lease first = pool_.lend(picture_.shape(), evidence_needs);
    first->forward(picture_);
    Evidence evidence(pool_, *first, picture_, subject_, {target});
    const SessionPool::Lease session = pool_.lend(
        picture_.shape(),
        {.outputs = {subject_.score}, .gradient_to = {subject_.input}, .score = subject_.score});
    if (timed) session->set_step_timer([](bool, int, double) {});
    if (std::isnan(form.objective.original)) form.objective.original = evidence.score(0);
    const std::unique_ptr<MaskSearch> mine = gpu::new_mask_search(evidence, *session, target, form);
    use(*mine);
    session->set_step_timer({});
  }

 private:
  Tensor picture_ = random_tensor({1, 3, 9, 11}, 5);
  Graph bound_;
  Subject subject_;
  SessionPool pool_;
};

SearchForm form_of(int64_t iterations, double rate = 0.1, int64_t between_checks = 0) {
  return {.normaliser = MaskNormaliser::kMaxMin,
          .learning_rate = rate,
          .initial = 0.5,
          .iterations = iterations,
          .objective = {.difference = false, .original = NAN, .between_checks = between_checks}};
}

/// What a search shows, each tensor fetched through a copy of its own.
Values seen(MaskSearch& search) {
  const SearchState state = search.state();
  Values all = search.losses();
  all.insert(all.end(), {static_cast<double>(state.end), state.score, state.slope, state.checked,
                         state.first, state.second, static_cast<double>(state.steps)});
  for (const Tensor& tensor :
       {search.u(), search.first_gradient(), search.mask(), search.saliency(), search.alpha()}) {
    const Values values = tensor.to_doubles();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

TEST(GpuOptiCam, RecordedStepsGiveTheBitsOfSingleOnes) {
  for (const Target& target :
       {Target::of_class(1), Target::probability(3), Target::cosine(random_tensor({5}, 3), "r")}) {
    SCOPED_TRACE(target.describe());
    Trial trial(test_gpu());
    Values recorded, single, looked_at;
    trial.search(target, form_of(25), false, [&](MaskSearch& search) {
      search.run(25);
      recorded = seen(search);
    });
    trial.search(target, form_of(25), true, [&](MaskSearch& search) {
      search.run(25);
      single = seen(search);
    });
    trial.search(target, form_of(25), false, [&](MaskSearch& search) {
      for (int step = 0; step < 25; ++step) {
        search.run(1);
        seen(search);
        search.evaluate();
      }
      looked_at = seen(search);
    });
    EXPECT_TRUE(same_bits(recorded, single));
    // evaluate() leaves mask, S and alpha of the present u, so that only what is before them is
    // compared.
    const size_t kept = recorded.size() - (99 + 99 + 20);
    EXPECT_TRUE(same_bits({recorded.begin(), recorded.begin() + static_cast<int64_t>(kept)},
                          {looked_at.begin(), looked_at.begin() + static_cast<int64_t>(kept)}));
  }
}

/// Steps that are sent before the host knows that the search has ended change nothing.
TEST(GpuOptiCam, StaysAsItEnded) {
  SearchForm rising = form_of(40, 20.0, 4);
  SearchForm infinite = form_of(40);
  infinite.objective.original = INFINITY;
  for (const bool recorded : {true, false}) {
    SCOPED_TRACE(recorded);
    bool rose = false;
    for (int c = 0; c < testing::kClasses; ++c) {
      Trial trial(test_gpu());
      trial.search(Target::of_class(c), rising, !recorded, [&](MaskSearch& search) {
        int64_t sent = 0;
        for (; sent < 40 && search.state().end == SearchState::End::kRunning; ++sent) {
          search.run(1);
        }
        const SearchState state = search.state();
        if (state.end == SearchState::End::kRunning) return;
        rose = true;
        EXPECT_EQ(state.end, SearchState::End::kRose);
        EXPECT_EQ(state.steps, sent);
        EXPECT_EQ(state.advanced(), sent - 1);
        EXPECT_EQ((sent - 1) % 4, 0) << "not at a check";
        const Values then = seen(search);
        search.run(40);
        EXPECT_TRUE(same_bits(seen(search), then));
        EXPECT_EQ(search.evaluate().score, state.score) << "u has moved";
      });
    }
    EXPECT_TRUE(rose) << "no loss rose: the test shows nothing";

    Trial trial(test_gpu());
    trial.search(Target::of_class(0), infinite, !recorded, [&](MaskSearch& search) {
      search.run(30);
      EXPECT_EQ(search.state().end, SearchState::End::kNotFinite);
      EXPECT_EQ(search.state().steps, 0);
      EXPECT_TRUE(search.losses().empty());
      for (const double u : search.u().to_doubles()) EXPECT_EQ(u, 0.5);
    });
  }
}

/// The run as a whole decides at the checks what a run without them shows.
TEST(GpuOptiCam, StopsWhenTheLossRises) {
  bool stopped = false;
  for (int c = 0; c < testing::kClasses; ++c) {
    Trial trial(test_gpu());
    const Target target = Target::of_class(c);
    const RawMap map = trial.explain(target, {{"iterations", "40"}, {"learning_rate", "20"}});
    const Values whole =
        trial.explain(target, {{"iterations", "40"}, {"learning_rate", "20"}, {"stop", "false"}})
            .series.at("trajectory");
    ASSERT_EQ(whole.size(), 40u);
    size_t expected = 40;
    double checked = INFINITY;
    for (size_t step = 0; step < whole.size() && expected == 40; step += 4) {
      if (whole[step] > checked) expected = step + 1;
      checked = whole[step];
    }
    const Values& mine = map.series.at("trajectory");
    EXPECT_TRUE(same_bits(mine, {whole.begin(), whole.begin() + static_cast<int64_t>(expected)}));
    size_t early = 0;
    while (early < kEarlyCount &&
           early_step(static_cast<int>(early)) <= std::ssize(mine) - (expected < 40 ? 1 : 0)) {
      ++early;
    }
    EXPECT_EQ(map.artefacts.at("u_early").shape()[0], static_cast<int64_t>(early));
    if (expected == 40) continue;
    stopped = true;
    EXPECT_EQ(map.series.at("original_score")[0] - map.series.at("masked_score")[0], mine.back());
  }
  EXPECT_TRUE(stopped) << "no class made the loss rise: the test shows nothing";
}

/// Progress comes at the checks and at the end.
TEST(GpuOptiCam, TellsHowFarItIs) {
  Trial trial(test_gpu());
  std::vector<int64_t> seen;
  trial.explain(Target::of_class(1), {{"iterations", "40"}, {"stop", "false"}},
                [&](int64_t done, int64_t total) {
                  EXPECT_EQ(total, 40);
                  seen.push_back(done);
                });
  EXPECT_EQ(seen, (std::vector<int64_t>{5, 9, 13, 17, 21, 25, 29, 33, 37, 40, 40}));
  struct Cancelled {};
  EXPECT_THROW(trial.explain(Target::of_class(1), {{"iterations", "40"}, {"stop", "false"}},
                             [](int64_t done, int64_t) {
                               if (done == 9) throw Cancelled();
                             }),
               Cancelled);
  EXPECT_NO_THROW(trial.explain(Target::of_class(1), {{"iterations", "3"}}));
}

/// A score that is no number at the step at which it is `bad`, for the host to call.
Target broken_at(float bad) {
  return Target(Target::Function{
      .description = "broken",
      .check = [](const Shape&) {},
      .value = [bad](const Shape&, const float* row) { return row[2] == bad ? NAN : row[2]; },
      .gradient = [](const Shape&, const float*, float* seed) { seed[2] += 1; }});
}

TEST(GpuOptiCam, EndsWhereTheScoreIsNoNumber) {
  for (const bool gpu : {false, true}) {
    SCOPED_TRACE(gpu);
    Trial trial(gpu ? test_gpu() : nullptr);
    const std::map<std::string, std::string> settings = {{"iterations", "30"}, {"stop", "false"}};
    const RawMap whole = trial.explain(broken_at(1e30f), settings);
    const Values& trajectory = whole.series.at("trajectory");
    ASSERT_EQ(trajectory.size(), 30u);
    EXPECT_EQ(trial.explain(Target::of_class(2), settings).series, whole.series)
        << "a logit is the same wherever it is computed";
    const auto bad = static_cast<float>(whole.series.at("original_score")[0] - trajectory[6]);
    const RawMap broken = trial.explain(broken_at(bad), settings);
    EXPECT_TRUE(
        same_bits(broken.series.at("trajectory"), {trajectory.begin(), trajectory.begin() + 6}));
    EXPECT_TRUE(std::isnan(broken.series.at("masked_score")[0]));
    EXPECT_NE(broken.remark.find("not finite"), std::string::npos) << broken.remark;
    EXPECT_EQ(broken.artefacts.at("u_early").shape()[0], 3);  // after 1, 2 and 5 steps
    EXPECT_EQ(whole.artefacts.at("u_early").shape()[0], 5);
  }
}

/// A layer that answers to nothing has no mask.
TEST(GpuOptiCam, EndsWhereThereIsNothingToMask) {
  testing::NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  Tensor bias(Shape{4});
  std::fill_n(bias.floats(), 4, -1e3f);
  const ValueId conv =
      net.node("Conv", "conv1",
               {x, net.constant("w", random_tensor({4, 3, 3, 3}, 1)), net.constant("b", bias)},
               ConvAttributes{.window = {.kernel = {3, 3}, .pads = {1, 1, 1, 1}}});
  const ValueId mean = net.node("GlobalAveragePool", "mean", {net.node("Relu", "relu1", {conv})});
  net.builder.add_output(net.node("Flatten", "logits", {mean}));
  const Graph dead = std::move(net.builder).build();
  for (const bool gpu : {false, true}) {
    SCOPED_TRACE(gpu);
    Trial trial(gpu ? test_gpu() : nullptr, "logits", dead);
    const RawMap map = trial.explain(Target::of_class(1), {{"iterations", "30"}});
    EXPECT_NE(map.remark.find("nothing to mask"), std::string::npos) << map.remark;
    EXPECT_TRUE(map.series.at("trajectory").empty());
    EXPECT_EQ(map.series.at("masked_score")[0], 0.0);
    EXPECT_EQ(map.artefacts.count("grad_u0") + map.artefacts.count("u_early"), 0u);
    for (const double u : map.artefacts.at("u").to_doubles()) EXPECT_EQ(u, 0.5);
    for (const float m : map.map.as<float>()) EXPECT_EQ(m, 0.0f);
  }
}

Similarity similarity(Pooling pooling, Measure measure, int64_t length) {
  Similarity result{.measure = measure, .embedding = {.pooling = pooling, .scale = 0.5}};
  for (int64_t k = 0; k < length; ++k) {
    result.reference.push_back(0.3 + 0.1 * static_cast<double>(k % 7));
    result.embedding.offset.push_back(0.02 * static_cast<double>(k % 5));
  }
  return result;
}

struct Case {
  std::string name;
  std::string score;
  Target target;
  bool at_once;  ///< computed where the scores lie
};

std::vector<Case> all_targets() {
  Tensor region(Shape{9, 11});
  for (int64_t p = 0; p < region.count(); p += 3) region.floats()[p] = 1;
  std::vector<Case> cases = {
      {"class", "logits", Target::of_class(1), true},
      {"margin", "logits", Target::margin(0, 4), true},
      {"probability", "logits", Target::probability(3), true},
      {"log_probability", "logits", Target::log_probability(3), true},
      {"rest", "logits", Target::logit_and_log_probability(2), true},
      {"cosine", "logits", Target::cosine(random_tensor({5}, 3), "r"), true},
      {"distance", "logits", Target::negative_distance(random_tensor({5}, 3), "r"), true},
      {"region", "relu2", Target::region(4, region, "mask:r"), true},
      {"entry", "relu2", Target::entry(20 * 50 + 7, "output:relu2[7]"), true},
      {"own", "logits",
       Target(Target::Function{
           .description = "own",
           .check = [](const Shape&) {},
           .value = [](const Shape&, const float* row) { return double{row[0]} * row[1]; },
           .gradient =
               [](const Shape&, const float* row, float* seed) {
                 seed[0] += row[1];
                 seed[1] += row[0];
               }}),
       false}};
  for (const Measure measure : {Measure::kCosine, Measure::kEuclidean}) {
    const std::string suffix = std::string("_") + name_of(measure);
    cases.push_back({"mean" + suffix, "relu2",
                     Target::similar(similarity({Pooling::Kind::kMean}, measure, 20), "m"), true});
    cases.push_back({"gem" + suffix, "relu2",
                     Target::similar(similarity({Pooling::Kind::kGem, 3}, measure, 20), "g"),
                     true});
    cases.push_back({"flat" + suffix, "relu2",
                     Target::similar(similarity({Pooling::Kind::kFlat}, measure, 20 * 99), "f"),
                     true});
  }
  return cases;
}

double peak_of(const Values& values) {
  double peak = 0;
  for (const double value : values) peak = std::max(peak, std::abs(value));
  return peak;
}

double worst_difference(const Values& a, const Values& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst;
}

/// Every form of score under both objectives: gradient, losses and coefficients of the first steps.
TEST(GpuOptiCam, BeginsAsTheProcessorDoes) {
  for (const Case& one : all_targets()) {
    for (const char* objective : {"mask", "diff"}) {
      SCOPED_TRACE(one.name + " " + objective);
      const std::map<std::string, std::string> settings = {
          {"iterations", "5"}, {"objective", objective}, {"stop", "false"}};
      Trial processor(nullptr, one.score);
      Trial device(test_gpu(), one.score);
      const RawMap expected = processor.explain(one.target, settings);
      const RawMap mine = device.explain(one.target, settings);
      const Values gradient = expected.artefacts.at("grad_u0").to_doubles();
      const double peak = peak_of(gradient);
      ASSERT_GT(peak, 0);
      const double off =
          worst_difference(mine.artefacts.at("grad_u0").to_doubles(), gradient) / peak;
      EXPECT_LE(off, 2e-5);
      const Values& losses = expected.series.at("trajectory");
      const double original = expected.series.at("original_score")[0];
      const double scale = std::abs(original) + peak_of(losses);
      EXPECT_NEAR(mine.series.at("original_score")[0], original, 1e-6 * scale);
      const double loss_off = worst_difference(mine.series.at("trajectory"), losses) / scale;
      EXPECT_LE(loss_off, 1e-5);
      // Adam divides by the size of a gradient: what is nearly 0 moves either way.
      const Values u = expected.artefacts.at("u_early").to_doubles();
      const Values mine_u = mine.artefacts.at("u_early").to_doubles();
      ASSERT_EQ(mine_u.size(), u.size());
      double worst = 0;
      for (size_t i = 0; i < u.size(); ++i) {
        if (std::abs(gradient[i % gradient.size()]) > 1e-2 * peak) {
          worst = std::max(worst, std::abs(u[i] - mine_u[i]));
        }
      }
      EXPECT_LE(worst, 1e-3);
      std::printf("[ MEASURED ] %s %s: gradient %.1e, losses %.1e, u %.1e\n", one.name.c_str(),
                  objective, off, loss_off, worst);
    }
  }
}

/// Nothing but what is reported comes back, however many steps there are.
TEST(GpuOptiCam, FetchesNothingBetweenTheSteps) {
  for (const Case& one : all_targets()) {
    SCOPED_TRACE(one.name);
    Trial trial(test_gpu(), one.score);
    trial.search(one.target, form_of(8), false, [&](MaskSearch& search) {
      const size_t before = fetched_bytes();
      search.run(8);
      EXPECT_EQ(fetched_bytes(), before);
      EXPECT_EQ(search.state().steps, 8);
    });
  }
}

}  // namespace
}  // namespace camlucida
