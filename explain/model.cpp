#include "explain/model.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/fs.h"
#include "engine/import/importer.h"
#include "engine/native/model_file.h"
#include "engine/passes/passes.h"
#include "explain/model_state.h"

namespace camlucida {
namespace {

constexpr int64_t kDefaultExtent = 224;

/// The input that takes the picture: the manifest's, else the only (or first) one of rank 4.
std::string picture_input(const Graph& graph, const std::optional<Manifest>& manifest) {
  if (manifest && manifest->input && graph.find(manifest->input->name) != kNone) {
    return manifest->input->name;
  }
  for (ValueId id : graph.inputs()) {
    if (graph.value(id).desc.shape.rank() == 4) return graph.value(id).name;
  }
  if (graph.inputs().empty()) throw Error(ErrorKind::kModel, "the model has no inputs");
  return graph.value(graph.inputs()[0]).name;
}

/// Shape to plan for when nobody gives a picture: what the model declares, open extents filled from
/// the caller, the manifest's example, the recipe's crop, or the customary 224.
Shape default_input_shape(const Value& input, const ModelOptions& options,
                          const std::optional<Manifest>& manifest,
                          const std::optional<Preprocessing>& recipe) {
  const auto given = options.input_shapes.find(input.name);
  if (given != options.input_shapes.end()) return given->second;
  Shape shape = input.desc.shape;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] >= 0) continue;
    if (axis == 0) {
      shape[axis] = 1;
    } else if (recipe && axis == 2 && recipe->crop_height > 0) {
      shape[axis] = recipe->crop_height;
    } else if (recipe && axis == 3 && recipe->crop_width > 0) {
      shape[axis] = recipe->crop_width;
    } else if (manifest && manifest->input && axis < manifest->input->example_shape.rank()) {
      shape[axis] = manifest->input->example_shape[axis];
    } else {
      shape[axis] = axis == 1 ? 3 : kDefaultExtent;
    }
  }
  return shape;
}

std::string score_output(const Graph& graph, const ModelOptions& options,
                         const std::optional<Manifest>& manifest) {
  if (!options.output.empty()) return options.output;
  if (manifest) {
    for (const Manifest::Output& output : manifest->outputs) {
      if (output.kind == "logits" && graph.find(output.name) != kNone) return output.name;
    }
  }
  return graph.value(graph.outputs()[0]).name;
}

/// Graph with the manifest's module names as aliases.
Graph with_taps(Graph graph, const std::optional<Manifest>& manifest) {
  if (!manifest || manifest->taps.empty()) return graph;
  GraphRewriter rewriter(graph);
  for (const auto& [module, value] : manifest->taps) {
    const ValueId id = graph.find(value);
    if (id != kNone) rewriter.builder().add_alias(module, rewriter.mapped(id));
  }
  for (const Node& node : graph.nodes()) rewriter.copy(node);
  return rewriter.finish();
}

}  // namespace

Model Model::load(const std::filesystem::path& path, ModelOptions options) {
  auto state = std::make_shared<ModelState>();
  state->path = path;
  state->options = options;
  state->name = path.stem().string();
  std::optional<NativeModel> native;
  ImportedModel imported;
  if (path.extension() == ".clm" && options.weights.empty()) {
    native = read_native(path);
    imported.graph = std::move(native->graph);
  } else {
    imported = import_model(path, options.weights);
  }
  state->weights = imported.weights;
  std::filesystem::path manifest_path = options.manifest;
  if (manifest_path.empty()) {
    const std::filesystem::path beside = path.parent_path() / "manifest.json";
    if (!native && std::filesystem::exists(beside)) manifest_path = beside;
  }
  if (!manifest_path.empty()) {
    state->manifest = Manifest::load(manifest_path);
  } else if (native) {
    state->manifest = native->manifest;
    manifest_path = path;
  }
  if (state->manifest && !state->manifest->name.empty()) state->name = state->manifest->name;
  state->graph = with_taps(std::move(imported.graph), state->manifest);
  const Graph& graph = state->graph;
  if (graph.outputs().empty()) throw Error(ErrorKind::kModel, "the model has no outputs");

  std::optional<Preprocessing> recipe = options.preprocessing;
  if (recipe) {
    state->preprocessing_source = "flags";
  } else if (state->manifest && state->manifest->preprocessing) {
    recipe = state->manifest->preprocessing;
    state->preprocessing_source = manifest_path.filename().string();
  }
  state->input = picture_input(graph, state->manifest);
  const Value& input = graph.value(graph.require(state->input));
  const Shape shape = default_input_shape(input, options, state->manifest, recipe);
  if (!recipe && imported.recipe) {
    recipe = imported.recipe(shape);
    state->preprocessing_source = imported.recipe_source;
    state->missing_mean_file = imported.missing_mean_file;
  }
  if (!recipe) {
    const bool image = shape.rank() == 4;
    recipe = Preprocessing::imagenet(image ? static_cast<int>(shape[2]) : 224,
                                     image ? static_cast<int>(shape[3]) : 224,
                                     image ? static_cast<int>(shape[1]) : 3);
    state->preprocessing_source = "ImageNet";
  }
  recipe->check();
  state->preprocessing = *recipe;

  std::map<std::string, Shape> shapes = options.input_shapes;
  shapes[state->input] = shape;
  state->bound = bind_shapes(graph, shapes);
  const std::string output = score_output(graph, options, state->manifest);
  const LayerChoice score = find_score(state->bound, state->bound.require(output));
  state->score = state->bound.value(score.value).name;
  state->score_reason = score.reason;

  if (!options.labels.empty()) {
    state->labels = Labels::load(options.labels);
  } else if (state->manifest && state->manifest->labels) {
    state->labels = Labels::load(*state->manifest->labels);
  } else if (native) {
    state->labels = native->labels;
  }
  state->pool.emplace(state->graph, state->input,
                      SessionPool::Options{.gpu = options.gpu,
                                           .precision = options.precision,
                                           .threads = options.threads,
                                           .max_bytes = options.max_memory,
                                           .max_batch = options.max_batch,
                                           .notice = options.notice});
  state->heads.emplace(state->bound);
  return Model(std::move(state));
}

