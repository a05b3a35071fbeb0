#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/image/image.h"
#include "engine/image/preprocess.h"
#include "engine/labels.h"
#include "engine/manifest.h"
#include "engine/session.h"
#include "explain/explainer.h"
#include "explain/heatmap.h"
#include "explain/layers.h"

/// The façade for the common case: a network with its preprocessing and labels, which predicts and
/// explains. Everything it does can be done by hand with Graph, Needs, Plan, Session and explainer.
namespace camlucida {

struct ModelState;

struct ModelOptions {
  std::filesystem::path weights;               ///< of a Caffe network; empty: those beside it
  std::filesystem::path manifest;              ///< empty: manifest.json beside the model, if any
  std::optional<Preprocessing> preprocessing;  ///< overrides the manifest
  std::filesystem::path labels;                ///< overrides the manifest
  std::map<std::string, Shape> input_shapes;   ///< overrides what model and manifest declare
  std::string output;                          ///< name of the output with the scores
  int threads = 1;                             ///< 0 = all cores
  std::shared_ptr<Gpu> gpu;                    ///< null: the processor
  Precision precision = Precision::kFp32;      ///< on a GPU
  size_t max_memory = 0;  ///< bytes of activations of one run; 0 = the memory there is decides
  /// Pictures (BatchExplainer), or variants of a picture, that one pass takes at most: 0 = 8 on the
  /// processor, fewer where they would not stay in the cache, and 128 on a GPU.
  int max_batch = 0;
  /// Told in one line when memory was short and a run goes on in smaller passes; from any thread
  /// that runs the model.
  std::function<void(const std::string&)> notice = {};
};

/// One class of a ranking.
struct ClassScore {
  int64_t index = 0;
  std::string label;  ///< "class 17" without labels
  double logit = 0;
  double probability = 0;  ///< softmax over all classes, computed from the logits in double
};

/// What the network answered for one picture.
struct Prediction {
  Tensor scores;                    ///< the score tensor, [1, classes, ...]
  std::vector<ClassScore> ranking;  ///< best first, at most the number asked for; empty if the
                                    ///< network has no class scores
};

/// What to explain, in the forms of the command line.
struct TargetChoice {
  /// Classes: "281", a label, "top1", "top3" (rank 1 to 3), "topk" (rank 1 to `k`); or any target
  /// of explain/target_grammar.h.
  std::vector<std::string> classes = {"top1"};
  int k = 5;
  /// Targets made by hand, after those of `classes` (which may then be empty).
  std::vector<Target> targets = {};
};

struct ExplainOptions {
  std::string method = "gradcam";  ///< "name" or "name@variant"; several separated by commas
  std::string layer;               ///< value, node or module-like name; empty = automatic;
                                   ///< several separated by commas: mean of the scaled maps
  TargetChoice target;
  std::string output;  ///< value that targets made by hand are functions of; empty = the scores
  Normalisation normalisation = Normalisation::kMinMax;
  std::map<std::string, std::string> settings;  ///< "method.parameter" to value
  uint64_t seed = 0;                            ///< of methods that draw random numbers
  bool aug_smooth = false;    ///< mean over six views of the picture (explain/smoothing.h)
  bool eigen_smooth = false;  ///< first principal component instead of the sum over channels
  /// Whether Explanation::artefacts is wanted; on a GPU it has to be fetched.
  bool artefacts = true;
  /// Told how far the method that runs has come; may throw to cancel.
  ProgressFunction progress = {};
};

enum class Status {
  kOk,
  kAllNegative,     ///< no pixel speaks for the target
  kDeadLayer,       ///< the layer's activation is zero everywhere
  kZeroGradient,    ///< the score does not react to the layer
  kSaturatedScore,  ///< the score is a probability at its limit
  kNonfinite,       ///< NaN or infinity in the map
  kSpatial1x1,      ///< the layer has one pixel
  kClassAgnostic,   ///< the method ignores the target
  kLowContrast,     ///< the map is nearly constant
};
const char* name_of(Status status);  ///< "ok", "all_negative", ... as in the JSON

struct Explanation {
  std::string method;       ///< canonical name
  std::string variant;      ///< "paper" unless another was asked for
  ClassScore target;        ///< the class; index -1 and the description as label for other targets
  std::string target_text;  ///< "class:281", "margin:281-282"
  std::string slug;         ///< of method and target, for file names: "gradcam.c281"
  double score = 0;         ///< value of the target
  std::string layer;
  Shape layer_shape;
  std::string layer_reason;
  Status status = Status::kOk;
  std::string advice;  ///< one sentence when the status is not ok
  Tensor raw;          ///< [h, w] at layer resolution, signed
  Tensor map;          ///< [H, W] at network-input resolution, scaled
  RawStatistics statistics;
  std::map<std::string, std::string> parameters;
  std::map<std::string, Tensor> artefacts;            ///< of the first layer, see RawMap
  std::map<std::string, std::vector<double>> series;  ///< of the first layer
  Passes passes;  ///< of the method, the pass it shares with others included

