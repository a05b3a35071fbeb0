#include <algorithm>
#include <array>
#include <cmath>

#include "explain/explainer.h"
#include "explain/optimise/channel_mask_common.h"
#include "explain/perturb/masking_common.h"

/// Opti-CAM. Zhang, Torres, Sicre, Avrithis, Ayache: "Opti-CAM: Optimizing saliency maps for
/// interpretability", CVIU 248, 2024, equations 8 to 11.
///
///     S(u) = sum_k softmax(u)_k [A_k]+                 u [C], A [C, h, w], S [h, w]
///     u*   = arg max_u F(u),   F(u) = y(x . n(bilinear(S(u))))
///     M    = n(bilinear(S(u*)))                        M [H, W]
///
/// u is found by Adam from a constant. The mask multiplies the picture before mean and deviation,
/// so that it fades to black. `objective`:
///     mask   maximises F (the loss is y(x) - F)
///     diff   minimises |y(x) - F|
/// The gradient of the network goes down to the picture; the rest of the chain is written by hand
/// (ChannelMask). Ten times per run the loss is compared with that of the last check: if it rose,
/// the map at hand is returned.
namespace camlucida {
namespace {

constexpr std::array<int64_t, 5> kEarlySteps = {1, 2, 5, 10, 20};
constexpr double kInitial = 0.5;  // any constant gives the same softmax

struct Parameters {
  bool difference;
  MaskNormaliser normaliser;
  double learning_rate;
  int64_t iterations;
  bool stop;
};

Parameters read(Settings& settings) {
  const bool demo = settings.variant() == "demo";
  const bool library = settings.variant() == "class";
  Parameters parameters;
  parameters.difference =
      settings.choice("objective", library ? "diff" : "mask", {"mask", "diff"}) == "diff";
  const std::string normaliser =
      settings.choice("normaliser", "max_min", {"max_min", "max", "sigmoid"});
  parameters.normaliser = normaliser == "max"       ? MaskNormaliser::kMax
                          : normaliser == "sigmoid" ? MaskNormaliser::kSigmoid
                                                    : MaskNormaliser::kMaxMin;
  parameters.learning_rate = settings.number("learning_rate", library ? 0.01 : 0.1, 1e-9, 1e3);
  parameters.iterations = settings.integer("iterations", demo ? 50 : 100, 1, 1'000'000);
  parameters.stop = settings.flag("stop", true);
  return parameters;
}

/// Kingma, Ba: "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
class Adam {
 public:
  Adam(size_t size, double rate) : rate_(rate), mean_(size, 0.0), square_(size, 0.0) {}

  void step(std::span<const double> gradient, std::span<double> values) {
    first_ *= kBeta1;
    second_ *= kBeta2;
    for (size_t i = 0; i < values.size(); ++i) {
      mean_[i] = kBeta1 * mean_[i] + (1 - kBeta1) * gradient[i];
      square_[i] = kBeta2 * square_[i] + (1 - kBeta2) * gradient[i] * gradient[i];
      const double spread = std::sqrt(square_[i] / (1 - second_)) + kEpsilon;
      values[i] -= rate_ * (mean_[i] / (1 - first_)) / spread;
    }
  }

 private:
  static constexpr double kBeta1 = 0.9;
  static constexpr double kBeta2 = 0.999;
  static constexpr double kEpsilon = 1e-8;

  double rate_;
  double first_ = 1;  // beta1^t
  double second_ = 1;
  std::vector<double> mean_;
  std::vector<double> square_;
};

/// The network on masked pictures: y(x . m) and d y / d m.
class MaskedScore {
 public:
  MaskedScore(Evidence& evidence, Session& session, const Target& target)
      : subject_(evidence.subject()),
        session_(session),
        target_(target),
        input_(evidence.input()),
        picture_(input_, subject_.preprocessing, perturb::Backdrop::kBlack),
        masked_(input_.shape()) {}

  double forward(const Tensor& mask) {
    picture_.apply(mask.floats(), masked_.floats());
    session_.forward(masked_);
    scores_ = session_.activation(subject_.score);
    return target_.score(scores_);
  }

  /// `factor` d y / d m(P) = factor sum_c d y / d x(c, P) (x(c, P) - black_c), after forward().
  void backward(double factor, std::span<double> mask_gradient) {
    session_.backward(target_.seed(scores_));
    const Tensor gradient = session_.gradient(subject_.input);
    std::fill(mask_gradient.begin(), mask_gradient.end(), 0.0);
    for (int64_t c = 0; c < picture_.channels(); ++c) {
      const float* g = gradient.floats() + c * picture_.pixels();
      const float* x = input_.floats() + c * picture_.pixels();
      const double black = subject_.preprocessing.normalise(static_cast<int>(c), 0.0f);
      for (size_t p = 0; p < mask_gradient.size(); ++p) {
        mask_gradient[p] += factor * g[p] * (x[p] - black);
      }
    }
  }

