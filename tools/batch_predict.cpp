#include "tools/batch_predict.h"

#include <algorithm>
#include <iterator>

#include "engine/cuda/gpu.h"
#include "explain/residence.h"

namespace camlucida::cli {

BatchPredictor::BatchPredictor(const Model& model, size_t expected)
    : model_(model),
      expected_(std::max<int64_t>(static_cast<int64_t>(expected), 1)),
      most_(model.takes_batches() ? expected_ : 1) {}

void BatchPredictor::plan(const Shape& picture) {
  if (session_ && planned_ == picture) return;
  session_.reset();
  const Needs needs{.outputs = {model_.score_name()}, .score = model_.score_name()};
  session_.emplace(model_.sessions().lend_batch(picture, expected_, needs, most_));
  planned_ = picture;
}

size_t BatchPredictor::batch(const Shape& picture) {
  plan(picture);
  return static_cast<size_t>((*session_)->plan().desc(model_.input_name()).shape[0]);
}

void BatchPredictor::submit(std::vector<Tensor> pictures) {
  under_way_.push_back(send(std::move(pictures)));
}

std::vector<Tensor> BatchPredictor::collect() {
  std::vector<Pass> oldest = std::move(under_way_.front());
  under_way_.pop_front();
  return fetch(std::move(oldest));
}

std::vector<Tensor> BatchPredictor::scores(std::vector<Tensor> pictures) {
  return fetch(send(std::move(pictures)));
}

void BatchPredictor::halve(size_t rows) {
  session_.reset();
  most_ = std::min(most_, static_cast<int64_t>(rows / 2));
  model_.sessions().note_smaller(static_cast<int64_t>(rows), most_);
}

std::vector<BatchPredictor::Pass> BatchPredictor::send(std::vector<Tensor> pictures) {
  std::vector<Pass> passes;
  for (size_t begin = 0; begin < pictures.size();) {
    const size_t rows = batch(pictures[begin].shape());
    const size_t end = std::min(begin + rows, pictures.size());
    try {
      const auto at = [&](size_t i) { return pictures.begin() + static_cast<std::ptrdiff_t>(i); };
      passes.push_back(send_pass({at(begin), at(end)}, rows));
      begin = end;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kResource || rows == 1) throw;
      halve(rows);
    }
  }
  return passes;
}

/// What is sent to the lane after the pictures waits for the pass that reads them, and so do the
/// pictures of the next pass on this lane; those of the other one do not. The scores leave the
/// session's stream at once, because fetching them from there would wait for the next pass, too.
BatchPredictor::Pass BatchPredictor::send_pass(std::vector<Tensor> pictures, size_t rows) {
  Session& session = **session_;
  const std::shared_ptr<Stream> lane = next_lane();
  if (rows == 1 && lane == nullptr) {
    session.forward(pictures[0]);
  } else {
    session.forward(stacked(pictures, static_cast<int64_t>(rows), lane));
  }
  Tensor scores = on_stream(session.activation(model_.score_name()), lane);
  return {std::move(pictures), rows, std::move(scores)};
}

std::shared_ptr<Stream> BatchPredictor::next_lane() {
  const std::shared_ptr<Gpu>& gpu = model_.options().gpu;
  if (gpu == nullptr) return nullptr;
  lane_ = 1 - lane_;
  if (lanes_[lane_] == nullptr) lanes_[lane_] = gpu->new_stream();
  return lanes_[lane_];
}

std::vector<Tensor> BatchPredictor::fetch(std::vector<Pass> passes) {
  std::vector<Tensor> scores;
  for (Pass& pass : passes) {
    try {
      const Tensor all = on_host(pass.scores);
      for (size_t row = 0; row < pass.pictures.size(); ++row) {
        scores.push_back(pass.rows == 1 ? all : all.rows(static_cast<int64_t>(row), 1).clone());
      }
    } catch (const Error& error) {
      // A GPU may run short when the work is done rather than when it is sent.
      if (error.kind() != ErrorKind::kResource || pass.rows == 1) throw;
      halve(pass.rows);
      std::vector<Tensor> again = this->scores(std::move(pass.pictures));
      std::move(again.begin(), again.end(), std::back_inserter(scores));
    }
  }
  return scores;
}

}  // namespace camlucida::cli
