#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/image/preprocess.h"
#include "explain/heatmap.h"
#include "explain/rows.h"
#include "explain/session_pool.h"
#include "explain/settings.h"
#include "explain/target.h"

/// The contract of an explanation method. A method is one value of `ExplainerDef` in one file
/// `explain/<family>/<name>.cpp`, which defines
///
///     void camlucida::register_<name>(ExplainerRegistry& registry)
///
/// The build finds the file by itself. What the method needs of the run it says beforehand
/// (`needs`); what it then gets is Evidence: activations and gradients of one forward pass, and
/// ways to run the network again on variants of the picture or of the layer.
namespace camlucida {

class BatchPass;
class HeadCache;

/// What is explained: a bound network, its picture input, the tensor of scores and the layer.
struct Subject {
  const Graph* graph = nullptr;  ///< bound, before any simplification
  std::string input;             ///< value name of the picture
  std::string score;             ///< value name of the score tensor
  std::string layer;             ///< value name of the target layer
  Preprocessing preprocessing;   ///< for methods that mask the picture before mean and deviation
  HeadCache* heads = nullptr;    ///< of `graph`, or null: look for the head anew
  int replay_rows = 4;           ///< variants of the layer in one replay, unless a method is told
};

/// Passes through the network, as a method's cost is counted: per image, whatever the batch.
struct Passes {
  int64_t forwards = 0;   ///< from the picture
  int64_t backwards = 0;  ///< per target
  int64_t replays = 0;    ///< forwards of the part after the layer only

  Passes operator+(const Passes& other) const {
    return {forwards + other.forwards, backwards + other.backwards, replays + other.replays};
  }
  Passes operator-(const Passes& other) const {
    return {forwards - other.forwards, backwards - other.backwards, replays - other.replays};
  }
};

/// Told how far a long method has come; may throw to cancel it.
using ProgressFunction = std::function<void(int64_t done, int64_t total)>;

/// What one forward pass of one picture showed, and what follows from it. Gradients are computed on
/// first use, for all targets in one backward pass, and shared by every method that asks.
///
/// On a GPU all tensors lie there, the picture included. What works on them dispatches by where
/// they lie (explain/gpu); host code that reads them fetches a copy, which is right but slow.
class Evidence {
 public:
  /// `session` has run forward() on `input` ([1, C, H, W]) and was planned with seeds_per_image ==
  /// targets.size(). All references outlive the Evidence.
  Evidence(SessionPool& pool, Session& session, const Tensor& input, const Subject& subject,
           std::vector<Target> targets);
  /// Of picture `row` of passes that several pictures share, for methods that
  /// ExplainerDef::shares_passes(). `targets` are those that `pass` has for the row.
  Evidence(SessionPool& pool, std::shared_ptr<BatchPass> pass, int64_t row, const Subject& subject,
           std::vector<Target> targets);

  const Subject& subject() const { return subject_; }
  const std::vector<Target>& targets() const { return targets_; }
  /// Takes part in the backward pass of `other`, which explains another layer of the same run.
  void share_backward(const Evidence& other) { gradients_ = other.gradients_; }
  /// Spares scores() the way to a GPU if somebody has made it.
  void set_scores(Tensor scores) { scores_ = std::move(scores); }

  const Tensor& input() const { return input_; }       ///< [1, C, H, W], preprocessed
  const Tensor& scores();                              ///< [1, classes, ...]
  double score(size_t t);                              ///< of target t
  const Tensor& activation(const std::string& value);  ///< [1, C, h, w]
  /// d score / d value for target `t`: [1, C, h, w].
  Tensor gradient(const std::string& value, size_t t);
  /// The same backward pass from other starts than the scores' derivatives, for rules that do not
  /// carry derivatives: `starts` [targets, classes, ...]. Returns [targets, C, h, w]; counts as one
  /// backward. Throws Error(kInternal) where pictures share their passes.
  Tensor propagate(const std::string& value, const Tensor& starts);
  /// Whether the run was planned for the gradient at `value`.
  bool has_gradient(const std::string& value) const;
  /// Whether the activation, and the gradient of target `t`, is 0 everywhere.
  bool activation_is_zero(const std::string& value);
  bool gradient_is_zero(const std::string& value, size_t t);
  /// How often gradient() was asked: a method that never does owes no backward pass.
  int64_t gradient_reads() const { return gradient_reads_; }

