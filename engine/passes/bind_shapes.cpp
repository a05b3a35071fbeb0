#include "engine/passes/passes.h"
#include "engine/reference.h"

namespace camlucida {
namespace {

/// Constants computed while binding are shape arithmetic and prepared weights; anything beyond
/// this is a damaged file (a fill of absurd shape).
constexpr int64_t kMaxFoldedBytes = int64_t{1} << 30;

Shape bound_input_shape(const Value& input, const std::map<std::string, Shape>& given) {
  const auto it = given.find(input.name);
  if (it != given.end()) {
    if (input.desc.shape.rank() > 0 && it->second.rank() != input.desc.shape.rank()) {
      throw Error(ErrorKind::kModel, "input '" + input.name + "' has shape " +
                                         input.desc.shape.to_string() + " in the model but " +
                                         it->second.to_string() + " was given");
    }
    return it->second;
  }
  std::vector<int64_t> dims = input.desc.shape.dims();
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] >= 0) continue;
    if (axis > 0) {
      throw Error(ErrorKind::kUsage,
                  "input '" + input.name + "' of shape " + input.desc.shape.to_string() +
                      " leaves extents open",
                  "give its size (--size H,W or a manifest)");
    }
    dims[axis] = 1;
  }
  return Shape(std::move(dims));
}

/// Binds one graph; the state is the growing result.
class Binder {
 public:
  Binder(const Graph& graph, const std::map<std::string, Shape>& input_shapes)
      : graph_(graph), descs_(graph.values().size()), constants_(graph.values().size()) {
    for (const auto& [name, shape] : input_shapes) check_input(name, shape);
    for (ValueId id : graph.inputs()) {
      const Value& input = graph.value(id);
      descs_[index(id)] = TensorDesc{input.desc.dtype, bound_input_shape(input, input_shapes)};
      descs_[index(id)].bytes();
      builder_.add_input(input.name, descs_[index(id)]);
    }
    for (size_t i = 0; i < constants_.size(); ++i) {
      const Value& value = graph.value(static_cast<ValueId>(i));
      if (!value.is_constant()) continue;
      constants_[i] = value.constant;
      descs_[i] = value.constant.desc();
    }
  }

  Graph run() && {
    for (const Node& node : graph_.nodes()) {
      try {
        bind(node);
      } catch (const Error& error) {
        if (!error.place().operation.empty() || !error.place().node.empty()) throw;
        throw Error(error.kind(), error.message(), node.place(), error.hint());
      }
    }
    for (ValueId id : graph_.outputs()) builder_.add_output(mapped(id));
    for (const auto& [name, id] : graph_.aliases()) builder_.add_alias(name, mapped(id));
    return std::move(builder_).build();
  }

 private:
  static size_t index(ValueId id) { return static_cast<size_t>(id); }

  void check_input(const std::string& name, const Shape& shape) const {
    for (ValueId id : graph_.inputs()) {
      if (graph_.value(id).name == name) {
        shape.count();
        return;
      }
    }
    throw Error(ErrorKind::kUsage, "the model has no input called '" + name + "'");
  }

  ValueId mapped(ValueId id) {
    if (id == kNone) return kNone;
    const std::string& name = graph_.value(id).name;
    if (constants_[index(id)].defined()) {
      const ValueId mapped_id = builder_.value(name);
      if (!builder_.peek(mapped_id).is_constant()) {
        builder_.add_constant(name, constants_[index(id)]);
      }
      return mapped_id;
    }
    return builder_.value(name);
  }

  void bind(const Node& node) {
    std::vector<const TensorDesc*> inputs;
    std::vector<const Tensor*> constants;
    bool all_constant = true;
    std::vector<bool> given;
    for (ValueId id : node.inputs) {
      const bool present = id != kNone;
      given.push_back(present);
      const bool constant = present && constants_[index(id)].defined();
      inputs.push_back(present ? &descs_[index(id)] : nullptr);
      constants.push_back(constant ? &constants_[index(id)] : nullptr);
      all_constant = all_constant && (constant || !present);
    }
    check_inputs(*node.layer, given);
    const InferContext context{node.attributes, inputs, constants,
                               static_cast<int>(node.outputs.size())};
    const std::vector<TensorDesc> outputs = node.layer->infer(context);
    if (outputs.size() < node.outputs.size()) {
      throw Error(ErrorKind::kModel, "the model reads more outputs than the operator has");
    }
    int64_t bytes = 0;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      bytes = std::max(bytes, outputs[i].bytes());
      if (node.outputs[i] != kNone) descs_[index(node.outputs[i])] = outputs[i];
    }
    if (all_constant || node.layer->shape_only) {
      if (bytes > kMaxFoldedBytes) {
        throw Error(ErrorKind::kModel,
                    "a constant of shape " + outputs[0].shape.to_string() + " would take " +
                        std::to_string(bytes) + " bytes",
                    "the file is damaged or hostile");
      }
      fold(node, outputs);
      return;
    }
    Node copy = node;
    for (ValueId& id : copy.inputs) id = mapped(id);
    for (size_t i = 0; i < copy.outputs.size(); ++i) {
      ValueId& id = copy.outputs[i];
      if (id == kNone) continue;
      id = builder_.value(graph_.value(id).name);
      builder_.set_desc(id, outputs[i]);
    }
    builder_.add_node(std::move(copy));
  }

  void fold(const Node& node, const std::vector<TensorDesc>& outputs) {
    std::vector<Tensor> inputs;
    for (ValueId id : node.inputs) {
      if (id == kNone) {
        inputs.emplace_back();
      } else if (constants_[index(id)].defined()) {
        inputs.push_back(constants_[index(id)]);
      } else {
        inputs.emplace_back(descs_[index(id)], nullptr, nullptr);
      }
    }
    const std::vector<Tensor> results = evaluate(
        node, inputs, {outputs.begin(), outputs.begin() + static_cast<long>(node.outputs.size())});
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] != kNone) constants_[index(node.outputs[i])] = results[i];
    }
  }

  const Graph& graph_;
  GraphBuilder builder_;
  std::vector<TensorDesc> descs_;
  std::vector<Tensor> constants_;
};

}  // namespace

Graph bind_shapes(const Graph& graph, const std::map<std::string, Shape>& input_shapes) {
  return Binder(graph, input_shapes).run();
}

}  // namespace camlucida
