#include "engine/import/onnx_graph.h"

#include <algorithm>
#include <queue>

#include "engine/import/onnx_condition.h"
#include "engine/passes/passes.h"

namespace camlucida {
namespace {

using schema::AttributeProto;
using schema::NodeProto;

constexpr const char* kDamaged = "the model file is damaged";
/// A few kilobytes of functions that call each other could describe more than memory holds: the
/// nodes, inputs, outputs and list elements of all inlined bodies together.
constexpr int64_t kMaxInlined = 500'000;
constexpr size_t kMaxCallDepth = 64;
/// Names of calls go in front of all names of the function's body.
constexpr size_t kMaxPrefix = 1024;
/// Each decision that needs shapes binds the graph so far; real models have a handful.
constexpr int kMaxDecisions = 256;

Error malformed(const std::string& what, const Error::Place& place = {}) {
  return Error(ErrorKind::kModel, what, place, kDamaged);
}

Error unsupported(const std::string& what, const std::string& nearest) {
  return Error(ErrorKind::kUnsupported, what, "nearest supported form: " + nearest);
}

std::string normalised_domain(const std::string& domain) {
  return domain == "ai.onnx" ? "" : domain;
}

bool is_core(const NodeProto& node, const char* operation) {
  return normalised_domain(node.domain()).empty() && node.op_type() == operation;
}

std::set<std::string> names_read(const NodeProto& node);

/// Names that a sub-graph reads from around it.
std::set<std::string> names_captured(const schema::GraphProto& graph) {
  std::set<std::string> names;
  for (const auto& output : graph.output()) names.insert(output.name());
  for (const NodeProto& node : graph.node()) names.merge(names_read(node));
  for (const NodeProto& node : graph.node()) {
    for (const std::string& output : node.output()) names.erase(output);
  }
  for (const auto& input : graph.input()) names.erase(input.name());
  for (const auto& tensor : graph.initializer()) names.erase(tensor.name());
  return names;
}

/// Names that a node reads: its inputs and what the sub-graphs among its attributes capture.
std::set<std::string> names_read(const NodeProto& node) {
  std::set<std::string> names(node.input().begin(), node.input().end());
  for (const AttributeProto& attribute : node.attribute()) {
    if (attribute.has_g()) names.merge(names_captured(attribute.g()));
    for (const auto& graph : attribute.graphs()) names.merge(names_captured(graph));
  }
  names.erase("");
  return names;
}

int64_t size_of_body(const google::protobuf::RepeatedPtrField<NodeProto>& nodes) {
  int64_t size = nodes.size();
  for (const NodeProto& node : nodes) {
    size += node.input_size() + node.output_size();
    for (const AttributeProto& attribute : node.attribute()) {
      size += 1 + attribute.ints_size() + attribute.floats_size() + attribute.strings_size();
    }
  }
  return size;
}

AttributeProto::AttributeType type_of(const AttributeProto& attribute) {
  if (attribute.type() != AttributeProto::UNDEFINED) return attribute.type();
  // The oldest files do not say.
  if (attribute.has_f()) return AttributeProto::FLOAT;
  if (attribute.has_i()) return AttributeProto::INT;
  if (attribute.has_s()) return AttributeProto::STRING;
  if (attribute.has_t()) return AttributeProto::TENSOR;
  if (attribute.has_g()) return AttributeProto::GRAPH;
  if (attribute.floats_size() > 0) return AttributeProto::FLOATS;
  if (attribute.ints_size() > 0) return AttributeProto::INTS;
  if (attribute.strings_size() > 0) return AttributeProto::STRINGS;
  return AttributeProto::UNDEFINED;
}

/// Extents as the file states them; free ones (named, missing, zero or negative) are kUnknown.
Shape declared_shape(const schema::TensorShapeProto& proto) {
  std::vector<int64_t> dims;
  for (const auto& dim : proto.dim()) {
    dims.push_back(dim.has_dim_value() && dim.dim_value() > 0 ? dim.dim_value() : Shape::kUnknown);
  }
  return Shape(std::move(dims));
}

TensorDesc input_desc(const schema::ValueInfoProto& input) {
  const std::string what = "input '" + input.name() + "'";
  if (!input.type().has_tensor_type()) {
    throw unsupported(what + " is no tensor", "inputs that are tensors");
  }
  const auto& type = input.type().tensor_type();
  if (!type.has_shape()) {
    throw unsupported(what + " has no shape", "a stated rank; the extents may be free");
  }
  TensorDesc desc{dtype_from_onnx(type.elem_type()), declared_shape(type.shape())};
  if (desc.shape.is_known()) desc.bytes();  // throws if it cannot be addressed
  return desc;
}

}  // namespace

std::map<std::string, int64_t> read_opsets(
    const google::protobuf::RepeatedPtrField<schema::OperatorSetIdProto>& imports) {
  std::map<std::string, int64_t> opsets;
  for (const auto& import : imports) {
    opsets[normalised_domain(import.domain())] = import.version();
  }
  return opsets;
}

OnnxGraphImporter::OnnxGraphImporter(schema::ModelProto& model, std::filesystem::path folder,
                                     std::string file, const Registry& registry)
    : model_(model), file_(std::move(file)), registry_(registry), tensors_(std::move(folder)) {}

Graph OnnxGraphImporter::run() {
  opsets_ = read_opsets(model_.opset_import());
  // Operator sets came with IR version 3; before it there was only the first.
  if (model_.ir_version() < 3) opsets_.emplace("", 1);
  index_functions();

  schema::GraphProto& graph = *model_.mutable_graph();
  Scope scope{.opsets = &opsets_};
  add_initializers(scope, graph);
  add_inputs(scope);
  std::vector<std::string> outputs;
  for (const auto& output : graph.output()) outputs.push_back(output.name());
  if (outputs.empty()) throw malformed("the model has no outputs");
  import_body(scope, *graph.mutable_node(), outputs);
  for (const std::string& output : outputs) {
    try {
      const ValueId id = read(scope, output);
      if (id == kNone) throw malformed("output '" + output + "' of the model has no value");
      builder_.add_output(id);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUnsupported) throw;
      unsupported_.add({output, "output", 0}, error);
    }
  }
  if (!unsupported_.empty()) throw unsupported_.error(file_);
  names_.apply(builder_);
  return codes_to_numbers(std::move(builder_).build());
}

