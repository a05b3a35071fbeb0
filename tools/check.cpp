#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "engine/exact_run.h"
#include "engine/passes/passes.h"
#include "explain/layers.h"
#include "tools/check_steps.h"
#include "tools/common_flags.h"
#include "tools/inputs.h"
#include "tools/json_output.h"
#include "tools/messages.h"
#include "tools/program.h"
#include "tools/random_input.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida check -m resnet50.onnx                 # on a random picture
  camlucida check -m resnet50.onnx cat.jpg --layers

Five comparisons, each with the tolerance it must keep; the exit code is 1 if one does not:
  forward    every step of the fast plan against the reference function of its layer, fed with the
             same inputs; error = largest difference / largest reference value
  backward   likewise every gradient between the picture and the score
  scores     the whole network, fast and reference plan, against an oracle that computes in double
             from end to end without folding or fusing anything
  gradients  of the layer `explain` takes by default and of the picture, fast and reference plan
             against the oracle at the activations that plan computed; error = distance / length
  derivative gradients of the oracle against central differences of its score along a random
             direction, at the picture and at layers on the way)";

// Tolerances of the comparisons over whole networks; those of single steps are the layers' own.
constexpr double kScoreTolerance = 1e-4;
constexpr double kGradientTolerance = 1e-4;
constexpr double kDerivativeTolerance = 1e-5;

struct Flags {
  ModelFlags model;
  OutputFlags output;
  std::vector<std::string> inputs;
  bool layers = false;
  int taps = 3;
  double tolerance = 1.0;
  uint64_t seed = 0;
};

/// All comparisons on one model and input.
class Check {
 public:
  Check(const Flags& flags, const Model& model) : flags_(flags), model_(model) {
    const Shape shape = prepare_input();
    bound_ = model.bound();
    if (shape != model.input_shape()) {
      bound_ = bind_shapes(model.graph(), shapes_);
    }
    score_ = bound_.require(model.score_name());
    gradient_possible_ = differentiable_values(bound_, score_);
  }

  int run() {
    check_forward();
    ExactRun exact(bound_);
    exact.forward(inputs_);
    check_scores(exact);
    choose_seed(exact);
    check_backward();
    check_gradients(exact);
    check_derivatives();
    if (flags_.output.json) {
      print_as_json();
    } else if (!flags_.output.quiet) {
      print();
    }
    for (const Section& section : sections_) {
      if (section.failures() > 0) return 1;
    }
    return 0;
  }

 private:
  struct Section {
    std::string name;
    std::vector<StepError> errors;
    std::string note;

    int64_t failures() const {
      return std::count_if(errors.begin(), errors.end(),
                           [](const StepError& error) { return !error.passed(); });
    }
  };

  // Input ----------------------------------------------------------------------------------------

  Shape prepare_input() {
    Shape shape = model_.input_shape();
    if (flags_.inputs.empty()) {
      what_ = fmt::format("random picture, seed {}", flags_.seed);
      shapes_ = {{model_.input_name(), shape}};
      make_other_inputs();
      return shape;
    }
    const std::vector<Input> found = find_inputs(flags_.inputs);
    if (found.size() != 1) {
      throw Error(ErrorKind::kUsage,
                  "check takes one input, but there are " + std::to_string(found.size()));
    }
    const LoadedInput loaded = load_input(found[0], model_);
    const Tensor picture =
        loaded.is_tensor() ? loaded.tensor() : model_.prepare(loaded.image()).tensor;
    what_ = found[0].path.string();
    shapes_ = {{model_.input_name(), picture.shape()}};
    make_other_inputs();
    inputs_[model_.input_name()] = picture;
    return picture.shape();
  }

  void make_other_inputs() {
    const auto plan = Plan::compile(model_.graph(), shapes_, {}, {.reference_only = true});
    inputs_ = random_inputs(model_, *plan, flags_.seed);
  }

  // Comparisons ----------------------------------------------------------------------------------

  Needs score_needs() const {
    return Needs{.outputs = {model_.score_name()}, .score = model_.score_name()};
  }

  Session run_plan(const Needs& needs, const PlanOptions& options) const {
    Session session(Plan::compile(model_.graph(), shapes_, needs, options), flags_.model.threads);
    session.forward(inputs_);
    return session;
  }