  /// Scores of `count` variants of the picture: [count, classes, ...]. Runs them in batches that
  /// memory allows; each counts as one forward. Target::score(scores, row) reads one. A row may be
  /// made twice, if memory runs out in between.
  Tensor probe(int64_t count, const RowSource& variants);
  Tensor probe(int64_t count, FillRow fill) { return probe(count, RowSource{std::move(fill)}); }

  /// The same from the layer up, on variants of its activation: needs Needs::replay_from == layer
  /// (see replay_needs); each counts as one replay. Throws Error(kInternal) where pictures share
  /// their passes.
  Tensor replay(int64_t count, const RowSource& variants);
  Tensor replay(int64_t count, FillRow fill) { return replay(count, RowSource{std::move(fill)}); }

  /// For methods with passes of their own (other rules, gradients of variants): sessions of the
  /// same network. Say how many passes were made with count().
  SessionPool& pool() { return pool_; }
  void count(const Passes& passes);
  /// A tensor of such a session as one of this run, to be used after the session was given back.
  Tensor keep(const Tensor& tensor) const;

  /// Reports progress of a long method; may throw (cancellation), so hold nothing that must not be
  /// lost.
  void progress(int64_t done, int64_t total) const {
    if (progress_) progress_(done, total);
  }
  void set_progress(ProgressFunction progress) { progress_ = std::move(progress); }

  /// Made by methods of their own so far; the shared forward and backward pass are not counted.
  const Passes& passes() const { return passes_; }
  double backward_ms() const { return backward_ms_; }  ///< time spent in shared backward passes

 private:
  void run_backward(const Tensor& seeds);
  void require_own_passes() const;

  SessionPool& pool_;
  const std::shared_ptr<BatchPass> batch_;  // null: the passes are of this picture alone
  const int64_t row_ = 0;
  Session& session_;
  const Tensor input_;
  const Subject& subject_;
  std::vector<Target> targets_;
  Tensor scores_;
  std::map<std::string, Tensor> activations_;
  // [T, C, h, w], all that the plan has; empty before the shared backward pass.
  std::shared_ptr<std::map<std::string, Tensor>> gradients_ =
      std::make_shared<std::map<std::string, Tensor>>();
  int64_t gradient_reads_ = 0;
  std::map<std::pair<std::string, int64_t>, bool> zero_;  // by value and target, -1: activation
  Passes passes_;
  double backward_ms_ = 0;
  ProgressFunction progress_;
};

/// A raw map of one target with what belongs to it.
struct RawMap {
  Tensor raw;  ///< [h, w] at layer (or input) resolution, signed, before ReLU and scaling
  /// The final map [H, W] of a method with a tail of its own; undefined: `raw` through
  /// ExplainerDef::tail.
  Tensor map = {};
  std::string remark = "";  ///< something the user should know, or empty
  /// What else the method found, by name: "weights" [C], "components" [Q, h, w], "gradient"
  /// [C, H, W]. Float32 or float64; written to files on request.
  std::map<std::string, Tensor> artefacts = {};
  /// Makes the maps of the channels [1, C, h, w] whose sum is `raw`; empty: they are weights[k]
  /// A_k, or there are none.
  std::function<Tensor()> summands = {};
  /// Short lists for the JSON: "trajectory", "component_weights", "masked_scores".
  std::map<std::string, std::vector<double>> series = {};
};

struct ExplainerDef {
  /// A published form of the method that gives other values. Chosen as `name@variant`.
  struct Variant {
    std::string name;        ///< "paper", "official", "pytorch-grad-cam"
    std::string difference;  ///< one line
  };

