#pragma once

#include <memory>
#include <vector>

#include "explain/model.h"

namespace camlucida {

/// One of many pictures that are explained alike.
struct PictureToExplain {
  PreparedInput input;                             ///< see Model::prepare
  std::shared_ptr<const Image> picture = nullptr;  ///< its explanations share it; null: no overlays
  /// What to explain of it, instead of ExplainOptions::target. Empty: that.
  std::vector<Target> targets = {};
};

/// Explains many pictures with the same options. On a GPU those methods that make no passes of
/// their own (ExplainerDef::shares_passes: the CAM family, gradients of the picture, ...) get what
/// they need for a whole batch of pictures from one forward pass and one backward pass, each
/// picture with the targets that its own scores choose. Other methods, `aug_smooth`, networks whose
/// file fixes the batch size, and everything on the processor (Model::takes_batches) go on picture
/// by picture, as in Model::explain.
///
///     BatchExplainer explainer(model, {.method = "gradcam,layercam"}, pictures.size());
///     explainer.start({{model.prepare(a)}, {model.prepare(b)}});
///     for (size_t i = 0; i < explainer.size(); ++i) {
///       try {
///         use(explainer.explain(i));
///       } catch (const Error& error) {  // of this picture, the others are as they would be
///       }
///     }
///
/// Results are those of Model::explain up to rounding: kernels of another batch size may sum in
/// another order. A batch has one size: a last one with fewer pictures is filled up. Where memory
/// does not suffice the batch is halved and the work goes on; ModelOptions::notice is told.
///
/// One thread at a time. `model` outlives this.
class BatchExplainer {
 public:
  /// `expected`: pictures there will be, over which full batches are evened out.
  BatchExplainer(const Model& model, ExplainOptions options, size_t expected);
  ~BatchExplainer();
  BatchExplainer(const BatchExplainer&) = delete;
  BatchExplainer& operator=(const BatchExplainer&) = delete;

  /// How many pictures of this shape, [1, C, H, W], one pass takes; 1: they go one by one. Plans.
  size_t batch(const Shape& picture);
  /// Batches of no more than this from now on, for callers whose own memory is short.
  void limit(size_t rows);

  /// Takes pictures of one shape, usually batch() of them, and forgets those before. Throws
  /// Error(kUsage) for several shapes.
  void start(std::vector<PictureToExplain> pictures);
  size_t size() const;
  /// The explanations of picture `i`; the first of a batch runs the shared passes. Take them in
  /// order, each once: what comes earlier is made again. Throws what Model::explain throws for the
  /// picture.
  Answer explain(size_t i);

 private:
  class Work;
  std::unique_ptr<Work> work_;
};

}  // namespace camlucida