  void add(Section section) {
    for (StepError& error : section.errors) error.tolerance *= flags_.tolerance;
    sections_.push_back(std::move(section));
  }

  void check_forward() {
    const Session session = run_plan(score_needs(), {.retain_all = true});
    add({"forward", check_forward_steps(session), ""});
  }

  void check_scores(const ExactRun& exact) {
    const std::vector<double>& expected = exact.value(model_.score_name());
    Section section{"scores", {}, ""};
    const auto compare = [&](const char* name, const PlanOptions& options) {
      const Session session = run_plan(score_needs(), options);
      section.errors.push_back({name, model_.score_name(), "",
                                relative_error(session.output().to_doubles(), expected),
                                kScoreTolerance});
    };
    compare("fast plan", {});
    compare("reference plan", {.reference_only = true});
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
      score_text_ = fmt::format("class {}", best - scores.begin());
    } else {
      NormalNumbers normal(flags_.seed + 2);
      for (double& value : seed_) value = normal() / std::sqrt(static_cast<double>(seed_.size()));
      score_text_ = "a random direction of the output";
    }
  }

  bool has_gradient(const std::string& name) const {
    const ValueId id = bound_.find(name);
    return id != kNone && gradient_possible_[static_cast<size_t>(id)];
  }

  Session run_backward(const std::vector<std::string>& targets, const PlanOptions& options) const {
    Needs needs = score_needs();
    needs.gradient_to = targets;
    Session session = run_plan(needs, options);
    Tensor seed(session.plan().desc(model_.score_name()).shape);
    from_double(DType::kFloat32, seed_.data(), seed.raw(), seed.count());
    session.backward(seed);
    return session;
  }

  /// Every value between picture and score that a fused graph with gradients still has. Asking for
  /// a gradient can undo a fusion, which brings up further values, so it is repeated till it rests.
  std::vector<std::string> inner_targets() const {
    Needs needs = score_needs();
    needs.gradient_to = main_targets();
    for (bool grown = !needs.gradient_to.empty(); grown;) {
      grown = false;
      const auto plan = Plan::compile(model_.graph(), shapes_, needs, {.retain_all = true});
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
    Section section{"backward", {}, ""};
    const std::vector<std::string> targets = inner_targets();
    if (targets.empty()) {
      section.note = "no value has a gradient to the score";
    } else {
      section.errors = check_backward_steps(run_backward(targets, {.retain_all = true}));
      if (!has_gradient(model_.input_name())) {
        section.note = "an operator without gradient cuts the picture off";
      }
    }
    add(std::move(section));
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
    Section section{"gradients", {}, ""};
    const std::vector<std::string> targets = main_targets();
    const auto compare = [&](const char* name, PlanOptions options) {
      options.retain_all = true;
      const Session session = run_backward(targets, options);
      ExactRun own = exact;
      for (const std::string& value : session.plan().readable()) {
        if (bound_.find(value) != kNone) own.value(value) = session.activation(value).to_doubles();
      }
      own.backward(model_.score_name(), seed_, targets);
      for (const std::string& target : targets) {
        section.errors.push_back(
            {name, target, "",
             relative_distance(session.gradient(target).to_doubles(), own.gradient(target)),
             kGradientTolerance});
      }
    };
    if (!targets.empty()) {
      compare("fast plan", {});
      compare("reference plan", {.reference_only = true});
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
    for (int i = 1; i <= flags_.taps && !between.empty(); ++i) {
      names.push_back(
          between[between.size() * static_cast<size_t>(i) / static_cast<size_t>(flags_.taps + 1)]);
    }
    std::vector<std::string> different;
    for (const std::string& name : names) {
      if (std::find(different.begin(), different.end(), name) == different.end()) {
        different.push_back(name);
      }
    }
    return different;
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
    Section section{"derivative", {}, ""};
    const std::vector<std::string> points = derivative_points();
    if (!points.empty()) {
      ExactRun exact(bound_);
      NormalNumbers normal(flags_.seed + 3);
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

  // Output ---------------------------------------------------------------------------------------

  /// Worst of each kind, in order of first appearance.
  static std::vector<std::pair<StepError, int>> worst_by_kind(const Section& section) {
    std::vector<std::pair<StepError, int>> rows;
    for (const StepError& error : section.errors) {
      const auto row = std::find_if(rows.begin(), rows.end(),
                                    [&](const auto& r) { return r.first.kind == error.kind; });
      if (row == rows.end()) {
        rows.emplace_back(error, 1);
        continue;
      }
      ++row->second;
      if (error.error / error.tolerance > row->first.error / row->first.tolerance) {
        row->first = error;
      }
    }
    return rows;
  }

  void print_section(const Section& section) const {
    using Align = Table::Align;
    fmt::print("{}{}{}\n", section.name, section.note.empty() ? "" : ": ", section.note);
    if (section.errors.empty() && section.note.empty()) fmt::print("  nothing to compare\n");
    const bool steps = section.name == "forward" || section.name == "backward";
    Table table({{steps ? "kind" : "what"},
                 {steps && !flags_.layers ? "steps" : "", Align::kRight},
                 {"error", Align::kRight},
                 {"tolerance", Align::kRight},
                 {""},
                 {steps && !flags_.layers ? "worst at" : "at"},
                 {section.name == "forward" ? "kernel" : ""}});
    const auto add_row = [&](const StepError& error, const std::string& count) {
      table.add({shortened(error.kind, 40), count, fmt::format("{:.2e}", error.error),
                 fmt::format("{:.2e}", error.tolerance), error.passed() ? "ok" : "FAIL",
                 shortened(error.name, 60), error.kernel});
    };
    if (steps && !flags_.layers) {
      for (const auto& [error, count] : worst_by_kind(section)) {
        add_row(error, std::to_string(count));
      }
    } else {
      for (const StepError& error : section.errors) add_row(error, "");
    }
    table.print(2);
  }

  void print() const {
    fmt::print("{} on {}; gradients of {}\n", model_.path().string(), what_, score_text_);
    int64_t failures = 0;
    size_t comparisons = 0;
    for (const Section& section : sections_) {
      print_section(section);
      failures += section.failures();
      comparisons += section.errors.size();
    }
    if (failures == 0) {
      fmt::print("all {} comparisons within tolerance\n", comparisons);
    } else {
      fmt::print("{} of {} comparisons over tolerance\n", failures, comparisons);
    }
  }

  void print_as_json() const {
    Json json = {{"schema", 1}, {"model", model_.path().string()}, {"input", what_}};
    json["score"] = score_text_;
    int64_t failures = 0;
    json["sections"] = Json::array();
    for (const Section& section : sections_) {
      Json entry = {{"name", section.name}, {"note", section.note}, {"comparisons", Json::array()}};
      for (const StepError& error : section.errors) {
        entry["comparisons"].push_back({{"kind", error.kind},
                                        {"name", error.name},
                                        {"kernel", error.kernel},
                                        {"error", error.error},
                                        {"tolerance", error.tolerance},
                                        {"passed", error.passed()}});
      }
      failures += section.failures();
      json["sections"].push_back(std::move(entry));
    }
    json["failures"] = failures;
    print_json(json);
  }

  const Flags& flags_;
  const Model& model_;
  std::string what_;        // the input, for people
  std::string score_text_;  // the score, for people
  std::map<std::string, Shape> shapes_;
  std::map<std::string, Tensor> inputs_;
  Graph bound_;
  ValueId score_ = kNone;
  std::vector<bool> gradient_possible_;
  std::vector<double> seed_;
  std::vector<Section> sections_;
};

int run(const Flags& flags) {
  OutputFlags silent = flags.output;
  silent.quiet = silent.quiet || flags.inputs.empty();
  const Model model = load_model(flags.model, silent);
  return Check(flags, model).run();
}

}  // namespace

void add_check(Program& program) {
  const auto flags = std::make_shared<Flags>();
  CLI::App& command = program.add(
      "check", "Fast kernels against reference functions, gradients against differences", kExamples,
      [flags] { return run(*flags); });
  add_input_arguments(command, flags->inputs, false);
  add_model_flags(command, flags->model, ModelArgument::kOption);
  command.add_flag("--layers", flags->layers, "Every step, not only the worst of each kind");
  command.add_option("--taps", flags->taps, "Layers at which derivatives are measured [3]")
      ->check(CLI::Range(0, 1000))
      ->type_name("N");
  command.add_option("--tolerance", flags->tolerance, "Factor on all tolerances [1]")
      ->check(CLI::NonNegativeNumber)
      ->type_name("F");
  command.add_option("--seed", flags->seed, "Seed of the random picture and directions [0]")
      ->type_name("N");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
