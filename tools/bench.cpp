#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>

#include "engine/build_info.h"
#include "engine/cuda/device_tensor.h"
#include "engine/npy.h"
#include "engine/session.h"
#include "tools/common_flags.h"
#include "tools/device.h"
#include "tools/json_output.h"
#include "tools/program.h"
#include "tools/random_input.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida bench -m resnet50.onnx --threads 1
  camlucida bench -m resnet50.onnx --layers              # where the time goes
  camlucida bench -m resnet50.onnx --method gradcam      # what a map costs on top
  camlucida bench -m resnet50.onnx --method opticam --set iterations=50 --runs 3 --warmup 1
  camlucida bench -m resnet50.onnx --batch 8 --runs 50 --json
  camlucida bench -m resnet50.onnx --device cuda --precision fp16 --batch 256

Timed is the network alone, on a random picture that is ready in memory (of the GPU, without
--from-host): no decoding, no preprocessing, no files. On a GPU a run ends when all its work is
done. GFLOP/s counts a multiply-add as two operations.)";

constexpr int kMaxRuns = 1000000;

struct Flags {
  ModelFlags model;
  OutputFlags output;
  int runs = 20;
  int warmup = 3;
  double min_time = 1.0;
  int batch = 1;
  bool layers = false;
  bool from_host = false;
  std::string method, layer, input;
  std::vector<std::string> settings;
  int64_t target = 0;
  uint64_t seed = 0;
};

struct Times {
  std::vector<double> ms;  // sorted

  double quantile(double q) const {
    const auto last = static_cast<double>(ms.size() - 1);
    return ms[static_cast<size_t>(q * last + 0.5)];
  }
  double median() const {
    const size_t half = ms.size() / 2;
    return ms.size() % 2 == 1 ? ms[half] : 0.5 * (ms[half - 1] + ms[half]);
  }
};

/// At least `runs` runs and `min_time` seconds, after `warmup` runs that do not count.
template <class Run>
Times measure(const Flags& flags, const Run& run) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < flags.warmup; ++i) run();
  Times times;
  double total = 0;
  while (static_cast<int>(times.ms.size()) < flags.runs ||
         (total < flags.min_time * 1e3 && static_cast<int>(times.ms.size()) < kMaxRuns)) {
    const auto start = Clock::now();
    run();
    const std::chrono::duration<double, std::milli> took = Clock::now() - start;
    times.ms.push_back(took.count());
    total += took.count();
  }
  std::sort(times.ms.begin(), times.ms.end());
  return times;
}

/// What is timed: a plan with a session and the inputs it runs on.
struct Workload {
  std::shared_ptr<const Plan> plan;
  std::unique_ptr<Session> session;
  std::map<std::string, Tensor> inputs;

  /// Sends the forward pass.
  void forward() { session->forward(inputs); }
  /// Waits for what was sent.
  void finish() {
    if (const std::shared_ptr<Stream> stream = session->stream()) stream->synchronize();
  }
  void run() {
    forward();
    finish();
  }
};

Workload make_workload(const Model& model, const Flags& flags, const Needs& needs) {
  Shape shape = model.input_shape();
  shape[0] = flags.batch;
  Workload work;
  work.plan = Plan::compile(model.graph(), {{model.input_name(), shape}}, needs,
                            {.gpu = model.options().gpu, .precision = model.options().precision});
  work.session = std::make_unique<Session>(work.plan, flags.model.threads);
  work.inputs = random_inputs(model, *work.plan, flags.seed);
  if (!flags.input.empty()) work.inputs[model.input_name()] = read_npy(flags.input);
  const std::shared_ptr<Stream> stream = work.session->stream();
  if (stream != nullptr && !flags.from_host) {
    for (auto& [name, tensor] : work.inputs) tensor = to_device(tensor, stream);
  }
  return work;
}

Needs plain_needs(const Model& model) {
  return Needs{.outputs = {model.score_name()}, .score = model.score_name()};
}

struct StepTime {
  const Plan::Step* step;
  bool backward;
  double ms = 0;  // median over the runs
};