 private:
  const Subject& subject_;
  Session& session_;
  const Target& target_;
  const Tensor& input_;
  perturb::MaskedPicture picture_;
  Tensor masked_;
  Tensor scores_;
};

Tensor vector_tensor(const std::vector<double>& values) {
  return Tensor::from<double>(Shape{static_cast<int64_t>(values.size())}, values);
}

/// One run for one target. `report` is told how many steps are done.
RawMap optimise(ChannelMask& mask, MaskedScore& score, const Parameters& parameters,
                double original, const std::function<void(int64_t)>& report) {
  const size_t channels = mask.alpha().size();
  std::vector<double> u(channels, kInitial);
  std::vector<double> u_gradient(channels, 0.0);
  std::vector<double> mask_gradient(static_cast<size_t>(mask.mask().count()));
  std::vector<double> first_gradient, early, trajectory;
  std::string remark;
  Adam adam(channels, parameters.learning_rate);
  const int64_t between_checks = std::max<int64_t>(parameters.iterations / 10, 1);
  double checked = INFINITY;
  int64_t early_rows = 0;
  bool defined = true;

  for (int64_t step = 0; step < parameters.iterations; ++step) {
    defined = mask.forward(u);
    if (!defined) break;
    const double gap = original - score.forward(mask.mask());
    const double loss = parameters.difference ? std::abs(gap) : gap;
    if (!std::isfinite(loss)) {
      remark = "the score of the masked picture is not finite: the search ended there";
      break;
    }
    trajectory.push_back(loss);
    const double slope = !parameters.difference ? 1.0 : gap > 0 ? 1.0 : gap < 0 ? -1.0 : 0.0;
    score.backward(-slope, mask_gradient);
    mask.backward(mask_gradient, u_gradient);
    if (step == 0) first_gradient = u_gradient;
    if (parameters.stop && step % between_checks == 0) {
      if (loss > checked) break;
      checked = loss;
    }
    adam.step(u_gradient, u);
    if (std::find(kEarlySteps.begin(), kEarlySteps.end(), step + 1) != kEarlySteps.end()) {
      early.insert(early.end(), u.begin(), u.end());
      ++early_rows;
    }
    report(step + 1);
  }
  report(parameters.iterations);

  if (defined) defined = mask.forward(u);
  if (!defined) {
    remark = "the combination of channels is the same at every pixel: there is nothing to mask";
  }
  const double masked = score.forward(mask.mask());
  RawMap map{.raw = mask.saliency().clone(), .map = mask.mask().clone(), .remark = remark};
  for (float& value : map.map.as<float>()) value = std::isfinite(value) ? value : 0.0f;
  map.artefacts["u"] = vector_tensor(u);
  map.artefacts["alpha"] = vector_tensor(mask.alpha());
  if (!first_gradient.empty()) map.artefacts["grad_u0"] = vector_tensor(first_gradient);
  if (early_rows > 0) {
    map.artefacts["u_early"] =
        Tensor::from<double>(Shape{early_rows, static_cast<int64_t>(channels)}, early);
  }
  map.series["trajectory"] = std::move(trajectory);
  map.series["original_score"] = {original};
  map.series["masked_score"] = {masked};
  return map;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Parameters parameters = read(settings);
  const Subject& subject = evidence.subject();
  const Shape& input = evidence.input().shape();
  const SessionPool::Lease session = evidence.pool().lend(
      input, {.outputs = {subject.score}, .gradient_to = {subject.input}, .score = subject.score});
  ChannelMask mask(evidence.activation(subject.layer), static_cast<int>(input[2]),
                   static_cast<int>(input[3]), parameters.normaliser);
  const auto targets = static_cast<int64_t>(evidence.targets().size());
  std::vector<RawMap> maps;
  // One target after the other: each has its own stop, and a batch is no faster per picture.
  for (int64_t t = 0; t < targets; ++t) {
    const auto index = static_cast<size_t>(t);
    MaskedScore score(evidence, *session, evidence.targets()[index]);
    maps.push_back(optimise(mask, score, parameters, evidence.score(index), [&](int64_t done) {
      evidence.progress(t * parameters.iterations + done, targets * parameters.iterations);
    }));
    const auto steps = static_cast<int64_t>(maps.back().series["trajectory"].size());
    evidence.count({.forwards = steps + 1, .backwards = steps});
  }
  return maps;
}

}  // namespace

void register_opticam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "opticam",
       .aliases = {"opti-cam"},
       .title = "Opti-CAM",
       .formula = "sum_k softmax(u)_k [A_k]+, u maximises y(x . M)",
       .source = "Zhang et al. 2024, eq. 8-11",
       .forwards = "T + 2, T = 100 steps",
       .backwards = "T, to the picture",
       .variants = {{"paper", ""},
                    {"demo", "50 steps instead of 100, as the authors' demonstration"},
                    {"class",
                     "learning rate 0.01 instead of 0.1 and objective diff, the defaults of "
                     "the authors' class"}},
       .tail = Tail::kResizedSigned,
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
