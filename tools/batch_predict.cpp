#include "tools/batch_predict.h"

#include <algorithm>
#include <cstring>

namespace camlucida::cli {
namespace {

bool takes_batches(const Model& model) {
  // The processor gains nothing by batches, and its kernels for a batch round differently: a
  // picture's answer would depend on how many others there are.
  if (model.options().gpu == nullptr) return false;
  const Graph& graph = model.graph();
  const Shape& shape = graph.value(graph.require(model.input_name())).desc.shape;
  return shape.rank() > 0 && shape[0] == Shape::kUnknown;
}

/// Row `row` of a tensor, with an extent of 1 in front.
Tensor row_of(const Tensor& tensor, int64_t row) {
  Shape shape = tensor.shape();
  const auto bytes = static_cast<size_t>(tensor.bytes() / shape[0]);
  shape[0] = 1;
  Tensor result(shape, tensor.dtype());
  std::memcpy(result.raw(), static_cast<const std::byte*>(tensor.raw()) + bytes * row, bytes);
  return result;
}

}  // namespace

BatchPredictor::BatchPredictor(const Model& model, size_t expected)
    : model_(model),
      expected_(std::max<int64_t>(static_cast<int64_t>(expected), 1)),
      most_(takes_batches(model) ? expected_ : 1) {}

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

std::vector<Tensor> BatchPredictor::scores(const std::vector<Tensor>& pictures) {
  while (true) {
    const size_t rows = batch(pictures[0].shape());
    try {
      return run(pictures);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kResource || rows == 1) throw;
      session_.reset();
      most_ = static_cast<int64_t>(rows / 2);
      model_.sessions().note_smaller(static_cast<int64_t>(rows), most_);
    }
  }
}

std::vector<Tensor> BatchPredictor::run(const std::vector<Tensor>& pictures) {
  Session& session = **session_;
  Shape shape = pictures[0].shape();
  const size_t bytes = pictures[0].bytes();
  shape[0] = session.plan().desc(model_.input_name()).shape[0];
  const auto rows = static_cast<size_t>(shape[0]);
  std::vector<Tensor> scores;
  for (size_t begin = 0; begin < pictures.size(); begin += rows) {
    const size_t count = std::min(rows, pictures.size() - begin);
    if (rows == 1) {
      session.forward(pictures[begin]);
    } else {
      Tensor batch(shape);
      for (size_t row = 0; row < rows; ++row) {
        // A plan has one size: what is missing to a full batch repeats the last picture.
        const Tensor& picture = pictures[begin + std::min(row, count - 1)];
        std::memcpy(static_cast<std::byte*>(batch.raw()) + bytes * row, picture.raw(), bytes);
      }
      session.forward(batch);
    }
    const Tensor all = session.activation(model_.score_name());
    for (size_t row = 0; row < count; ++row) {
      scores.push_back(rows == 1 ? all : row_of(all, static_cast<int64_t>(row)));
    }
  }
  return scores;
}

}  // namespace camlucida::cli