  std::string name;                  ///< canonical: "gradcam"
  std::vector<std::string> aliases;  ///< compared without case, '-' and '_'
  std::string title;                 ///< "Grad-CAM"
  std::string formula;               ///< one line
  std::string source;                ///< paper, equation
  std::string forwards = "1";        ///< cost, as a formula where it depends on sizes
  std::string backwards = "0";
  bool class_agnostic = false;  ///< the map ignores the target
  bool uses_gradient = false;   ///< reads Evidence::gradient of the layer
  bool uses_layer = true;       ///< false: explains the picture itself; Subject::layer is ignored
  bool compares = false;        ///< explains a similarity: its target has something to compare with
  bool joint = false;           ///< the maps of all targets belong together (FM-G-CAM)
  /// What the host computes from data fetched for it although the network runs on a GPU, in a few
  /// words. Empty: nothing but scores, numbers by channel and maps [h, w] is fetched.
  std::string host_part = "";
  std::vector<Variant> variants = {{"paper", ""}};  ///< the first is the default
  Tail tail = Tail::kRectified;
  Fusion fusion = Fusion::kMean;
  /// What the run must provide. Throws Error(kUsage) with what to use instead if the method does
  /// not apply to this network.
  std::function<Needs(const Subject&, Settings&)> needs;
  /// One raw map per target of `evidence`. Reads its parameters from the same Settings as `needs`.
  std::function<std::vector<RawMap>(Evidence&, Settings&)> explain;

  /// Reads nothing but the activation and the plain gradient at the layer, so that any number of
  /// such methods costs one forward and one backward pass ("all-gradient").
  bool shares_gradient() const { return uses_gradient && forwards == "1" && backwards == "1"; }

  /// Takes activations, gradients and scores from Evidence and makes no passes of its own, so that
  /// the forward pass, and the backward pass behind gradient(), may be of several pictures at once.
  bool shares_passes() const {
    const bool asks_for_gradient = uses_gradient || !uses_layer;
    return forwards == "1" &&
           (backwards == "0" || (asks_for_gradient && backwards.compare(0, 1, "1") == 0));
  }
};

/// All methods of this build, filled once by the generated list of register functions.
class ExplainerRegistry {
 public:
  static const ExplainerRegistry& instance();

  void add(ExplainerDef explainer);  ///< throws Error(kInternal) for a name or alias in use
  const std::vector<std::unique_ptr<const ExplainerDef>>& all() const { return explainers_; }
  /// By name or alias, ignoring case, '-' and '_'. Throws Error(kUsage) that lists the names.
  const ExplainerDef& require(const std::string& name) const;

 private:
  std::vector<std::unique_ptr<const ExplainerDef>> explainers_;
  std::map<std::string, const ExplainerDef*> by_name_;
};

/// A method as a user writes it: "gradcam", "gradcam++@official".
struct MethodChoice {
  const ExplainerDef* method = nullptr;
  std::string variant;

  /// "gradcam", or "gradcam++@official" if the variant is not the default one.
  std::string name() const;
};
/// Throws Error(kUsage) for an unknown method or variant, with those there are.
MethodChoice choose_method(const std::string& text);

/// Generated by the build from the files under explain/.
void register_all_explainers(ExplainerRegistry& registry);

/// The usual needs: activation of the layer and the scores.
Needs activation_needs(const Subject& subject);
/// The same and the gradient at the layer.
Needs gradient_needs(const Subject& subject);
/// activation_needs, and replay of the part after the layer, `batch` variants at a time.
Needs replay_needs(const Subject& subject, int batch);

/// Whether one plan, one forward pass and one backward pass can serve both, and that plan.
bool compatible(const Needs& a, const Needs& b);
Needs operator|(const Needs& a, const Needs& b);

/// sum_k weights[k] A_k(p) as a raw map [h, w], where the activation [1, C, h, w] lies; sums in
/// double. `weights`: float64 [C], on either side.
Tensor weighted_sum(const Tensor& activation, const Tensor& weights);
Tensor weighted_sum(const Tensor& activation, std::span<const double> weights);

}  // namespace camlucida
