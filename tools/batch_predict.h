#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "explain/model.h"
#include "explain/session_pool.h"

namespace camlucida::cli {

/// Runs a network on many pictures. On a GPU several go through it in one pass, and while it works
/// on one batch the next is uploaded, through page-locked memory and on a stream of its own:
///
///     predictor.submit(batch 0);
///     predictor.submit(batch 1);           // uploaded while batch 0 is in work
///     scores of batch 0 = predictor.collect();
///     predictor.submit(batch 2); ...
///
/// At most two batches of pictures lie in the GPU's memory, whatever is submitted. The processor
/// (Model::takes_batches), and a network whose file does not leave the batch size free, take
/// pictures one by one. Where memory does not suffice the batch is halved and the work goes on,
/// without losing what was submitted before; the model's sessions tell ModelOptions::notice.
///
/// One thread at a time.
class BatchPredictor {
 public:
  /// `expected`: pictures of the run, over which full batches are evened out.
  BatchPredictor(const Model& model, size_t expected);

  /// How many pictures of this shape, [1, C, H, W], one pass takes. Throws what planning throws.
  size_t batch(const Shape& picture);
  /// How many batches to leave uncollected: 1 on a GPU, 0 on the processor, where submit() does all
  /// the work.
  size_t ahead() const { return model_.options().gpu != nullptr ? 1 : 0; }

  /// Sends pictures of one shape, best batch() of them, on their way; returns when they are
  /// uploaded. If it throws none of them is, and what was submitted before is as it was.
  void submit(std::vector<Tensor> pictures);
  /// The score tensor, [1, ...], of every picture of the oldest batch not yet collected; waits for
  /// it. If it throws that batch is lost.
  std::vector<Tensor> collect();
  /// The same of these pictures at once, past the batches under way.
  std::vector<Tensor> scores(std::vector<Tensor> pictures);

 private:
  /// Pictures that went through the network together.
  struct Pass {
    std::vector<Tensor> pictures;
    size_t rows;
    Tensor scores;  // [rows, ...]
  };

  void plan(const Shape& picture);
  std::vector<Pass> send(std::vector<Tensor> pictures);
  Pass send_pass(std::vector<Tensor> pictures, size_t rows);
  std::vector<Tensor> fetch(std::vector<Pass> passes);
  void halve(size_t rows);
  std::shared_ptr<Stream> next_lane();

  const Model& model_;
  int64_t expected_;
  int64_t most_;  // rows of one pass
  Shape planned_;
  std::optional<SessionPool::Lease> session_;  // for `planned_`
  // Passes take turns on these; each carries pictures up and scores down.
  std::shared_ptr<Stream> lanes_[2];
  size_t lane_ = 0;
  std::deque<std::vector<Pass>> under_way_;  // by batch
};

}  // namespace camlucida::cli
