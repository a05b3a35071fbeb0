#pragma once

#include <string>
#include <vector>

#include "explain/model.h"
#include "explain/settings.h"

/// How Model::explain and BatchExplainer come to their answers; internal to both.
namespace camlucida {

struct ModelState;

/// What ExplainOptions ask for, bound to one input shape: methods with their settings, layers, the
/// tensor of scores. Immutable; serves all pictures of that shape.
class ExplainCall {
 public:
  struct Request {
    MethodChoice choice;
    Settings settings;  ///< as `needs` left them; every picture goes on with a copy
    Needs needs;        ///< at all layers
  };
  /// Requests whose needs fit together: they share a plan and its passes.
  struct Group {
    Needs needs;  ///< but for seeds_per_image
    std::vector<size_t> requests;
  };

  /// Everything given outlives this. Throws Error(kUsage) for a method, setting, layer or target
  /// that does not exist or does not fit the network, Error(kModel) for a shape that does not.
  ExplainCall(const Model& model, ModelState& state, const ExplainOptions& options,
              const Shape& input_shape);
  ExplainCall(const ExplainCall&) = delete;
  ExplainCall& operator=(const ExplainCall&) = delete;

  const Model& model() const { return model_; }
  ModelState& state() const { return state_; }
  const ExplainOptions& options() const { return options_; }
  const Shape& input_shape() const { return input_shape_; }
  const Graph& bound() const { return *bound_; }
  const std::string& score() const { return score_; }  ///< value that targets are functions of
  const std::vector<LayerChoice>& layers() const { return layers_; }
  const std::vector<Subject>& subjects() const { return subjects_; }  ///< one per layer
  const std::vector<Request>& requests() const { return requests_; }

  std::vector<size_t> all_requests() const;
  std::vector<Group> groups(const std::vector<size_t>& requests) const;
  /// Whether the scores rank classes.
  bool ranks_classes() const;
  /// How many targets ExplainOptions::target stands for.
  size_t target_count() const;
  /// Whether gradients that the method used passed layers that round.
  bool straight_through(const ExplainerDef& method, const Passes& passes) const;

 private:
  void add_request(const MethodChoice& choice);
  void check_settings() const;
  void choose_score();
  void choose_layers();
  void check_layer(ValueId id) const;
  void check_classes(const std::string& text) const;
  std::string kind_without_classes() const;

  const Model& model_;
  ModelState& state_;
  const ExplainOptions& options_;
  const Shape input_shape_;
  std::vector<Request> requests_;
  Graph own_bound_;
  const Graph* bound_ = nullptr;
  std::string score_;
  std::vector<LayerChoice> layers_;
  std::vector<Subject> subjects_;
};

/// "top3" → 3, "top1" → 1, "topk" → k; 0 if it is not of that form.
int top_count(const std::string& text, int k);

}  // namespace camlucida
