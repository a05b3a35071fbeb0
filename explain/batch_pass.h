#pragma once

#include <map>
#include <string>
#include <vector>

#include "explain/session_pool.h"
#include "explain/target.h"

namespace camlucida {

/// What several pictures see of the network in common: one forward pass, and one backward pass of
/// all their targets when the first of them asks for a gradient. Evidence of each picture takes its
/// rows. The tensors lie where the session runs, rows share their memory.
///
/// One thread at a time.
class BatchPass {
 public:
  /// Runs `session` forward on `inputs` [N, C, H, W], which belong to its stream, and waits for the
  /// scores. The session outlives this and meanwhile does nothing else.
  BatchPass(Session& session, Tensor inputs, const std::string& score);

  Session& session() const { return session_; }
  /// What to explain of a picture, at most Needs::seeds_per_image targets; to be said before the
  /// first gradient(). A picture without targets takes no part in the backward pass.
  void set_targets(int64_t row, std::vector<Target> targets);

  Tensor input(int64_t row) const { return inputs_.rows(row, 1); }   ///< [1, C, H, W]
  Tensor scores(int64_t row) const { return scores_.rows(row, 1); }  ///< [1, ...], on the host
  Tensor activation(const std::string& value, int64_t row);          ///< [1, C, h, w]
  /// d score of target `t` / d value: [1, C, h, w].
  Tensor gradient(const std::string& value, int64_t row, size_t t);

  double backward_ms() const { return backward_ms_; }  ///< time spent in the backward pass

 private:
  void run_backward();

  Session& session_;
  Tensor inputs_;
  Tensor scores_;  // [N, ...], on the host
  std::vector<std::vector<Target>> targets_;
  std::map<std::string, Tensor> activations_;  // [N, C, h, w]
  std::map<std::string, Tensor> gradients_;    // [S * N, C, h, w], seed-major
  bool ran_backward_ = false;
  double backward_ms_ = 0;
};

}  // namespace camlucida
