#include "tools/network_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "engine/exact_run.h"
#include "engine/passes/passes.h"
#include "explain/layers.h"
#include "tools/random_input.h"

namespace camlucida::cli {
namespace {

/// What the comparisons allow. Those of single steps allow what the layer's examples state, or what
/// rounding to the precision makes of one step if that is more: inputs are what the step got, so
/// that its weights, the factors of its products and its results are rounded once each.
struct Tolerances {
  double step = 0;           ///< at least, forward
  double step_gradient = 0;  ///< at least, backward: float32 sums of products in TF32
  double scores = 1e-4;
  double gradients = 1e-4;
};

Tolerances tolerances_of(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      break;
    case Precision::kTf32:
      return {.step = 2e-3, .step_gradient = 2e-3, .scores = 2e-2, .gradients = 1e-2};
    case Precision::kFp16:
      return {.step = 2e-3, .step_gradient = 2e-3, .scores = 2e-2, .gradients = 1e-2};
    case Precision::kBf16:
      return {.step = 1.6e-2, .step_gradient = 2e-3, .scores = 1.6e-1, .gradients = 1e-2};
  }
  return {};
}

constexpr double kDerivativeTolerance = 1e-5;

class NetworkCheck {
 public:
  NetworkCheck(const Model& model, const Tensor& picture, const CheckOptions& options)
      : model_(model), options_(options), tolerances_(tolerances_of(model.options().precision)) {
    const Shape shape = picture.defined() ? picture.shape() : model.input_shape();
    shapes_ = {{model.input_name(), shape}};
    const auto plan = Plan::compile(model.graph(), shapes_, {}, {.reference_only = true});
    inputs_ = random_inputs(model, *plan, options.seed);
    if (picture.defined()) inputs_[model.input_name()] = picture;
    bound_ = shape == model.input_shape() ? model.bound() : bind_shapes(model.graph(), shapes_);
    score_ = bound_.require(model.score_name());
    gradient_possible_ = differentiable_values(bound_, score_);
  }

  CheckReport run() {
    check_forward();
    ExactRun exact(bound_);
    exact.forward(inputs_);
    check_scores(exact);
    choose_seed(exact);
    check_backward();
    check_gradients(exact);
    check_derivatives();
    return std::move(report_);
  }

 private:
  Needs score_needs() const {
    return Needs{.outputs = {model_.score_name()}, .score = model_.score_name()};
  }

  std::unique_ptr<Session> run_plan(const Needs& needs, const PlanOptions& options) const {
    auto session = std::make_unique<Session>(Plan::compile(model_.graph(), shapes_, needs, options),
                                             options_.threads);
    session->forward(inputs_);
    return session;
  }

  /// The plan that is checked: fast kernels on the model's device.
  PlanOptions fast(bool retain_all = false) const {
    return {.gpu = model_.options().gpu,
            .precision = model_.options().precision,
            .retain_all = retain_all};
  }

  void add(CheckSection section, double at_least = 0) {
    for (StepError& error : section.errors) {
      error.tolerance = std::max(error.tolerance, at_least) * options_.tolerance;
    }
    report_.sections.push_back(std::move(section));
  }

  void check_forward() {
    const auto session = run_plan(score_needs(), fast(true));
    add({"forward", check_forward_steps(*session), ""}, tolerances_.step);
  }

  void check_scores(const ExactRun& exact) {
    const std::vector<double>& expected = exact.value(model_.score_name());
    CheckSection section{"scores", {}, ""};
    const auto compare = [&](const char* name, const PlanOptions& options, double tolerance) {
      const auto session = run_plan(score_needs(), options);
      section.errors.push_back({name, model_.score_name(), "",
                                relative_error(session->output().to_doubles(), expected),
                                tolerance});
    };
    compare("fast plan", fast(), tolerances_.scores);
    compare("reference plan", {.reference_only = true}, Tolerances{}.scores);
    add(std::move(section));
  }

  /// The score to differentiate: the best class, or a random direction where there are no classes.
  void choose_seed(const ExactRun& exact) {
    const std::vector<double>& scores = exact.value(model_.score_name());
    const Shape& shape = bound_.value(score_).desc.shape;
    const bool classes = shape.rank() >= 2 && shape.count(2, shape.rank()) == 1 && shape[1] > 1;
    seed_.assign(scores.size(), 0.0);
    if (classes) {
      const auto best = std::max_element(scores.begin(), scores.begin() + shape[1]);
      seed_[static_cast<size_t>(best - scores.begin())] = 1.0;
      report_.score = fmt::format("class {}", best - scores.begin());
    } else {
      NormalNumbers normal(options_.seed + 2);
      for (double& value : seed_) value = normal() / std::sqrt(static_cast<double>(seed_.size()));
      report_.score = "a random direction of the output";
    }
  }