// ---- Names -------------------------------------------------------------------------------------

std::string OnnxGraphImporter::label(const Scope& scope, const NodeProto& node) const {
  if (!node.name().empty()) return scope.prefix + node.name();
  for (const std::string& output : node.output()) {
    if (!output.empty()) return display_name(scope, output);
  }
  return "";
}

Error::Place OnnxGraphImporter::place(const Scope& scope, const NodeProto& node) const {
  const std::string domain = normalised_domain(node.domain());
  const auto it = scope.opsets->find(domain);
  const int64_t version = it == scope.opsets->end() ? 0 : it->second;
  return {label(scope, node), qualified_name(domain, node.op_type()),
          static_cast<int>(std::clamp<int64_t>(version, 0, 1'000'000))};
}

std::string OnnxGraphImporter::display_name(const Scope& scope, const std::string& name) const {
  const auto it = scope.returned.find(name);
  return it != scope.returned.end() ? it->second : scope.prefix + name;
}

std::string OnnxGraphImporter::unique_name(const std::string& name) {
  int64_t& next = taken_[name];
  if (next == 0) {
    next = 1;
    return name;
  }
  while (true) {
    std::string candidate = name + "#" + std::to_string(taken_[name]++);
    if (taken_.emplace(candidate, 1).second) return candidate;
  }
}

ValueId OnnxGraphImporter::read(Scope& scope, const std::string& name) {
  if (name.empty()) return kNone;
  for (Scope* at = &scope; at != nullptr; at = at->outer) {
    const auto value = at->values.find(name);
    if (value != at->values.end()) return value->second;
    const auto initializer = at->initializers.find(name);
    if (initializer == at->initializers.end()) continue;
    declare_constant(*at, name, tensors_.read(*initializer->second));
    return at->values.at(name);
  }
  throw Error(ErrorKind::kModel, "value '" + name + "' is read but nothing produces it",
              "the model file is damaged or its weights are missing");
}

const Tensor* OnnxGraphImporter::constant(ValueId id) const {
  if (id == kNone || !builder_.peek(id).is_constant()) return nullptr;
  return &builder_.peek(id).constant;
}

ValueId OnnxGraphImporter::declare(Scope& scope, const std::string& name) {
  const ValueId id = builder_.value(unique_name(display_name(scope, name)));
  scope.values[name] = id;
  return id;
}

