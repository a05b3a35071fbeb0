#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "engine/fs.h"
#include "engine/import/onnx.h"
#include "engine/passes/passes.h"
#include "engine/session.h"
#include "tools/common_flags.h"
#include "tools/device.h"
#include "tools/json_output.h"
#include "tools/program.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida inspect resnet50.onnx
  camlucida inspect resnet50.onnx --layers    # names for `explain --target-layer`
  camlucida inspect resnet50.onnx --why       # the kernel of every step, and why not another
  camlucida inspect resnet50.onnx --why --device cuda --precision fp16
  camlucida inspect resnet50.onnx --values --json)";

struct Flags {
  ModelFlags model;
  OutputFlags output;
  bool layers = false, why = false, values = false;
};

struct Totals {
  int64_t parameters = 0;  // elements of floating-point constants
  int64_t parameter_bytes = 0;
  int64_t multiply_adds = 0;
  std::map<std::string, int64_t> operators;
};

/// Weights are what the file holds and the score needs; what shape arithmetic left over is not
/// counted.
Totals count(const Model& model) {
  Totals totals;
  for (const Value& value : model.graph().values()) {
    if (!value.is_constant() || !is_floating(value.constant.dtype()) || value.consumers.empty()) {
      continue;
    }
    totals.parameters += value.constant.count();
    totals.parameter_bytes += static_cast<int64_t>(value.constant.bytes());
  }
  for (const Node& node : model.graph().nodes()) ++totals.operators[node.operation];
  const Graph& bound = model.bound();
  for (const Node& node : bound.nodes()) {
    if (!node.layer->multiply_adds) continue;
    Graph::ContextStorage storage;
    std::vector<TensorDesc> outputs;
    for (ValueId id : node.outputs) {
      outputs.push_back(id == kNone ? TensorDesc{} : bound.value(id).desc);
    }
    totals.multiply_adds += node.layer->multiply_adds(bound.context(node, storage), outputs);
  }
  return totals;
}

std::vector<LayerCandidate> layers_of(const Model& model) {
  const Graph& bound = model.bound();
  std::vector<LayerCandidate> candidates =
      list_layers(bound, bound.require(model.input_name()), bound.require(model.score_name()));
  return candidates;
}

/// Name of the default layer and why, or why there is none.
LayerChoice default_layer_of(const Model& model) {
  try {
    return model.default_layer();
  } catch (const Error& error) {
    return {kNone, error.message()};
  }
}

std::shared_ptr<const Plan> plan_of(const Model& model) {
  return Plan::compile(model.graph(), {{model.input_name(), model.input_shape()}},
                       Needs{.outputs = {model.score_name()}, .score = model.score_name()},
                       {.gpu = model.options().gpu, .precision = model.options().precision});
}

/// Of a GPU also the way back from the scores to the picture, where that can be had: what methods
/// with gradients run.
std::shared_ptr<const Plan> backward_plan_of(const Model& model, std::string* reason) {
  try {
    return Plan::compile(model.graph(), {{model.input_name(), model.input_shape()}},
                         Needs{.gradient_to = {model.input_name()}, .score = model.score_name()},
                         {.gpu = model.options().gpu, .precision = model.options().precision});
  } catch (const Error& error) {
    *reason = error.message();
    return nullptr;
  }
}

const char* name_of(Layout layout) { return layout == Layout::kBlocked ? "blocked" : "plain"; }

/// Where a step's first output lies, as far as the plan tells.
std::string output_layout(const Plan& plan, const Plan::Step& step) {
  if (plan.options().gpu != nullptr) return "";  // layouts of a GPU take the same room
  if (step.node == kNone || step.outputs.empty() || step.outputs[0] == kNone) return "";
  const Node& node = plan.graph().node(step.node);
  const Shape& shape = plan.graph().value(node.outputs[0]).desc.shape;
  const auto bytes =
      static_cast<int64_t>(plan.buffers()[static_cast<size_t>(step.outputs[0])].bytes);
  const int64_t plain = stored_count(shape, Layout::kPlain) * 4;
  if (shape.rank() < 3 || stored_count(shape, Layout::kBlocked) * 4 == plain) return "";
  return name_of(bytes == plain ? Layout::kPlain : Layout::kBlocked);
}

