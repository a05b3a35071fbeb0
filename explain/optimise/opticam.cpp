#include <algorithm>
#include <cmath>

#include "explain/gpu/mask_search.h"
#include "explain/perturb/masking_common.h"
#include "explain/residence.h"

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

constexpr double kInitial = 0.5;  // any constant gives the same softmax

struct Parameters {
  bool difference;
  MaskNormaliser normaliser;
  double learning_rate;
  int64_t iterations;
  bool stop;

  int64_t between_checks() const { return std::max<int64_t>(iterations / 10, 1); }
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
  return Tensor::from<double>(Shape{std::ssize(values)}, values);
}

class HostSearch final : public MaskSearch {
 public:
  HostSearch(Evidence& evidence, Session& session, const Target& target, const SearchForm& form)
      : form_(form),
        mask_(evidence.activation(evidence.subject().layer),
              static_cast<int>(evidence.input().shape()[2]),
              static_cast<int>(evidence.input().shape()[3]), form.normaliser),
        score_(evidence, session, target),
        adam_{form.learning_rate},
        u_(mask_.alpha().size(), form.initial),
        gradient_(u_.size(), 0.0),
        mean_(u_.size(), 0.0),
        square_(u_.size(), 0.0),
        mask_gradient_(static_cast<size_t>(mask_.mask().count())),
        losses_(static_cast<size_t>(form.iterations)) {}

  void run(int64_t count) override {
    const auto goes_on = [this] {
      return state_.end == SearchState::End::kRunning && state_.steps < form_.iterations;
    };
    for (; count > 0 && goes_on(); --count) step();
  }
  bool sends_ahead() const override { return false; }
  SearchState state() override { return state_; }

  Answer evaluate() override {
    const bool defined = mask_.forward(u_);
    return {defined, score_.forward(mask_.mask())};
  }

  std::vector<double> losses() const override {
    return {losses_.begin(), losses_.begin() + state_.steps};
  }
  Tensor u() const override { return vector_tensor(u_); }
  Tensor alpha() const override { return vector_tensor(mask_.alpha()); }
  Tensor first_gradient() const override { return vector_tensor(first_gradient_); }
  Tensor early(int64_t count) const override {
    return Tensor::from<double>(Shape{count, std::ssize(u_)}, early_);
  }
  Tensor saliency() const override { return mask_.saliency().clone(); }
  Tensor mask() const override { return mask_.mask().clone(); }

 private:
  void step() {
    const Answer answer = evaluate();
    const int64_t before = state_.steps;
    state_.judge(form_.objective, answer.defined, answer.score, losses_.data());
    if (state_.steps == before) return;
    score_.backward(state_.slope, mask_gradient_);
    mask_.backward(mask_gradient_, gradient_);
    if (state_.steps == 1) first_gradient_ = gradient_;
    if (state_.end != SearchState::End::kRunning) return;
    for (size_t k = 0; k < u_.size(); ++k) {
      adam_.step(gradient_[k], state_.first, state_.second, &mean_[k], &square_[k], &u_[k]);
    }
    for (int i = 0; i < kEarlyCount; ++i) {
      if (state_.steps == early_step(i)) early_.insert(early_.end(), u_.begin(), u_.end());
    }
  }

  SearchForm form_;
  ChannelMask mask_;
  MaskedScore score_;
  Adam adam_;
  std::vector<double> u_;
  std::vector<double> gradient_;
  std::vector<double> first_gradient_;
  std::vector<double> early_;  // u after the early steps, one after the other
  std::vector<double> mean_;
  std::vector<double> square_;
  std::vector<double> mask_gradient_;
  std::vector<double> losses_;
  SearchState state_;
};

/// One run for one target. `report` is told how many steps are done.
RawMap optimise(MaskSearch& search, const Parameters& parameters, double original,
                const std::function<void(int64_t)>& report) {
  // A search that runs ahead is looked at where it may have stopped: behind the checks but the
  // first, where no loss can have risen, and at the end.
  const int64_t between_looks = search.sends_ahead() ? parameters.between_checks() : 1;
  SearchState state;
  for (int64_t sent = 0; sent < parameters.iterations && state.end == SearchState::End::kRunning;) {
    const int64_t ahead = sent == 0 && search.sends_ahead() ? between_looks + 1 : between_looks;
    const int64_t count = std::min(ahead, parameters.iterations - sent);
    search.run(count);
    sent += count;
    state = search.state();
    if (state.end == SearchState::End::kRunning) report(sent);
  }
  report(parameters.iterations);

  std::string remark;
  if (state.end == SearchState::End::kNotFinite) {
    remark = "the score of the masked picture is not finite: the search ended there";
  }
  MaskSearch::Answer answer{state.defined != 0, state.score};
  if (answer.defined) answer = search.evaluate();
  if (!answer.defined) {
    remark = "the combination of channels is the same at every pixel: there is nothing to mask";
  }
  RawMap map{.raw = on_host(search.saliency()), .map = on_host(search.mask()), .remark = remark};
  for (float& value : map.map.as<float>()) value = std::isfinite(value) ? value : 0.0f;
  map.artefacts["u"] = on_host(search.u());
  map.artefacts["alpha"] = on_host(search.alpha());
  if (state.steps > 0) map.artefacts["grad_u0"] = on_host(search.first_gradient());
  int64_t early = 0;
  while (early < kEarlyCount && early_step(static_cast<int>(early)) <= state.advanced()) ++early;
  if (early > 0) map.artefacts["u_early"] = on_host(search.early(early));
  map.series["trajectory"] = search.losses();
  map.series["original_score"] = {original};
  map.series["masked_score"] = {answer.score};
  return map;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Parameters parameters = read(settings);
  const Subject& subject = evidence.subject();
  const Shape& input = evidence.input().shape();
  const SessionPool::Lease session = evidence.pool().lend(
      input, {.outputs = {subject.score}, .gradient_to = {subject.input}, .score = subject.score});
  const auto targets = static_cast<int64_t>(evidence.targets().size());
  std::vector<RawMap> maps;
  // One target after the other: each has its own stop, and a batch is no faster per picture.
  for (int64_t t = 0; t < targets; ++t) {
    const auto index = static_cast<size_t>(t);
    const Target& target = evidence.targets()[index];
    const double original = evidence.score(index);
    const SearchForm form{
        .normaliser = parameters.normaliser,
        .learning_rate = parameters.learning_rate,
        .initial = kInitial,
        .iterations = parameters.iterations,
        .objective = {.difference = parameters.difference,
                      .original = original,
                      .between_checks = parameters.stop ? parameters.between_checks() : 0}};
    const std::unique_ptr<MaskSearch> search =
        session->stream() != nullptr
            ? gpu::new_mask_search(evidence, *session, target, form)
            : std::make_unique<HostSearch>(evidence, *session, target, form);
    maps.push_back(optimise(*search, parameters, original, [&](int64_t done) {
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
