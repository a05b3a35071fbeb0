#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/attributes.h"
#include "engine/tensor.h"

/// The contract of a layer. A layer is one value of `LayerDef` (or a few closely related ones) in
/// one file `layers/<family>/<name>.cpp`, which defines
///
///     void camlucida::register_<name>(Registry& registry) { registry.add(LayerDef{...}); }
///
/// The build finds the file by itself; tests and benches iterate over `examples`.
namespace camlucida {

// ------------------------------------------------------------------------------------------------
// Shapes

/// What is known about a node when shapes are bound. Inputs that the model leaves out are null.
struct InferContext {
  const Attributes& attributes;
  std::span<const TensorDesc* const> inputs;
  /// Data of input i if it is constant (weights, or computed from constants alone), else null.
  std::span<const Tensor* const> constants;
  int output_count = 1;

  int input_count() const { return static_cast<int>(inputs.size()); }
  bool has(int i) const { return i < input_count() && inputs[static_cast<size_t>(i)] != nullptr; }
  const TensorDesc& input(int i) const;  ///< throws Error(kModel) if absent
  const Shape& shape(int i) const { return input(i).shape; }
  DType dtype(int i) const { return input(i).dtype; }
  const Tensor* constant(int i) const;  ///< null if absent or computed at run time
  /// Values of a constant integer or float input; throws Error(kUnsupported) naming `what` if it
  /// is computed from the picture (a data-dependent shape). Absent input: `fallback`.
  std::vector<int64_t> ints(int i, const char* what) const;
  std::vector<int64_t> ints_or(int i, const char* what, std::vector<int64_t> fallback) const;
  std::vector<double> doubles_or(int i, const char* what, std::vector<double> fallback) const;
};

// ------------------------------------------------------------------------------------------------
// Reference semantics

/// A row-major array of doubles standing for a tensor of `dtype`. Doubles hold every value of every
/// supported type, so one scalar implementation serves float, integer and bool tensors; the dtype
/// is there for the few operators whose meaning depends on it (integer division). `data` is null
/// for an absent input, an unused output or a gradient nobody asked for.
struct RefTensor {
  DType dtype = DType::kFloat32;
  Shape shape;
  double* data = nullptr;
  bool constant = false;  ///< an input known when the plan is made: weights, a bias

  int64_t count() const { return shape.count(); }
  double& operator[](int64_t i) const { return data[i]; }
  explicit operator bool() const { return data != nullptr; }
};

/// What a reference function sees.
/// forward: reads `inputs`, writes every element of every non-null `outputs`.
/// backward: reads `grad_outputs`, `inputs` and `outputs`, adds to the non-null `grad_inputs`,
/// which arrive zeroed. Only the inputs/outputs that `LayerDef::saves` names, and constant inputs,
/// have data; all have their shape. A missing gradient (an unused output) is null and means zero.
struct RefContext {
  const Attributes& attributes;
  std::vector<RefTensor> inputs;
  std::vector<RefTensor> outputs;
  std::vector<RefTensor> grad_outputs;
  std::vector<RefTensor> grad_inputs;

  bool has(int i) const {
    return i < static_cast<int>(inputs.size()) && inputs[static_cast<size_t>(i)].data != nullptr;
  }
};
using RefFunction = std::function<void(const RefContext&)>;

/// What backward needs from forward, for the memory planner. Constant inputs cost nothing.
struct Saves {
  bool inputs = false;
  bool outputs = false;
  /// The layer is a product: the gradient of one input needs the others, not itself. A convolution
  /// with constant weights saves nothing.
  bool factors = false;