// ------------------------------------------------------------------------------------------------
// JSON

Json port_json(const Graph& graph, ValueId id) {
  const Value& value = graph.value(id);
  return {{"name", value.name},
          {"type", name_of(value.desc.dtype)},
          {"shape", to_json(value.desc.shape)}};
}

Json layers_json(const Model& model) {
  Json list = Json::array();
  for (const LayerCandidate& layer : layers_of(model)) {
    list.push_back({{"name", layer.name},
                    {"aliases", layer.aliases},
                    {"operator", layer.operation},
                    {"shape", to_json(layer.shape)},
                    {"stride", layer.stride},
                    {"on_path", layer.on_path},
                    {"dominates", layer.dominates},
                    {"good", layer.good},
                    {"verdict", layer.verdict}});
  }
  return list;
}

Json steps_json(const std::vector<Plan::Step>& steps) {
  Json list = Json::array();
  for (const Plan::Step& step : steps) {
    Json rejected = Json::array();
    for (const Plan::Rejected& other : step.rejected) {
      rejected.push_back({{"kernel", other.kernel}, {"reason", other.reason}});
    }
    list.push_back({{"name", step.name},
                    {"operation", step.operation},
                    {"kernel", step.kernel},
                    {"host", step.on_host},
                    {"remark", step.remark},
                    {"multiply_adds", step.multiply_adds},
                    {"cost_ns", step.cost_ns},
                    {"packed_bytes", step.prepared->packed_bytes()},
                    {"rejected", std::move(rejected)}});
  }
  return list;
}

Json values_json(const Graph& graph) {
  Json list = Json::array();
  for (const Value& value : graph.values()) {
    Json entry = {{"name", value.name},
                  {"type", name_of(value.desc.dtype)},
                  {"shape", to_json(value.desc.shape)},
                  {"constant", value.is_constant()},
                  {"producer", nullptr}};
    if (value.producer != kNone) entry["producer"] = graph.node(value.producer).name;
    list.push_back(std::move(entry));
  }
  return list;
}

void print_as_json(const Flags& flags, const Model& model) {
  const Totals totals = count(model);
  const Graph& graph = model.graph();
  const LayerChoice layer = default_layer_of(model);
  Json json;
  json["schema"] = 1;
  json["model"] = model_json(model, model.digest());
  if (model.path().extension() == ".onnx") {
    const OnnxInfo info = read_onnx_info(model.path());
    json["onnx"] = {{"ir_version", info.ir_version},
                    {"producer", info.producer},
                    {"operators", info.operators}};
    json["onnx"]["opset"] = Json::object();
    for (const auto& [domain, version] : info.opsets) {
      json["onnx"]["opset"][domain.empty() ? "ai.onnx" : domain] = version;
    }
  }
  json["inputs"] = Json::array();
  json["outputs"] = Json::array();
  for (ValueId id : graph.inputs()) json["inputs"].push_back(port_json(graph, id));
  for (ValueId id : model.bound().outputs()) {
    json["outputs"].push_back(port_json(model.bound(), id));
  }
  json["picture"] = {{"input", model.input_name()}, {"shape", to_json(model.input_shape())}};
  json["score"] = {{"name", model.score_name()}, {"reason", model.score_reason()}};
  json["nodes"] = graph.nodes().size();
  json["operators"] = totals.operators;
  json["parameters"] = totals.parameters;
  json["parameter_bytes"] = totals.parameter_bytes;
  json["multiply_adds"] = totals.multiply_adds;
  json["preprocess"] = to_json(model.preprocessing());
  json["preprocess"]["source"] = model.preprocessing_source();
  json["default_layer"] = {
      {"name", layer.value == kNone ? Json() : Json(model.bound().value(layer.value).name)},
      {"reason", layer.reason}};
  if (flags.layers) json["layers"] = layers_json(model);
  if (flags.values) json["values"] = values_json(model.bound());
  if (flags.why) {
    const std::shared_ptr<const Plan> plan = plan_of(model);
    json["plan"] = {{"device", device_name(model.options().gpu.get())},
                    {"precision", name_of(model.options().precision)},
                    {"arena_bytes", plan->arena_bytes()},
                    {"packed_bytes", plan->packed_bytes()},
                    {"steps", steps_json(plan->forward_steps())}};
    if (model.options().gpu != nullptr) {
      std::string reason;
      const std::shared_ptr<const Plan> back = backward_plan_of(model, &reason);
      json["plan"]["backward_steps"] = back ? steps_json(back->backward_steps()) : Json();
    }
  }
  print_json(json);
}