/// Median time of every step over separate runs, since reading the clock costs time itself.
template <class Run>
std::vector<StepTime> time_steps(Workload& work, const Flags& flags, const Run& run) {
  const auto& forward = work.plan->forward_steps();
  const auto& backward = work.plan->backward_steps();
  std::vector<std::vector<double>> samples(forward.size() + backward.size());
  work.session->set_step_timer([&](bool is_backward, int step, double nanoseconds) {
    samples[(is_backward ? forward.size() : 0) + static_cast<size_t>(step)].push_back(nanoseconds);
  });
  for (int i = 0; i < flags.runs; ++i) run();
  work.session->set_step_timer({});
  std::vector<StepTime> times;
  for (size_t i = 0; i < samples.size(); ++i) {
    const bool is_backward = i >= forward.size();
    StepTime time{is_backward ? &backward[i - forward.size()] : &forward[i], is_backward, 0};
    std::vector<double>& sample = samples[i];
    if (!sample.empty()) {
      std::nth_element(sample.begin(), sample.begin() + static_cast<long>(sample.size() / 2),
                       sample.end());
      time.ms = sample[sample.size() / 2] * 1e-6;
    }
    times.push_back(time);
  }
  return times;
}

/// Bytes that the step reads and writes at least: its values and its weights, each once.
int64_t traffic_of(const Plan& plan, const Plan::Step& step) {
  size_t bytes = step.prepared->packed_bytes();
  for (const auto* ports : {&step.inputs, &step.outputs, &step.grad_outputs, &step.grad_inputs}) {
    for (const Plan::BufferId id : *ports) {
      if (id != kNone) bytes += plan.buffers()[static_cast<size_t>(id)].bytes;
    }
  }
  return static_cast<int64_t>(bytes);
}

int64_t traffic_of(const Plan& plan) {
  int64_t bytes = 0;
  for (const Plan::Step& step : plan.forward_steps()) bytes += traffic_of(plan, step);
  return bytes;
}

double gflops(int64_t multiply_adds, double ms) {
  return ms > 0 ? 2.0 * static_cast<double>(multiply_adds) / (ms * 1e6) : 0.0;
}

void print_steps(const std::vector<StepTime>& steps) {
  using Align = Table::Align;
  const double total = std::accumulate(steps.begin(), steps.end(), 0.0,
                                       [](double sum, const StepTime& t) { return sum + t.ms; });
  Table table({{"step"},
               {"kernel"},
               {"ms", Align::kRight},
               {"%", Align::kRight},
               {"multiply-adds", Align::kRight},
               {"GFLOP/s", Align::kRight},
               {"node"}});
  for (const StepTime& time : steps) {
    const int64_t work = time.step->multiply_adds;
    table.add({time.step->operation, time.step->kernel, fmt::format("{:.4f}", time.ms),
               fmt::format("{:.1f}", total > 0 ? 100 * time.ms / total : 0.0),
               work > 0 ? with_thousands(work) : "",
               work > 0 ? fmt::format("{:.1f}", gflops(work, time.ms)) : "",
               shortened(time.step->name, 60)});
  }
  table.print();
  fmt::print("sum of steps {:.4f} ms\n", total);
}

Json steps_json(const Plan& plan, const std::vector<StepTime>& steps) {
  Json list = Json::array();
  for (const StepTime& time : steps) {
    list.push_back({{"name", time.step->name},
                    {"operation", time.step->operation},
                    {"kernel", time.step->kernel},
                    {"host", time.step->on_host},
                    {"backward", time.backward},
                    {"ms", time.ms},
                    {"multiply_adds", time.step->multiply_adds},
                    {"traffic_bytes", traffic_of(plan, *time.step)}});
  }
  return list;
}

/// A map on top of the forward pass: the same network planned with what the method needs.
struct MethodTimes {
  std::string name;
  std::string layer;
  Times forward;  // forward pass of that plan alone
  Times total;    // forward, backward and map
  std::shared_ptr<const Plan> plan;
  std::vector<StepTime> steps;
};