  /// Whether backward reads input `i` when the gradients of `wanted` inputs are asked for.
  bool reads_input(size_t i, const std::vector<bool>& wanted) const;
};

/// Another way back through a layer than its derivative, for explanations: "guided", "relevance".
/// Same contract as LayerDef::backward.
struct BackwardRule {
  RefFunction backward;
  /// What it reads of forward; nullopt = the same as LayerDef::saves. Values named here exist in a
  /// plan under this rule: no pass folds or fuses them away.
  std::optional<Saves> saves = {};
  /// Kernels (KernelDef::name) that compute this rule. All others compute the derivative, so the
  /// planner does not ask them; the reference runs where none is possible.
  std::vector<std::string> kernels = {};
};

// ------------------------------------------------------------------------------------------------
// Roles: how passes, planner and explainers treat a layer without knowing its name

/// y = f(x) element by element, in float32 at SIMD speed. The planner runs it in any layout and
/// fuses it behind a kernel that accepts epilogues.
struct UnaryFunction {
  /// Set if f is clamp(x, low, high), which kernels apply in registers; the gradient passes for
  /// low < x < high only.
  struct Clamp {
    float low;
    float high;
  };
  std::optional<Clamp> clamp;
  float parameters[4] = {0, 0, 0, 0};
  /// y[i] = f(x[i]); x == y is allowed.
  void (*apply)(const float* x, float* y, int64_t count, const float* parameters) = nullptr;
  /// dx[i] = dy[i] * f'(·), from the saved input (Saves::inputs) or output (Saves::outputs).
  void (*gradient)(const float* dy, const float* saved, float* dx, int64_t count,
                   const float* parameters) = nullptr;
};

/// y[c] = scale[c] * x[c] + shift[c] along axis 1: a batch norm with constant statistics.
struct ChannelAffine {
  std::vector<double> scale;
  std::vector<double> shift;
};

/// The part a node plays in a linear classifier head (spatial mean, then classes = W·features + b).
struct HeadPart {
  enum class Kind { kSpatialMean, kLinear };
  Kind kind;
  Tensor weight;  ///< kLinear: [classes, features] float32
  Tensor bias;    ///< kLinear: [classes], or undefined
};

/// A port of a layer that holds codes: integers q that stand for numbers scale * (q - zero_point).
struct CodePort {
  /// Where a parameter of the codes comes from.
  struct Source {
    enum class Kind { kDefault, kInput, kOutput };
    Kind kind = Kind::kDefault;  ///< kDefault: scale 1, zero point 0
    int index = 0;               ///< of the node's input or output

    static Source input(int index) { return {Kind::kInput, index}; }
    static Source output(int index) { return {Kind::kOutput, index}; }
  };
  int index = 0;  ///< of the input or output that holds the codes
  Source scale = {};
  Source zero_point = {};
};

/// The part a layer plays in a quantised network. Where no one else looks at the codes of a value,
/// the importer has it hold the numbers instead (engine/passes/passes.h): the layer still computes
/// on integers, but the network has activations and gradients in the units of the float network.
struct CodePorts {
  std::vector<CodePort> inputs;  ///< codes or, if that input is float32, the numbers
  std::vector<CodePort> outputs;

  /// The layer rounds to a grid: its derivative is zero nearly everywhere, and the gradient that
  /// explanations get goes by the straight-through rule (layers/quantised/quantised.h).
  bool rounds() const { return !outputs.empty(); }
};

enum class EpilogueRole {
  kNone,
  kHost,    ///< its kernels can apply epilogues to their output (convolution, linear)
  kUnary,   ///< can be an epilogue: has `unary`
  kAddend,  ///< can be an epilogue: output + second operand of the same shape (residual sum)
};

// ------------------------------------------------------------------------------------------------
// Import

/// One node of a model file as an importer shows it, free of any file format.
struct NodeSource {
  using Value = std::variant<int64_t, double, std::string, std::vector<int64_t>,
                             std::vector<double>, std::vector<std::string>, Tensor>;

  std::string operation;  ///< operator name in the file
  std::string name;       ///< node name
  int opset = 0;
  std::vector<bool> inputs;              ///< input i is given
  std::vector<const Tensor*> constants;  ///< data of input i if constant in the file, else null
  int output_count = 1;
  std::map<std::string, Value> attributes;

  int input_count() const { return static_cast<int>(inputs.size()); }
  bool has_input(int i) const { return i < input_count() && inputs[static_cast<size_t>(i)]; }
  bool has(const std::string& key) const { return attributes.count(key) > 0; }
  int64_t integer(const std::string& key, int64_t fallback) const;
  double number(const std::string& key, double fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  std::vector<int64_t> integers(const std::string& key, std::vector<int64_t> fallback = {}) const;
  std::vector<double> numbers(const std::string& key, std::vector<double> fallback = {}) const;
  const Tensor* tensor(const std::string& key) const;
  /// Error(kUnsupported) at this node, for a reader to throw. `nearest`: the closest form we take.
  [[nodiscard]] Error unsupported(const std::string& what, const std::string& nearest) const;
};

/// An input of the layer: input `index` of the source node (-1 = absent), or a constant made from
/// an attribute. Readers bring every opset to one canonical form, the newest: what became an input
/// in a later opset (axes, pads, clip limits) is always an input here.
struct InputRef {
  int index = -1;
  Tensor constant;