Model Model::with_graph(Graph graph) const {
  auto state = std::make_shared<ModelState>();
  state->path = state_->path;
  state->weights = state_->weights;
  state->name = state_->name;
  state->options = state_->options;
  state->graph = std::move(graph);
  std::map<std::string, Shape> shapes = state_->options.input_shapes;
  shapes[state_->input] = input_shape();
  state->bound = bind_shapes(state->graph, shapes);
  state->input = state_->input;
  state->score = state_->score;
  state->score_reason = state_->score_reason;
  state->preprocessing = state_->preprocessing;
  state->preprocessing_source = state_->preprocessing_source;
  state->missing_mean_file = state_->missing_mean_file;
  state->labels = state_->labels;
  state->manifest = state_->manifest;
  state->pool.emplace(state->graph, state->input, state_->pool->options());
  state->heads.emplace(state->bound);
  return Model(std::move(state));
}

const std::filesystem::path& Model::path() const { return state_->path; }
const std::filesystem::path& Model::weights() const { return state_->weights; }
const std::string& Model::missing_mean_file() const { return state_->missing_mean_file; }

std::string Model::digest() const {
  if (state_->weights.empty()) return sha256_file(state_->path);
  return sha256_files({state_->path, state_->weights});
}

const std::string& Model::name() const { return state_->name; }
const Graph& Model::graph() const { return state_->graph; }
const Graph& Model::bound() const { return state_->bound; }
const Preprocessing& Model::preprocessing() const { return state_->preprocessing; }
const std::string& Model::preprocessing_source() const { return state_->preprocessing_source; }
const Labels& Model::labels() const { return state_->labels; }
const std::string& Model::input_name() const { return state_->input; }
const std::string& Model::score_name() const { return state_->score; }
const std::string& Model::score_reason() const { return state_->score_reason; }
const std::optional<Manifest>& Model::manifest() const { return state_->manifest; }
const ModelOptions& Model::options() const { return state_->options; }
SessionPool& Model::sessions() const { return *state_->pool; }

Subject Model::subject(const std::string& layer) const {
  const Graph& bound = state_->bound;
  const ValueId value = layer.empty() ? default_layer().value : bound.require(layer);
  return {&bound,
          state_->input,
          state_->score,
          bound.value(value).name,
          state_->preprocessing,
          &*state_->heads,
          replay_rows(state_->options)};
}

Shape Model::input_shape() const {
  return state_->bound.value(state_->bound.require(state_->input)).desc.shape;
}

LayerChoice Model::default_layer() const {
  const Graph& bound = state_->bound;
  if (state_->manifest && state_->manifest->target_layer) {
    const std::string& value = state_->manifest->target_layer->value;
    const ValueId id = bound.find(value);
    if (id != kNone) return {id, "target_layer of the manifest"};
  }
  return choose_layer(bound, bound.require(state_->input), bound.require(state_->score));
}

int64_t Model::class_index(const std::string& text) const {
  int64_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error == std::errc() && end == text.data() + text.size()) return index;
  if (state_->labels.empty()) {
    throw Error(ErrorKind::kUsage, "class '" + text + "' is not a number and no labels are known",
                "give an index, or labels with --labels");
  }
  return state_->labels.find(text);
}

bool Model::takes_batches() const {
  if (state_->options.gpu == nullptr) return false;
  const Shape& shape = state_->graph.value(state_->graph.require(state_->input)).desc.shape;
  return shape.rank() > 0 && shape[0] == Shape::kUnknown;
}

PreparedInput Model::prepare(const Image& image) const {
  return camlucida::prepare(image, state_->preprocessing);
}

}  // namespace camlucida
