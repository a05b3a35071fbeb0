#include "tests/onnx_model.h"

#include <algorithm>

namespace camlucida::test {
namespace {

LayerDef toy(const std::string& name, RefFunction forward) {
  LayerDef layer;
  layer.name = name;
  layer.infer = same_as_input;
  layer.forward = std::move(forward);
  layer.onnx = {{.name = name}};
  return layer;
}

void map(const RefContext& c, double (*f)(double)) {
  for (int64_t i = 0; i < c.outputs[0].count(); ++i) c.outputs[0][i] = f(c.inputs[0][i]);
}

LayerDef shape_layer() {
  LayerDef layer = toy("Shape", [](const RefContext& c) {
    for (int i = 0; i < c.inputs[0].shape.rank(); ++i) {
      c.outputs[0][i] = static_cast<double>(c.inputs[0].shape[i]);
    }
  });
  layer.infer = [](const InferContext& c) -> std::vector<TensorDesc> {
    return {{DType::kInt64, Shape{c.shape(0).rank()}}};
  };
  layer.shape_only = true;
  return layer;
}

LayerDef gather_layer() {
  LayerDef layer = toy("Gather", [](const RefContext& c) {
    c.outputs[0][0] = c.inputs[0][static_cast<int64_t>(c.inputs[1][0])];
  });
  layer.infer = [](const InferContext& c) -> std::vector<TensorDesc> {
    if (c.shape(0).rank() != 1) throw Error(ErrorKind::kModel, "toy Gather takes vectors");
    const int64_t index = c.ints(1, "index").at(0);
    if (index < 0 || index >= c.shape(0)[0]) throw Error(ErrorKind::kModel, "index out of range");
    return {{c.dtype(0), Shape{}}};
  };
  return layer;
}

LayerDef binary(const std::string& name, double (*f)(double, double), bool truth) {
  LayerDef layer = toy(name, [f](const RefContext& c) {
    const auto at = [](const RefTensor& t, int64_t i) { return t[t.count() == 1 ? 0 : i]; };
    for (int64_t i = 0; i < c.outputs[0].count(); ++i) {
      c.outputs[0][i] = f(at(c.inputs[0], i), at(c.inputs[1], i));
    }
  });
  layer.infer = [truth](const InferContext& c) {
    std::vector<TensorDesc> descs{{c.dtype(0), broadcast(c.shape(0), c.shape(1))}};
    if (truth) descs[0].dtype = DType::kBool;
    return descs;
  };
  return layer;
}

LayerDef clip_layer() {
  LayerDef layer = toy("Clip", [](const RefContext& c) {
    for (int64_t i = 0; i < c.outputs[0].count(); ++i) {
      double y = c.inputs[0][i];
      if (c.has(1)) y = std::max(y, c.inputs[1][0]);
      if (c.has(2)) y = std::min(y, c.inputs[2][0]);
      c.outputs[0][i] = y;
    }
  });
  const auto read_attributes = [](const NodeSource& source) {
    Reading reading;
    reading.inputs = {InputRef(0), InputRef(), InputRef()};
    if (source.has("min")) {
      (*reading.inputs)[1] = Tensor::scalar(static_cast<float>(source.number("min", 0)));
    }
    if (source.has("max")) {
      (*reading.inputs)[2] = Tensor::scalar(static_cast<float>(source.number("max", 0)));
    }
    return reading;
  };
  const auto read_inputs = [](const NodeSource& source) -> Reading {
    for (int i : {1, 2}) {
      if (source.has_input(i) && source.constants[static_cast<size_t>(i)] == nullptr) {
        throw source.unsupported("limits are computed", "constant limits");
      }
    }
    return {};
  };
  layer.onnx = {{.name = "Clip", .last_opset = 10, .read = read_attributes},
                {.name = "Clip", .first_opset = 11, .read = read_inputs}};
  return layer;
}

Registry make_registry() {
  Registry registry;
  registry.add(
      toy("Relu", [](const RefContext& c) { map(c, [](double x) { return x > 0 ? x : 0; }); }));
  registry.add(toy("Identity", [](const RefContext& c) { map(c, [](double x) { return x; }); }));
  LayerDef dropout =
      toy("Dropout", [](const RefContext& c) { map(c, [](double x) { return x; }); });
  dropout.onnx[0].read = [](const NodeSource& source) {
    return Reading{.inputs = std::vector<InputRef>{InputRef(0)},
                   .output_count = source.integer("all", 0) != 0 ? -1 : 1};
  };
  registry.add(std::move(dropout));
  LayerDef halve =
      toy("Halve", [](const RefContext& c) { map(c, [](double x) { return x / 2; }); });
  halve.onnx[0].last_opset = 6;
  registry.add(std::move(halve));
  registry.add(shape_layer());
  registry.add(gather_layer());
  registry.add(clip_layer());
  registry.add(binary(
      "Add", [](double a, double b) { return a + b; }, false));
  registry.add(binary(
      "Mul", [](double a, double b) { return a * b; }, false));
  registry.add(binary(
      "Equal", [](double a, double b) { return a == b ? 1.0 : 0.0; }, true));
  return registry;
}

}  // namespace

const Registry& toy_registry() {
  static const Registry registry = make_registry();
  return registry;
}

OnnxModel::OnnxModel(int64_t opset, int64_t ir_version) {
  proto_.set_ir_version(ir_version);
  proto_.add_opset_import()->set_version(opset);
  proto_.mutable_graph()->set_name("test");
}

OnnxModel& OnnxModel::input(const std::string& name, const std::vector<int64_t>& dims) {
  auto& value = *graph().add_input();
  value.set_name(name);
  auto& type = *value.mutable_type()->mutable_tensor_type();
  type.set_elem_type(schema::TensorProto::FLOAT);
  type.mutable_shape();
  for (int64_t dim : dims) {
    auto& added = *type.mutable_shape()->add_dim();
    if (dim > 0) {
      added.set_dim_value(dim);
    } else {
      added.set_dim_param("free");
    }
  }
  return *this;
}

OnnxModel& OnnxModel::output(const std::string& name) {
  graph().add_output()->set_name(name);
  return *this;
}

void set_floats(schema::TensorProto& tensor, const std::vector<int64_t>& dims,
                const std::vector<float>& values) {
  tensor.set_data_type(schema::TensorProto::FLOAT);
  tensor.mutable_dims()->Assign(dims.begin(), dims.end());
  tensor.mutable_float_data()->Assign(values.begin(), values.end());
}

void set_ints(schema::TensorProto& tensor, const std::vector<int64_t>& dims,
              const std::vector<int64_t>& values) {
  tensor.set_data_type(schema::TensorProto::INT64);
  tensor.mutable_dims()->Assign(dims.begin(), dims.end());
  tensor.mutable_int64_data()->Assign(values.begin(), values.end());
}

schema::TensorProto& OnnxModel::floats(const std::string& name, const std::vector<int64_t>& dims,
                                       const std::vector<float>& values) {
  schema::TensorProto& tensor = *graph().add_initializer();
  tensor.set_name(name);
  set_floats(tensor, dims, values);
  return tensor;
}

schema::TensorProto& OnnxModel::ints(const std::string& name, const std::vector<int64_t>& dims,
                                     const std::vector<int64_t>& values) {
  schema::TensorProto& tensor = *graph().add_initializer();
  tensor.set_name(name);
  set_ints(tensor, dims, values);
  return tensor;
}

void set_node(schema::NodeProto& node, const std::string& operation,
              const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
              const std::string& name) {
  node.set_op_type(operation);
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  if (!name.empty()) node.set_name(name);
}

schema::NodeProto& OnnxModel::node(const std::string& operation,
                                   const std::vector<std::string>& inputs,
                                   const std::vector<std::string>& outputs,
                                   const std::string& name) {
  schema::NodeProto& node = *graph().add_node();
  set_node(node, operation, inputs, outputs, name);
  return node;
}

schema::AttributeProto& add_attribute(schema::NodeProto& node, const std::string& name,
                                      schema::AttributeProto::AttributeType type) {
  schema::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(type);
  return attribute;
}

Graph OnnxModel::import(const std::filesystem::path& folder, OnnxInfo* info) const {
  return import_bytes(bytes(), folder, info);
}

Graph import_bytes(const std::string& model, const std::filesystem::path& folder, OnnxInfo* info,
                   const Registry& registry) {
  return import_onnx(as_bytes(model), folder, "model", info, registry);
}

std::string operations(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes()) text += (text.empty() ? "" : " ") + node.operation;
  return text;
}

}  // namespace camlucida::test