void OnnxGraphImporter::declare_constant(Scope& scope, const std::string& name, Tensor tensor) {
  scope.values[name] =
      builder_.add_constant(unique_name(display_name(scope, name)), std::move(tensor));
}

void OnnxGraphImporter::rename(Scope& scope, const std::string& name, ValueId id) {
  scope.values[name] = id;
  if (id != kNone) names_.add_exact(display_name(scope, name), id);
}

int64_t OnnxGraphImporter::opset(const Scope& scope, const std::string& domain) const {
  const auto it = scope.opsets->find(domain);
  if (it == scope.opsets->end() || it->second < 1) {
    throw malformed("the file does not say which operator set of domain '" +
                    (domain.empty() ? "ai.onnx" : domain) + "' it uses");
  }
  return it->second;
}

// ---- Inputs, weights, functions ----------------------------------------------------------------

void OnnxGraphImporter::add_initializers(Scope& scope, schema::GraphProto& graph) {
  for (schema::TensorProto& tensor : *graph.mutable_initializer()) {
    if (!scope.initializers.emplace(tensor.name(), &tensor).second) {
      throw malformed("initializer '" + tensor.name() + "' is given twice");
    }
  }
  for (const auto& sparse : graph.sparse_initializer()) {
    unsupported_.add({sparse.values().name(), "initializer", 0},
                     unsupported("sparse tensors", "dense initializers"));
    declare(scope, sparse.values().name());
  }
}

void OnnxGraphImporter::add_inputs(Scope& scope) {
  for (const schema::ValueInfoProto& input : model_.graph().input()) {
    // Some files list every weight as an input, too; a caller could override it but never does.
    if (scope.initializers.count(input.name()) > 0) continue;
    if (input.name().empty() || scope.values.count(input.name()) > 0) {
      throw malformed("input '" + input.name() + "' is given twice or has no name");
    }
    const ValueId id = declare(scope, input.name());
    try {
      builder_.add_input(builder_.peek(id).name, input_desc(input));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUnsupported) throw;
      unsupported_.add({input.name(), "input", 0}, error);
    }
  }
}

void OnnxGraphImporter::index_functions() {
  for (schema::FunctionProto& function : *model_.mutable_functions()) {
    functions_[{normalised_domain(function.domain()), function.name()}].push_back(&function);
    function_opsets_[&function] =
        function.opset_import_size() > 0 ? read_opsets(function.opset_import()) : opsets_;
  }
}

schema::FunctionProto* OnnxGraphImporter::find_function(const NodeProto& node) const {
  const auto it = functions_.find({normalised_domain(node.domain()), node.op_type()});
  if (it == functions_.end()) return nullptr;
  for (schema::FunctionProto* function : it->second) {
    if (function->overload() == node.overload()) return function;
  }
  return nullptr;
}

// ---- Attributes --------------------------------------------------------------------------------

AttributeProto* OnnxGraphImporter::resolve(const Scope& scope, AttributeProto& attribute) const {
  if (attribute.ref_attr_name().empty()) return &attribute;
  const auto it = scope.arguments.find(attribute.ref_attr_name());
  return it == scope.arguments.end() ? nullptr : it->second;
}

AttributeProto* OnnxGraphImporter::attribute(const Scope& scope, NodeProto& node,
                                             const std::string& name) const {
  for (AttributeProto& candidate : *node.mutable_attribute()) {
    if (candidate.name() == name) return resolve(scope, candidate);
  }
  return nullptr;
}

NodeSource::Value OnnxGraphImporter::attribute_value(AttributeProto& attribute) {
  switch (type_of(attribute)) {
    case AttributeProto::FLOAT:
      return double{attribute.f()};
    case AttributeProto::INT:
      return int64_t{attribute.i()};
    case AttributeProto::STRING:
      return attribute.s();
    case AttributeProto::TENSOR:
      return tensors_.read(*attribute.mutable_t());
    case AttributeProto::FLOATS:
      return std::vector<double>(attribute.floats().begin(), attribute.floats().end());
    case AttributeProto::INTS:
      return std::vector<int64_t>(attribute.ints().begin(), attribute.ints().end());
    case AttributeProto::STRINGS:
      return std::vector<std::string>(attribute.strings().begin(), attribute.strings().end());
    case AttributeProto::UNDEFINED:
      return std::vector<int64_t>{};  // an empty list in a file that does not state types
    default:
      throw unsupported("attribute '" + attribute.name() + "' is a graph, type or sparse tensor",
                        "numbers, strings, lists of them and dense tensors");
  }
}