  InputRef() = default;
  InputRef(int source_index) : index(source_index) {}     // NOLINT: implicit on purpose
  InputRef(Tensor value) : constant(std::move(value)) {}  // NOLINT: implicit on purpose
};

struct Reading {
  Attributes attributes;
  /// Inputs in the layer's order; nullopt = as in the source.
  std::optional<std::vector<InputRef>> inputs;
  /// How many of the source's outputs the layer has; the rest must be unused. -1 = all.
  int output_count = -1;
};

/// One operator of the ONNX specification that a layer implements.
struct OnnxOperator {
  std::string name;
  int first_opset = 1;
  int last_opset = 21;
  std::function<Reading(const NodeSource&)> read = [](const NodeSource&) { return Reading{}; };
  std::string domain = "";  ///< "" is ai.onnx
};

// ------------------------------------------------------------------------------------------------
// Examples

/// An input of an example. Data comes from `values` if given, else from a seeded generator of
/// distinct numbers in [low, high].
struct ExampleInput {
  Shape shape;
  DType dtype = DType::kFloat32;
  bool constant = false;  ///< weights, axes, ...: known when the plan is made, gets no gradient
  double low = -1.0;
  double high = 1.0;
  std::vector<double> values = {};
  bool absent = false;
};

struct Example {
  std::string name;
  Attributes attributes;
  std::vector<ExampleInput> inputs;
  int output_count = 1;
  /// Set to false where the function has no derivative to compare (integers, piecewise constant).
  bool gradient = true;
  /// Allowed |fast - reference| / max|reference| in float32.
  double tolerance = 2e-5;
  /// The first axis counts independent pictures: running them one by one gives the same bits. Set
  /// to false where the layer works along or moves that axis, or an input fixes its extent.
  bool batched = true;
};

// ------------------------------------------------------------------------------------------------

struct LayerDef {
  std::string name;      ///< field's standard term: "Conv", "MaxPool"
  Attributes prototype;  ///< default attributes; fixes the attribute type
  /// Types and shapes of the outputs. Throws Error(kModel) on inputs that do not fit together.
  std::function<std::vector<TensorDesc>(const InferContext&)> infer;
  RefFunction forward;
  RefFunction backward = nullptr;  ///< null: not differentiable, refused when planned
  Saves saves;
  /// Replacements of `backward` by name of the rule. A layer that has none of that name goes back
  /// by its derivative.
  std::map<std::string, BackwardRule, std::less<>> rules = {};
  /// Multiply-adds of one run; null = counts as 0 (memory-bound).
  std::function<int64_t(const InferContext&, const std::vector<TensorDesc>& outputs)>
      multiply_adds = nullptr;

  /// Takes any number of inputs from one up. Else every input that all examples have is required.
  bool variadic = false;
  /// Output 0 holds the data of input 0 under another shape (reshape, flatten, squeeze).
  bool view = false;
  /// The outputs follow from the shapes of the inputs alone (their data may be absent), so that
  /// they are constants once shapes are bound.
  bool shape_only = false;
  /// True if this node just passes input 0 on (dropout, cast to the same type).
  std::function<bool(const InferContext&)> is_identity = nullptr;
  /// Softmax and the like: turns scores into probabilities. The score is the tensor before it.
  bool normalises_scores = false;
  EpilogueRole epilogue = EpilogueRole::kNone;
  /// The element-wise function, or nullopt if this node is none (bounds computed at run time, a
  /// type other than float32). The planner asks once, when it fuses, see Epilogue::unary.
  std::function<std::optional<UnaryFunction>(const InferContext&)> unary = nullptr;
  /// The same operation as a per-channel affine map, if its parameters are constant.
  std::function<std::optional<ChannelAffine>(const InferContext&)> channel_affine = nullptr;
  /// Constant inputs (by index; undefined = absent) of this node after taking over the channel
  /// affine map that follows it; nullopt if it cannot.
  std::function<std::optional<std::vector<Tensor>>(const InferContext&, const ChannelAffine&)>
      absorb = nullptr;
  std::function<std::optional<HeadPart>(const InferContext&)> head = nullptr;
  /// Every element of the outputs is an element of input 0 (of any input, if variadic), picked by
  /// place or by rank: the same for codes and for the numbers they stand for.
  bool picks = false;
  /// The ports of a node with that many inputs that hold codes.
  std::function<CodePorts(const Attributes&, int input_count)> codes = nullptr;
  /// Attributes with which output ports of `codes` hold float32 numbers; null: only codes.
  std::function<Attributes(const Attributes&)> writing_numbers = nullptr;

  std::vector<OnnxOperator> onnx = {};
  std::vector<Example> examples = {};

  const BackwardRule* rule(std::string_view rule_name) const;  ///< null: has none
  const RefFunction& backward_under(std::string_view rule_name) const;
  const Saves& saves_under(std::string_view rule_name) const;
};

/// Throws Error(kModel) if one of `present` (by input index) is false or missing that the layer
/// cannot do without.
void check_inputs(const LayerDef& layer, const std::vector<bool>& present);

/// Helpers for the common cases of `infer`.
std::vector<TensorDesc> same_as_input(const InferContext& context);
std::vector<TensorDesc> broadcast_of_inputs(const InferContext& context);

}  // namespace camlucida
