#pragma once

#include <optional>
#include <vector>

#include "explain/model.h"
#include "explain/session_pool.h"

namespace camlucida::cli {

/// Runs a network on several pictures in one pass of a GPU. The processor, and a network whose file
/// does not leave the batch size free, take them one by one. Where memory does not suffice the
/// batch is halved and the work goes on; the model's sessions tell ModelOptions::notice.
class BatchPredictor {
 public:
  /// `expected`: pictures of the run, over which full batches are evened out.
  BatchPredictor(const Model& model, size_t expected);

  /// How many pictures of this shape, [1, C, H, W], one pass takes. Throws what planning throws.
  size_t batch(const Shape& picture);
  /// The score tensor, [1, ...], of every picture; all have one shape.
  std::vector<Tensor> scores(const std::vector<Tensor>& pictures);

 private:
  void plan(const Shape& picture);
  std::vector<Tensor> run(const std::vector<Tensor>& pictures);

  const Model& model_;
  int64_t expected_;
  int64_t most_;  // rows of one pass
  Shape planned_;
  std::optional<SessionPool::Lease> session_;  // for `planned_`
};

}  // namespace camlucida::cli