  Placement placement;                   ///< where the map lies in the picture
  std::shared_ptr<const Image> picture;  ///< null if the input was a tensor

  /// The map on the original picture at its size (jet, half and half). Throws Error(kUsage) for a
  /// tensor input, Error(kResource) if the file cannot be written; never leaves a partial file.
  void save_overlay(const std::filesystem::path& path) const;
};

/// Milliseconds spent in each stage; of passes that several pictures share, a picture's part.
struct Timing {
  double preprocess = 0, plan = 0, forward = 0, backward = 0, explain = 0;
};

struct Answer {
  Prediction prediction;
  std::vector<Explanation> explanations;  ///< by method, then by class
  Timing timing;
};

/// Immutable; may be used from many threads at once. Plans are cached by input shape and needs,
/// sessions are lent out and kept for the next call.
class Model {
 public:
  /// Throws Error: kModel / kUnsupported if the file cannot be imported, kInput for a malformed
  /// manifest or label file.
  /// `path` is an .onnx, .clm or .prototxt (Caffe network, see ModelOptions::weights) file.
  static Model load(const std::filesystem::path& path, ModelOptions options = {});
  /// The same model with another graph of the same values, for instance with other weights.
  Model with_graph(Graph graph) const;

  const std::filesystem::path& path() const;
  /// File with the weights of a Caffe network, else empty.
  const std::filesystem::path& weights() const;
  /// SHA-256 of the model file; of a Caffe model that of the network followed by the weights.
  std::string digest() const;
  const std::string& name() const;  ///< of the manifest, else the file's stem
  const Graph& graph() const;       ///< as imported
  /// Bound to the default input shape (manifest, model, or 224 x 224), before simplification.
  const Graph& bound() const;
  const Preprocessing& preprocessing() const;
  /// Where the preprocessing came from, fit for a notice: "manifest.json", "flags", "prototxt"
  /// (a Caffe network's transform_param), "Caffe" (its customs, none being stated), "ImageNet".
  const std::string& preprocessing_source() const;
  /// Mean file that a Caffe network names but that is not beside it, so that the mean is assumed;
  /// else empty.
  const std::string& missing_mean_file() const;
  const Labels& labels() const;
  const std::string& input_name() const;
  Shape input_shape() const;  ///< [1, C, H, W]
  const std::string& score_name() const;
  const std::string& score_reason() const;  ///< not empty if a final softmax was skipped
  const std::optional<Manifest>& manifest() const;
  const ModelOptions& options() const;
  /// Sessions of the network, for runs by hand.
  SessionPool& sessions() const;
  /// The subject that a method sees; `layer` empty = the default layer.
  Subject subject(const std::string& layer = "") const;

  /// The layer to explain when none is named, and why.
  LayerChoice default_layer() const;
  /// Index of a class given as "281" or as a label; throws Error(kUsage).
  int64_t class_index(const std::string& text) const;

  PreparedInput prepare(const Image& image) const;

  Prediction predict(const Image& image, int k = 5) const;
  /// `input`: float32 [1, C, H, W], already preprocessed.
  Prediction predict(const Tensor& input, int k = 5) const;
  Answer explain(const Image& image, const ExplainOptions& options = {}) const;
  Answer explain(const Tensor& input, const ExplainOptions& options = {}) const;
  /// Of what prepare() made of a picture, which the explanations then share (null: no overlays).
  Answer explain(const PreparedInput& input, std::shared_ptr<const Image> picture,
                 const ExplainOptions& options = {}) const;
  /// What the scores of one picture, [1, classes, ...], say, for runs by hand.
  Prediction prediction_of(Tensor scores, int k = 5) const;
  /// Whether several pictures go through the network together (BatchExplainer): on a GPU, where the
  /// file leaves the batch size free. The processor gains nothing by batches, and its kernels for a
  /// batch round differently: a picture's answer would depend on how many others there are.
  bool takes_batches() const;

 private:
  friend class BatchExplainer;

  explicit Model(std::shared_ptr<ModelState> state) : state_(std::move(state)) {}
  Answer run(const PreparedInput& input, std::shared_ptr<const Image> picture,
             const ExplainOptions* options, int k) const;

  std::shared_ptr<ModelState> state_;
};

}  // namespace camlucida