  bool has_gradient(const std::string& name) const {
    const ValueId id = bound_.find(name);
    return id != kNone && gradient_possible_[static_cast<size_t>(id)];
  }

  std::unique_ptr<Session> run_backward(const std::vector<std::string>& targets,
                                        const PlanOptions& options) const {
    Needs needs = score_needs();
    needs.gradient_to = targets;
    auto session = run_plan(needs, options);
    Tensor seed(session->plan().desc(model_.score_name()).shape);
    from_double(DType::kFloat32, seed_.data(), seed.raw(), seed.count());
    session->backward(seed);
    return session;
  }

  /// Every value between picture and score that a fused graph with gradients still has. Asking for
  /// a gradient can undo a fusion, which brings up further values, so it is repeated till it rests.
  std::vector<std::string> inner_targets() const {
    Needs needs = score_needs();
    needs.gradient_to = main_targets();
    for (bool grown = !needs.gradient_to.empty(); grown;) {
      grown = false;
      const auto plan = Plan::compile(model_.graph(), shapes_, needs, fast(true));
      for (const std::string& name : plan->readable()) {
        if (!has_gradient(name)) continue;
        auto& targets = needs.gradient_to;
        if (std::find(targets.begin(), targets.end(), name) != targets.end()) continue;
        targets.push_back(name);
        grown = true;
      }
    }
    return needs.gradient_to;
  }

  void check_backward() {
    CheckSection section{"backward", {}, ""};
    const std::vector<std::string> targets = inner_targets();
    if (targets.empty()) {
      section.note = "no value has a gradient to the score";
    } else {
      section.errors = check_backward_steps(*run_backward(targets, fast(true)));
      if (!has_gradient(model_.input_name())) {
        section.note = "an operator without gradient cuts the picture off";
      }
    }
    add(std::move(section), tolerances_.step_gradient);
  }

  /// The default layer and the picture, as far as they have a gradient.
  std::vector<std::string> main_targets() const {
    std::vector<std::string> targets;
    try {
      const std::string layer = model_.bound().value(model_.default_layer().value).name;
      if (has_gradient(layer) && layer != model_.score_name()) targets.push_back(layer);
    } catch (const Error&) {
      // A network without spatial layers still has a picture.
    }
    if (has_gradient(model_.input_name())) targets.push_back(model_.input_name());
    return targets;
  }

  /// Compared at the plan's own activations: a rectifier that is nearly zero, or two neighbours in
  /// a max pooling that are nearly equal, would else turn a rounding into another derivative.
  void check_gradients(const ExactRun& exact) {
    CheckSection section{"gradients", {}, ""};
    const std::vector<std::string> targets = main_targets();
    const auto compare = [&](const char* name, const PlanOptions& options, double tolerance) {
      const auto session = run_backward(targets, options);
      ExactRun own = exact;
      for (const std::string& value : session->plan().readable()) {
        if (bound_.find(value) != kNone) own.value(value) = session->activation(value).to_doubles();
      }
      own.backward(model_.score_name(), seed_, targets);
      for (const std::string& target : targets) {
        section.errors.push_back(
            {name, target, "",
             relative_distance(session->gradient(target).to_doubles(), own.gradient(target)),
             tolerance});
      }
    };
    if (!targets.empty()) {
      compare("fast plan", fast(true), tolerances_.gradients);
      compare("reference plan", {.reference_only = true, .retain_all = true},
              Tolerances{}.gradients);
    }
    add(std::move(section));
  }

  /// Layers on every path to the score, spread evenly, and what main_targets() names.
  std::vector<std::string> derivative_points() const {
    std::vector<std::string> names = main_targets();
    std::vector<std::string> between;
    for (const LayerCandidate& layer :
         list_layers(bound_, bound_.require(model_.input_name()), score_)) {
      if (layer.on_path && has_gradient(layer.name) && layer.name != model_.score_name()) {
        between.push_back(layer.name);
      }
    }
    for (int i = 1; i <= options_.taps && !between.empty(); ++i) {
      names.push_back(between[between.size() * static_cast<size_t>(i) /
                              static_cast<size_t>(options_.taps + 1)]);
    }
    std::vector<std::string> different;
    for (const std::string& name : names) {
      if (std::find(different.begin(), different.end(), name) == different.end()) {
        different.push_back(name);
      }
    }
    return different;
  }

  /// Drops the layers after which the network rounds, and says so.
  std::string leave_out_rounded(std::vector<std::string>& points) const {
    const size_t dropped = std::erase_if(points, [&](const std::string& name) {
      return rounds_between(bound_, bound_.require(name), score_);
    });
    if (dropped == 0) return "";
    return fmt::format(
        "{} layers left out: the network is quantised and rounds after them, so that differences "
        "show no derivative",
        dropped);
  }

  double score_of(const std::vector<double>& scores) const {
    double sum = 0;
    for (size_t i = 0; i < scores.size(); ++i) sum += seed_[i] * scores[i];
    return sum;
  }