// ---- Bodies ------------------------------------------------------------------------------------

OnnxGraphImporter::Schedule OnnxGraphImporter::schedule(
    const Scope& scope, const Nodes& nodes, const std::vector<std::string>& outputs) const {
  std::unordered_map<std::string, int> producer;
  for (int i = 0; i < nodes.size(); ++i) {
    for (const std::string& output : nodes[i].output()) {
      if (output.empty()) continue;
      if (scope.values.count(output) > 0 || scope.initializers.count(output) > 0 ||
          !producer.emplace(output, i).second) {
        throw malformed("value '" + output + "' is produced twice", place(scope, nodes[i]));
      }
    }
  }
  Schedule result;
  std::vector<int> reading(static_cast<size_t>(nodes.size()), -1);  // -1: not needed
  std::vector<std::vector<int>> readers(static_cast<size_t>(nodes.size()));
  std::vector<int> pending;
  const auto need = [&](const std::string& name) {
    result.read.insert(name);
    const auto it = producer.find(name);
    if (it == producer.end()) return -1;
    if (reading[static_cast<size_t>(it->second)] < 0) {
      reading[static_cast<size_t>(it->second)] = 0;
      pending.push_back(it->second);
    }
    return it->second;
  };
  for (const std::string& output : outputs) need(output);
  int needed = 0;
  while (!pending.empty()) {
    const int reader = pending.back();
    pending.pop_back();
    ++needed;
    for (const std::string& name : names_read(nodes[reader])) {
      const int from = need(name);
      if (from < 0) continue;
      readers[static_cast<size_t>(from)].push_back(reader);
      ++reading[static_cast<size_t>(reader)];
    }
  }
  // Of the nodes whose inputs are there, the first of the file goes first: a file in topological
  // order, as it should be, keeps its order.
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < nodes.size(); ++i) {
    if (reading[static_cast<size_t>(i)] == 0) ready.push(i);
  }
  while (!ready.empty()) {
    const int i = ready.top();
    ready.pop();
    result.order.push_back(i);
    for (int reader : readers[static_cast<size_t>(i)]) {
      if (--reading[static_cast<size_t>(reader)] == 0) ready.push(reader);
    }
  }
  if (static_cast<int>(result.order.size()) < needed) {
    const auto stuck = std::find_if(reading.begin(), reading.end(), [](int n) { return n > 0; });
    const auto node = static_cast<int>(stuck - reading.begin());
    throw malformed("the graph has a cycle", place(scope, nodes[node]));
  }
  return result;
}

void OnnxGraphImporter::import_body(Scope& scope, Nodes& nodes,
                                    const std::vector<std::string>& outputs) {
  const Schedule needed = schedule(scope, nodes, outputs);
  for (int i : needed.order) import_node(scope, nodes[i], needed);
}

void OnnxGraphImporter::import_node(Scope& scope, NodeProto& node, const Schedule& schedule) {
  try {
    if (schema::FunctionProto* function = find_function(node)) {
      import_call(scope, node, *function, schedule);
    } else if (is_core(node, "Constant")) {
      import_constant(scope, node);
    } else if (is_core(node, "If")) {
      import_if(scope, node, schedule);
    } else if (is_core(node, "Identity") && node.input_size() == 1 && node.output_size() == 1 &&
               constant(read(scope, node.input(0))) != nullptr) {
      rename(scope, node.output(0), read(scope, node.input(0)));
    } else {
      import_layer(scope, node, schedule);
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) {
      if (!error.place().operation.empty()) throw;
      throw Error(error.kind(), error.message(), place(scope, node), error.hint());
    }
    // Noted; the import goes on with outputs nobody produces, to find whatever else there is.
    unsupported_.add(place(scope, node), error);
    for (const std::string& output : node.output()) {
      if (!output.empty() && scope.values.count(output) == 0) declare(scope, output);
    }
  }
}