MethodTimes time_method(const Model& model, const Flags& flags) {
  if (flags.batch != 1) {
    throw Error(ErrorKind::kUsage,
                "--method times one picture, --batch is " + std::to_string(flags.batch),
                "leave --batch out");
  }
  const MethodChoice choice = choose_method(flags.method);
  const ExplainerDef& method = *choice.method;
  const Subject subject = model.subject(flags.layer);
  std::map<std::string, std::string> given;
  for (const std::string& setting : flags.settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      throw Error(ErrorKind::kUsage, "--set " + setting + " is not of the form KEY=VALUE");
    }
    given[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  Settings settings(method.name, choice.variant, given);
  Workload work = make_workload(model, flags, method.needs(subject, settings));
  const Shape& scores = work.plan->desc(subject.score).shape;
  class_count(scores);  // refuses networks without classes
  const auto explain = [&] {
    work.forward();
    Evidence evidence(model.sessions(), *work.session, work.inputs.at(subject.input), subject,
                      {Target::of_class(flags.target)});
    for (const RawMap& map : method.explain(evidence, settings)) map.raw.raw();  // waits for it
    settings.check_all_read();
    work.finish();
  };
  MethodTimes times;
  times.name = choice.name();
  times.layer = subject.layer;
  times.plan = work.plan;  // `steps` points into it
  times.forward = measure(flags, [&] { work.run(); });
  times.total = measure(flags, explain);
  if (flags.layers) times.steps = time_steps(work, flags, explain);
  return times;
}

double images_per_second(const Flags& flags, const Times& times) {
  return times.median() > 0 ? 1e3 * flags.batch / times.median() : 0.0;
}

void print_as_json(const Flags& flags, const Model& model, double load_ms, const Workload& work,
                   const Times& times, const std::vector<StepTime>& steps,
                   const MethodTimes* method) {
  Json json;
  json["model"] = flags.model.model;
  json["device"] = device_name(model.options().gpu.get());
  json["precision"] = name_of(model.options().precision);
  json["load_ms"] = load_ms;
  json["median_ms"] = times.median();
  json["min_ms"] = times.ms.front();
  json["p90_ms"] = times.quantile(0.9);
  json["runs"] = times.ms.size();
  json["warmup"] = flags.warmup;
  json["threads"] = effective_threads(flags.model.threads);
  json["batch"] = flags.batch;
  json["images_per_second"] = images_per_second(flags, times);
  json["multiply_adds"] = work.plan->multiply_adds();
  json["gflops"] = gflops(work.plan->multiply_adds(), times.median());
  json["arena_bytes"] = work.plan->arena_bytes();
  json["weight_bytes"] = work.plan->packed_bytes();
  json["traffic_bytes"] = traffic_of(*work.plan);
  if (const Gpu* gpu = model.options().gpu.get()) {
    json["inputs_on"] = flags.from_host ? "host" : "gpu";
    json["gpu_peak_bytes"] = model.options().gpu->allocator().peak_bytes();
    json["driver"] = gpu->properties().driver;
  }
  json["simd"] = build_info().simd;
  if (flags.layers) json["steps"] = steps_json(*work.plan, steps);
  if (method != nullptr) {
    json["method"] = {{"name", method->name},
                      {"layer", method->layer},
                      {"forward_median_ms", method->forward.median()},
                      {"median_ms", method->total.median()},
                      {"min_ms", method->total.ms.front()},
                      {"p90_ms", method->total.quantile(0.9)},
                      {"overhead", method->total.median() / times.median() - 1.0},
                      {"arena_bytes", method->plan->arena_bytes()}};
    if (flags.layers) json["method"]["steps"] = steps_json(*method->plan, method->steps);
  }
  print_json(json);
}

void print_line(const char* name, const Times& times) {
  fmt::print("{:<16}median {:.3f} ms, min {:.3f}, p90 {:.3f}, {} runs\n", name, times.median(),
             times.ms.front(), times.quantile(0.9), times.ms.size());
}

int run(const Flags& flags) {
  OutputFlags silent = flags.output;
  silent.quiet = true;  // the recipe does not matter here
  const auto start = std::chrono::steady_clock::now();
  const Model model = load_model(flags.model, silent);
  const std::chrono::duration<double, std::milli> load = std::chrono::steady_clock::now() - start;
  Workload work = make_workload(model, flags, plain_needs(model));
  const Times times = measure(flags, [&] { work.run(); });
  std::vector<StepTime> steps;
  if (flags.layers) steps = time_steps(work, flags, [&] { work.run(); });
  std::unique_ptr<MethodTimes> method;
  if (!flags.method.empty()) method = std::make_unique<MethodTimes>(time_method(model, flags));

  if (flags.output.json) {
    print_as_json(flags, model, load.count(), work, times, steps, method.get());
    return 0;
  }
  if (flags.output.quiet) return 0;
  const Plan& plan = *work.plan;
  const Gpu* gpu = model.options().gpu.get();
  fmt::print(
      "{}, input {}, {}\n", flags.model.model, plan.desc(model.input_name()).shape.to_string(),
      gpu == nullptr ? fmt::format("{} thread(s), {}", effective_threads(flags.model.threads),
                                   build_info().simd)
                     : fmt::format("{}, {}, pictures in {}", device_name(gpu),
                                   name_of(model.options().precision),
                                   flags.from_host ? "the processor's memory" : "its memory"));
  fmt::print("{:<16}{:.1f} ms\n", "load", load.count());
  print_line("forward", times);
  fmt::print("{:<16}{} multiply-adds, {:.1f} GFLOP/s, {:.1f} images/s\n", "",
             with_thousands(plan.multiply_adds()), gflops(plan.multiply_adds(), times.median()),
             images_per_second(flags, times));
  fmt::print("{:<16}{} activations, {} packed weights\n", "memory",
             megabytes(static_cast<double>(plan.arena_bytes())),
             megabytes(static_cast<double>(plan.packed_bytes())));
  if (method) {
    print_line(("with " + method->name).c_str(), method->total);
    fmt::print("{:<16}{:+.2f} % over plain inference, layer {}, {} activations\n", "",
               100 * (method->total.median() / times.median() - 1.0), method->layer,
               megabytes(static_cast<double>(method->plan->arena_bytes())));
  }
  if (flags.layers) {
    fmt::print("\n");
    print_steps(method ? method->steps : steps);
  }
  return 0;
}

}  // namespace

