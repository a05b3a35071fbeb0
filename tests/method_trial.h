#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/passes/passes.h"
#include "explain/explainer.h"
#include "tests/small_net.h"

namespace camlucida::testing {

/// A small network on one picture, explained by hand at one of its values. The graph's input is
/// "x", its scores are "logits".
class MethodTrial {
 public:
  explicit MethodTrial(const std::string& layer, const Graph& graph = residual_net(),
                       std::vector<Target> targets = {Target::of_class(1), Target::of_class(3)})
      : targets_(std::move(targets)),
        bound_(bind_shapes(graph, {{"x", picture_.shape()}})),
        pool_(bound_, "x", {}),
        subject_{&bound_, "x", "logits", layer, {}} {}

  /// Raw maps by target. `seed`: of the run's random numbers.
  std::vector<RawMap> explain(const std::string& method,
                              std::map<std::string, std::string> given = {}, uint64_t seed = 0) {
    const MethodChoice choice = choose_method(method);
    Settings settings(choice.method->name, choice.variant, std::move(given), seed);
    Needs needs = choice.method->needs(subject_, settings);
    if (!needs.gradient_to.empty()) needs.seeds_per_image = static_cast<int>(targets_.size());
    const SessionPool::Lease session = pool_.lend(picture_.shape(), needs);
    session->forward(picture_);
    Evidence evidence(pool_, *session, picture_, subject_, targets_);
    std::vector<RawMap> maps = choice.method->explain(evidence, settings);
    settings.check_all_read();
    passes_ = evidence.passes();
    used_ = settings.used();
    activation_ = evidence.activation(subject_.layer);
    scores_ = evidence.scores();
    return maps;
  }

  const Tensor& picture() const { return picture_; }
  const Graph& bound() const { return bound_; }
  const Subject& subject() const { return subject_; }
  const std::vector<Target>& targets() const { return targets_; }
  SessionPool& pool() { return pool_; }

  /// Of the last explain().
  const Passes& passes() const { return passes_; }
  const std::map<std::string, std::string>& used() const { return used_; }
  const Tensor& activation() const { return activation_; }
  const Tensor& scores() const { return scores_; }

 private:
  Tensor picture_ = random_tensor({1, 3, 9, 11}, 5);
  std::vector<Target> targets_;
  Graph bound_;
  SessionPool pool_;
  Subject subject_;
  Passes passes_;
  std::map<std::string, std::string> used_;
  Tensor activation_;
  Tensor scores_;
};

}  // namespace camlucida::testing