void OnnxGraphImporter::import_constant(Scope& scope, NodeProto& node) {
  if (node.output_size() != 1) throw malformed("a Constant must have one output");
  const std::string& output = node.output(0);
  for (AttributeProto& candidate : *node.mutable_attribute()) {
    AttributeProto* given = resolve(scope, candidate);
    if (given == nullptr) continue;
    const std::string& form = candidate.name();
    if (form == "sparse_value" || form == "value_string" || form == "value_strings") {
      throw unsupported("constants given as " + form, "a dense tensor of numbers");
    }
    NodeSource::Value value = attribute_value(*given);
    if (form == "value" && std::holds_alternative<Tensor>(value)) {
      return declare_constant(scope, output, std::get<Tensor>(value));
    }
    if (form == "value_float" && std::holds_alternative<double>(value)) {
      return declare_constant(scope, output,
                              Tensor::scalar(static_cast<float>(std::get<double>(value))));
    }
    if (form == "value_floats") {
      const Shape shape{given->floats_size()};
      const std::span<const float> floats(given->floats().data(),
                                          static_cast<size_t>(given->floats_size()));
      return declare_constant(scope, output, Tensor::from<float>(shape, floats));
    }
    if (form == "value_int" && std::holds_alternative<int64_t>(value)) {
      return declare_constant(scope, output,
                              Tensor::from_ints({std::get<int64_t>(value)}).reshaped(Shape{}));
    }
    if (form == "value_ints" && std::holds_alternative<std::vector<int64_t>>(value)) {
      return declare_constant(scope, output,
                              Tensor::from_ints(std::get<std::vector<int64_t>>(value)));
    }
    if (form.rfind("value", 0) == 0) throw malformed("attribute '" + form + "' has the wrong type");
  }
  throw malformed("a Constant has no value");
}

void OnnxGraphImporter::import_layer(Scope& scope, NodeProto& node, const Schedule& schedule) {
  const std::string domain = normalised_domain(node.domain());
  const bool known = !registry_.onnx(domain, node.op_type()).empty();
  // Operators of foreign domains are listed whether or not the file says their version.
  const int64_t version = known || domain.empty() ? opset(scope, domain) : 0;
  const Registry::OnnxEntry entry = find_operator(registry_, domain, node.op_type(), version);

  NodeSource source;
  source.operation = node.op_type();
  source.name = label(scope, node);
  source.opset = static_cast<int>(version);
  std::vector<ValueId> given;
  for (const std::string& input : node.input()) given.push_back(read(scope, input));
  for (ValueId id : given) {
    source.inputs.push_back(id != kNone);
    source.constants.push_back(constant(id));
  }
  source.output_count = node.output_size();
  for (AttributeProto& candidate : *node.mutable_attribute()) {
    AttributeProto* value = resolve(scope, candidate);
    if (value != nullptr) source.attributes.emplace(candidate.name(), attribute_value(*value));
  }
  const auto add_constant = [&](Tensor tensor) {
    return builder_.add_constant(unique_name(source.name + "/constant"), std::move(tensor));
  };
  auto [made, outputs] = read_node(entry, source, given, add_constant);
  made.operation = qualified_name(domain, node.op_type());

  const int kept = outputs < 0 ? node.output_size() : std::min(outputs, node.output_size());
  for (int i = kept; i < node.output_size(); ++i) {
    if (!node.output(i).empty() && schedule.read.count(node.output(i)) > 0) {
      throw unsupported("its output " + std::to_string(i) + " is used",
                        std::to_string(kept) + " output" + (kept == 1 ? "" : "s"));
    }
  }
  for (int i = 0; i < kept; ++i) {
    made.outputs.push_back(node.output(i).empty() ? kNone : declare(scope, node.output(i)));
  }
  const ValueId first = made.outputs.empty() ? kNone : made.outputs[0];
  const bool shape_arithmetic = entry.layer->shape_only;
  builder_.add_node(std::move(made));
  if (first != kNone && !shape_arithmetic) {
    names_.add(node, node.name().empty() ? "" : source.name, first);
  }
}

// ---- Calls and branches ------------------------------------------------------------------------

template <class Results>
void OnnxGraphImporter::import_inlined(Scope& scope, Scope& inner, NodeProto& node, Nodes& body,
                                       const Results& results, const Schedule& schedule) {
  std::vector<std::pair<std::string, std::string>> wanted;  // name inside, name outside
  for (int i = 0; i < node.output_size(); ++i) {
    const std::string& outside = node.output(i);
    if (outside.empty() || schedule.read.count(outside) == 0) continue;
    if (i >= static_cast<int>(results.size())) {
      throw malformed("output " + std::to_string(i) + " does not exist", place(scope, node));
    }
    wanted.emplace_back(results[static_cast<size_t>(i)], outside);
    inner.returned.emplace(wanted.back().first, display_name(scope, outside));
  }
  std::vector<std::string> names;
  for (const auto& [inside, outside] : wanted) names.push_back(inside);
  import_body(inner, body, names);
  for (const auto& [inside, outside] : wanted) rename(scope, outside, read(inner, inside));
  const ValueId first = wanted.empty() ? kNone : scope.values.at(wanted[0].second);
  if (first != kNone && constant(first) == nullptr && !node.name().empty()) {
    names_.add(node, label(scope, node), first);
  }
}