  /// (s(x + h d) - s(x - h d)) / 2h against g . d, all in double. The picture gets a little noise
  /// first, because flat areas make exact ties in max pooling, where there is no derivative. For
  /// the same reason `d` leaves out entries that are exactly zero (rectified ones).
  void check_derivatives() {
    CheckSection section{"derivative", {}, ""};
    std::vector<std::string> points = derivative_points();
    section.note = leave_out_rounded(points);
    if (!points.empty()) {
      ExactRun exact(bound_);
      NormalNumbers normal(options_.seed + 3);
      std::map<std::string, Tensor> noisy = inputs_;
      Tensor& picture = noisy[model_.input_name()];
      picture = picture.clone();
      for (float& value : picture.as<float>()) value += static_cast<float>(1e-3 * normal());
      exact.forward(noisy);
      exact.backward(model_.score_name(), seed_, points);
      for (const std::string& name : points) {
        section.errors.push_back(
            {"oracle", name, "", derivative_error(exact, name, normal), kDerivativeTolerance});
      }
    }
    add(std::move(section));
  }

  double derivative_error(const ExactRun& exact, const std::string& name,
                          NormalNumbers& normal) const {
    const std::vector<double>& x = exact.value(name);
    const std::vector<double>& gradient = exact.gradient(name);
    const auto length = [](const std::vector<double>& v) {
      double sum = 0;
      for (double value : v) sum += value * value;
      return std::sqrt(sum);
    };
    // Half along the gradient, so that the derivative is not small by chance, half anywhere.
    std::vector<double> random(x.size());
    for (size_t i = 0; i < x.size(); ++i) random[i] = x[i] != 0 ? normal() : 0;
    const double gradient_length = length(gradient);
    const double random_length = length(random);
    std::vector<double> direction(x.size(), 0.0);
    double expected = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] == 0) continue;
      if (gradient_length > 0) direction[i] += gradient[i] / gradient_length;
      if (random_length > 0) direction[i] += random[i] / random_length;
      expected += direction[i] * gradient[i];
    }
    ExactRun moved = exact;
    const double middle = score_of(exact.value(model_.score_name()));
    const auto score_at = [&](double step) {
      std::vector<double>& values = moved.value(name);
      for (size_t i = 0; i < x.size(); ++i) values[i] = x[i] + step * direction[i];
      moved.forward_from(name);
      return score_of(moved.value(model_.score_name()));
    };
    // A step that crosses the kink of some rectifier shows in differences to the left and to the
    // right that disagree; then a shorter one is tried. The gradient has no say in the choice.
    double measured = 0;
    double least_bend = std::numeric_limits<double>::infinity();
    for (double relative : {1e-6, 1e-7, 1e-8, 1e-9, 1e-10}) {
      const double h = relative * std::max(length(x), 1e-3);
      const double right = score_at(h) - middle;
      const double left = middle - score_at(-h);
      const double bend = relative_error({right}, {left});
      if (bend < least_bend) {
        least_bend = bend;
        measured = (right + left) / (2 * h);
      }
      if (least_bend < 0.1 * kDerivativeTolerance) break;
    }
    // A network of rectifiers has |g| >= score / |x| (Euler, biases aside). Far below that, where
    // the score hardly reacts (saturated, or normalised over two values), the derivative drowns in
    // the rounding of the score; what counts then is how small it is.
    double size = 0;
    const std::vector<double>& scores = exact.value(model_.score_name());
    for (size_t i = 0; i < scores.size(); ++i) size += std::abs(seed_[i] * scores[i]);
    const double scale = std::max(std::abs(expected), 1e-2 * size / length(x));
    return scale > 0 ? std::abs(measured - expected) / scale : std::abs(measured);
  }

  const Model& model_;
  const CheckOptions& options_;
  Tolerances tolerances_;
  std::map<std::string, Shape> shapes_;
  std::map<std::string, Tensor> inputs_;
  Graph bound_;
  ValueId score_ = kNone;
  std::vector<bool> gradient_possible_;
  std::vector<double> seed_;
  CheckReport report_;
};

}  // namespace

int64_t CheckSection::failures() const {
  return std::count_if(errors.begin(), errors.end(),
                       [](const StepError& error) { return !error.passed(); });
}

int64_t CheckReport::failures() const {
  int64_t sum = 0;
  for (const CheckSection& section : sections) sum += section.failures();
  return sum;
}

int64_t CheckReport::comparisons() const {
  size_t sum = 0;
  for (const CheckSection& section : sections) sum += section.errors.size();
  return static_cast<int64_t>(sum);
}

CheckReport check_network(const Model& model, const Tensor& picture, const CheckOptions& options) {
  return NetworkCheck(model, picture, options).run();
}

}  // namespace camlucida::cli