void add_bench(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Command command = program.add("bench", "How fast a model runs here", kExamples,
                                      [flags] { return run(*flags); });
  add_model_flags(command, flags->model, ModelArgument::kOption);
  command.add_option("--runs", flags->runs, "Runs at least [20]")
      .within(1, kMaxRuns)
      .type_name("N");
  command.add_option("--warmup", flags->warmup, "Runs before that do not count [3]")
      .within(0, kMaxRuns)
      .type_name("N");
  command.add_option("--min-time", flags->min_time, "Seconds at least [1]")
      .within(0.0, 3600.0)
      .type_name("S");
  command.add_option("--batch", flags->batch, "Pictures per run [1]")
      .within(1, 65536)
      .type_name("N");
  command.add_option("--method", flags->method, "Also time forward, backward and map of a method")
      .type_name("NAME");
  command.add_option("-t,--target-layer", flags->layer, "Layer of the method [chosen]")
      .type_name("NAME");
  command.add_option("-c,--class", flags->target, "Class the method explains [0]")
      .type_name("INDEX");
  command.add_option("--set", flags->settings, "Parameter of the method, KEY=VALUE; repeatable")
      .type_name("KEY=VALUE")
      .repeatable();
  command.add_option("--input", flags->input, "A preprocessed tensor instead of a random picture")
      .type_name("FILE.npy");
  command.add_flag("--from-host", flags->from_host,
                   "Of a GPU: with the transfer of the pictures from the processor's memory");
  command.add_flag("--layers", flags->layers, "Time of every step (of the method's run, if given)");
  command.add_option("--seed", flags->seed, "Seed of the random picture [0]").type_name("N");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