void OnnxGraphImporter::import_call(Scope& scope, NodeProto& node, schema::FunctionProto& function,
                                    const Schedule& schedule) {
  if (node.input_size() > function.input_size()) {
    throw malformed("function '" + function.name() + "' is given too many inputs");
  }
  inlined_ +=
      size_of_body(function.node()) + function.input_size() + function.attribute_proto_size();
  if (inlined_ > kMaxInlined) {
    throw malformed("the model is too large once its functions are inlined");
  }
  const std::string prefix = label(scope, node) + "/";
  Scope inner{.opsets = &function_opsets_.at(&function),
              .prefix = prefix.size() <= kMaxPrefix ? prefix : "inlined/"};
  for (int i = 0; i < function.input_size(); ++i) {
    inner.values[function.input(i)] = i < node.input_size() ? read(scope, node.input(i)) : kNone;
  }
  for (AttributeProto& fallback : *function.mutable_attribute_proto()) {
    inner.arguments[fallback.name()] = &fallback;
  }
  for (AttributeProto& argument : *node.mutable_attribute()) {
    if (AttributeProto* value = resolve(scope, argument)) {
      inner.arguments[argument.name()] = value;
    }
  }
  if (open_calls_.size() >= kMaxCallDepth || !open_calls_.insert(&function).second) {
    throw malformed("function '" + function.name() + "' calls itself or is nested too deep");
  }
  const std::vector<std::string> results(function.output().begin(), function.output().end());
  import_inlined(scope, inner, node, *function.mutable_node(), results, schedule);
  open_calls_.erase(&function);
}

void OnnxGraphImporter::import_if(Scope& scope, NodeProto& node, const Schedule& schedule) {
  AttributeProto* branches[] = {attribute(scope, node, "else_branch"),
                                attribute(scope, node, "then_branch")};
  for (const AttributeProto* branch : branches) {
    if (branch == nullptr || !branch->has_g()) throw malformed("an If lacks a branch");
  }
  const ValueId condition = node.input_size() == 1 ? read(scope, node.input(0)) : kNone;
  if (condition == kNone) throw malformed("an If must have one input");
  bool taken = false;
  try {
    if (constant(condition) == nullptr && ++decisions_ > kMaxDecisions) {
      throw unsupported("more than " + std::to_string(kMaxDecisions) + " conditions", "fewer");
    }
    taken = decide_condition(builder_, condition);
  } catch (const Error& error) {
    // What an unsupported node would have produced has no producer.
    if (error.kind() != ErrorKind::kUnsupported && unsupported_.empty()) throw;
    for (const AttributeProto* branch : branches) report_unsupported(scope, branch->g());
    if (error.kind() == ErrorKind::kUnsupported) throw;
    throw unsupported("its condition depends on other unsupported operators", "a constant");
  }
  schema::GraphProto& branch = *branches[taken ? 1 : 0]->mutable_g();
  Scope inner{.outer = &scope,
              .opsets = scope.opsets,
              .prefix = scope.prefix,
              .arguments = scope.arguments};
  add_initializers(inner, branch);
  std::vector<std::string> results;
  for (const auto& output : branch.output()) results.push_back(output.name());
  import_inlined(scope, inner, node, *branch.mutable_node(), results, schedule);
}

void OnnxGraphImporter::report_unsupported(const Scope& scope, const schema::GraphProto& graph) {
  for (const NodeProto& node : graph.node()) {
    for (const AttributeProto& attribute : node.attribute()) {
      if (attribute.has_g()) report_unsupported(scope, attribute.g());
    }
    if (find_function(node) != nullptr || is_core(node, "Constant") || is_core(node, "If"))
      continue;
    const Error::Place where = place(scope, node);
    try {
      find_operator(registry_, normalised_domain(node.domain()), node.op_type(), where.opset);
    } catch (const Error& error) {
      unsupported_.add(where, error);
    }
  }
}

}  // namespace camlucida