// ------------------------------------------------------------------------------------------------
// Text

std::string recipe_text(const Preprocessing& recipe) {
  std::string text;
  if (recipe.resize == ResizeOp::kShortSide) {
    text = fmt::format("shorter side to {}, ", recipe.short_side);
  } else if (recipe.resize == ResizeOp::kExact) {
    text = fmt::format("scaled to {} x {}, ", recipe.resize_height, recipe.resize_width);
  }
  if (recipe.crop_height > 0) {
    text += fmt::format("centre {} x {}, ", recipe.crop_height, recipe.crop_width);
  }
  text += recipe.channel_order == ChannelOrder::kRgb   ? "RGB"
          : recipe.channel_order == ChannelOrder::kBgr ? "BGR"
                                                       : "gray";
  return text + fmt::format(", (byte * {:.6g} - [{:.6g}]) / [{:.6g}]", recipe.scale,
                            fmt::join(recipe.mean, ", "), fmt::join(recipe.std, ", "));
}

void print_summary(const Model& model) {
  const Totals totals = count(model);
  const Graph& graph = model.graph();
  fmt::print("{}\n", model.path().string());
  if (model.path().extension() == ".onnx") {
    const OnnxInfo info = read_onnx_info(model.path());
    std::string opsets;
    for (const auto& [domain, version] : info.opsets) {
      opsets += fmt::format("{}{} {}", opsets.empty() ? "" : ", ",
                            domain.empty() ? "ai.onnx" : domain, version);
    }
    fmt::print("  format         ONNX, IR {}, opset {}{}{}\n", info.ir_version, opsets,
               info.producer.empty() ? "" : ", by ", info.producer);
  }
  for (ValueId id : graph.inputs()) {
    const Value& value = graph.value(id);
    fmt::print("  input          {} {} {}\n", value.name, name_of(value.desc.dtype),
               value.desc.shape.to_string());
  }
  for (ValueId id : model.bound().outputs()) {
    const Value& value = model.bound().value(id);
    fmt::print("  output         {} {} {}\n", value.name, name_of(value.desc.dtype),
               value.desc.shape.to_string());
  }
  fmt::print("  score          {}{}{}\n", model.score_name(),
             model.score_reason().empty() ? "" : ": ", model.score_reason());
  fmt::print("  planned for    {} = {}\n", model.input_name(), model.input_shape().to_string());
  fmt::print("  nodes          {}\n", graph.nodes().size());
  fmt::print("  parameters     {} ({})\n", with_thousands(totals.parameters),
             megabytes(static_cast<double>(totals.parameter_bytes)));
  fmt::print("  multiply-adds  {}\n", with_thousands(totals.multiply_adds));
  fmt::print("  preprocessing  {} (from {})\n", recipe_text(model.preprocessing()),
             model.preprocessing_source());
  fmt::print("  labels         {}\n",
             model.labels().empty() ? "none" : std::to_string(model.labels().size()) + " classes");
  const LayerChoice layer = default_layer_of(model);
  fmt::print("  default layer  {}{}\n",
             layer.value == kNone
                 ? "none: "
                 : model.bound().value(layer.value).name + " " +
                       model.bound().value(layer.value).desc.shape.to_string() + ": ",
             layer.reason);
  std::vector<std::pair<std::string, int64_t>> operators(totals.operators.begin(),
                                                         totals.operators.end());
  std::stable_sort(operators.begin(), operators.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string line;
  for (const auto& [name, times] : operators) {
    line += fmt::format("{}{} {}", line.empty() ? "" : ", ", name, times);
  }
  fmt::print("  operators      {}\n", line);
}

void print_layers(const Model& model) {
  using Align = Table::Align;
  Table table({{"layer"},
               {"also called"},
               {"operator"},
               {"shape"},
               {"stride", Align::kRight},
               {"target"},
               {"why"}});
  for (const LayerCandidate& layer : layers_of(model)) {
    // The shortest name is the one people type.
    const auto alias = std::min_element(
        layer.aliases.begin(), layer.aliases.end(),
        [](const std::string& a, const std::string& b) { return a.size() < b.size(); });
    table.add({layer.name, alias == layer.aliases.end() ? "" : *alias, layer.operation,
               layer.shape.to_string(), fmt::format("{:g}", layer.stride),
               layer.good ? "yes" : "no", layer.verdict});
  }
  table.print();
  if (table.empty()) fmt::print("no value of rank 4: nothing to map\n");
}

/// "blocks of 16 channels", or device, precision and how much of a GPU's plan is not the GPU's.
std::string plan_text(const Plan& plan) {
  const Gpu* gpu = plan.options().gpu.get();
  if (gpu == nullptr) return fmt::format("blocks of {} channels", plan.block());
  const auto& steps = plan.forward_steps();
  const auto on_host = std::count_if(steps.begin(), steps.end(),
                                     [](const Plan::Step& step) { return step.on_host; });
  return fmt::format("{}, {}, {} of the steps on the host", device_name(gpu),
                     name_of(plan.options().precision), on_host);
}

void print_steps(const Plan& plan, const std::vector<Plan::Step>& steps) {
  int number = 0;
  for (const Plan::Step& step : steps) {
    const std::string layout = output_layout(plan, step);
    fmt::print("{:4} {}  {}\n     kernel {}{}{}{}{}\n", number++, step.operation, step.name,
               step.kernel, step.on_host ? " (host)" : "",
               layout.empty() ? "" : ", output " + layout, step.remark.empty() ? "" : ": ",
               step.remark);
    for (const Plan::Rejected& other : step.rejected) {
      fmt::print("     not    {}: {}\n", other.kernel, other.reason);
    }
  }
}

void print_plan(const Model& model) {
  const std::shared_ptr<const Plan> plan = plan_of(model);
  fmt::print("{} steps, {} of activations, {} of packed weights, {}\n",
             plan->forward_steps().size(), megabytes(static_cast<double>(plan->arena_bytes())),
             megabytes(static_cast<double>(plan->packed_bytes())), plan_text(*plan));
  print_steps(*plan, plan->forward_steps());
  if (model.options().gpu == nullptr) return;
  std::string reason;
  const std::shared_ptr<const Plan> back = backward_plan_of(model, &reason);
  if (back == nullptr) {
    fmt::print("no way back to the picture: {}\n", reason);
    return;
  }
  fmt::print("back to the picture, {} steps\n", back->backward_steps().size());
  print_steps(*back, back->backward_steps());
}

void print_values(const Graph& graph) {
  Table table({{"value"}, {"type"}, {"shape"}, {"from"}});
  for (const Value& value : graph.values()) {
    const std::string from = value.is_constant()       ? "constant"
                             : value.producer == kNone ? "input"
                                                       : graph.node(value.producer).operation;
    table.add(
        {value.name, std::string(name_of(value.desc.dtype)), value.desc.shape.to_string(), from});
  }
  table.print();
}

int run(const Flags& flags) {
  const Model model = load_model(flags.model, flags.output);
  if (flags.output.json) {
    print_as_json(flags, model);
    return 0;
  }
  if (flags.output.quiet) return 0;
  if (!flags.layers && !flags.why && !flags.values) print_summary(model);
  if (flags.layers) print_layers(model);
  if (flags.why) print_plan(model);
  if (flags.values) print_values(model.bound());
  return 0;
}

}  // namespace

void add_inspect(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Command command = program.add(
      "inspect", "What a model computes, which layers can be explained, which kernels run",
      kExamples, [flags] { return run(*flags); });
  add_model_flags(command, flags->model, ModelArgument::kPositional);
  command.add_flag("--layers", flags->layers,
                   "Possible target layers with shape, stride and whether they are good ones");
  command.add_flag("--why", flags->why,
                   "Kernel of every step, what was fused, and the reasons against the others");
  command.add_flag("--values", flags->values, "All values with type and shape");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
