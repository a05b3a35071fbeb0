#include "engine/import/onnx_condition.h"

#include <cstring>
#include <optional>

#include "engine/passes/passes.h"

namespace camlucida {
namespace {

constexpr const char* kNearest =
    "nearest supported form: a condition that is constant, as exporters write it for fixed input "
    "shapes";

/// Extents to try for free first axes (batch) and free other axes. Networks that halve and join
/// maps want multiples of 32 for the latter.
struct Probe {
  int64_t batch;
  int64_t extent;
};
constexpr Probe kProbes[] = {{2, 224}, {3, 256}, {5, 32}, {7, 64}};

std::map<std::string, Shape> probe_shapes(const Graph& graph, const Probe& probe) {
  std::map<std::string, Shape> shapes;
  for (ValueId id : graph.inputs()) {
    Shape shape = graph.value(id).desc.shape;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] == Shape::kUnknown) shape[axis] = axis == 0 ? probe.batch : probe.extent;
    }
    shapes.emplace(graph.value(id).name, std::move(shape));
  }
  return shapes;
}

bool has_free_extents(const Graph& graph) {
  for (ValueId id : graph.inputs()) {
    if (!graph.value(id).desc.shape.is_known()) return true;
  }
  return false;
}

/// `graph` with every value as an output, so that passes keep them all.
Graph keep_all(const Graph& graph) {
  GraphRewriter rewriter(graph);
  for (const Node& node : graph.nodes()) {
    rewriter.copy(node);
    for (ValueId id : node.outputs) {
      if (id != kNone) rewriter.builder().add_output(rewriter.mapped(id));
    }
  }
  return rewriter.finish();
}

const Tensor* constant_of(const Graph& graph, const std::string& name) {
  const ValueId id = graph.find(name);
  return id != kNone && graph.value(id).is_constant() ? &graph.value(id).constant : nullptr;
}

bool same_data(const Tensor& a, const Tensor& b) {
  return a.desc() == b.desc() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

bool truth(const Tensor& tensor) {
  if (tensor.count() != 1) {
    throw Error(ErrorKind::kModel,
                "a condition has " + std::to_string(tensor.count()) + " elements instead of one",
                "the model file is damaged");
  }
  return tensor.to_doubles()[0] != 0.0;
}

/// Whether `condition` is reached in both bindings through the same numbers. A truth value may
/// agree by chance, hence counts only if all that it was made from agrees.
bool independent_of_probe(const Graph& graph, ValueId condition, const Graph& first,
                          const Graph& second) {
  std::vector<bool> settled(graph.values().size(), false);
  for (size_t i = 0; i < settled.size(); ++i) {
    settled[i] = graph.value(static_cast<ValueId>(i)).is_constant();
  }
  for (const Node& node : graph.nodes()) {
    bool from_settled = true;
    for (ValueId id : node.inputs) {
      from_settled = from_settled && (id == kNone || settled[static_cast<size_t>(id)]);
    }
    for (ValueId id : node.outputs) {
      if (id == kNone) continue;
      const Tensor* a = constant_of(first, graph.value(id).name);
      const Tensor* b = constant_of(second, graph.value(id).name);
      settled[static_cast<size_t>(id)] =
          from_settled ||
          (a != nullptr && b != nullptr && a->dtype() != DType::kBool && same_data(*a, *b));
    }
  }
  return settled[static_cast<size_t>(condition)];
}

}  // namespace

bool decide_condition(GraphBuilder partial, ValueId condition) {
  if (partial.peek(condition).is_constant()) return truth(partial.peek(condition).constant);
  const std::string name = partial.peek(condition).name;
  partial.add_output(condition);
  const Graph graph = keep_all(std::move(partial).build());
  const size_t needed = has_free_extents(graph) ? 2 : 1;
  std::vector<Graph> bound;
  std::optional<Error> failure;
  for (const Probe& probe : kProbes) {
    if (bound.size() == needed) break;
    try {
      bound.push_back(bind_shapes(graph, probe_shapes(graph, probe)));
    } catch (const Error& error) {
      failure = error;
    }
  }
  if (bound.size() < needed) {
    throw Error(ErrorKind::kUnsupported,
                "the shapes its condition depends on cannot be worked out: " + failure->message(),
                kNearest);
  }
  const Tensor* value = constant_of(bound[0], name);
  if (value == nullptr) {
    throw Error(ErrorKind::kUnsupported, "its condition depends on the input data", kNearest);
  }
  if (needed == 2 && !independent_of_probe(graph, graph.find(name), bound[0], bound[1])) {
    throw Error(ErrorKind::kUnsupported, "its condition depends on a free extent of the input",
                kNearest);
  }
  return truth(*value);
}

}  // namespace camlucida
