#include "explain/gpu/target_score.h"

namespace camlucida::gpu {

TargetScore::TargetScore(const Target& target, const Tensor& row, std::shared_ptr<Stream> stream)
    : target_(target), row_(row), stream_(std::move(stream)) {
  target.score(Tensor(row.shape()));  // throws if there is no such score
  if (target.similarity() != nullptr) {
    be_similar();
  } else if (target.softmax_form()) {
    form_ = SoftmaxScore{static_cast<const float*>(device_data(row_, *stream_)),
                         class_count(row.shape()), target.class_index(), *target.softmax_form()};
  } else if (target.linear()) {
    be_linear();
  } else {
    be_given();
  }
}

template <class T>
const T* TargetScore::keep(const Tensor& host) {
  kept_.push_back(to_device(host, stream_));
  return static_cast<const T*>(device_data(kept_.back(), *stream_));
}

void TargetScore::be_linear() {
  // The derivative is the same everywhere, so that the value follows from that at the origin.
  const Tensor origin(row_.shape());
  form_ = LinearScore{static_cast<const float*>(device_data(row_, *stream_)),
                      keep<float>(target_.seed(origin)), row_.count(), target_.score(origin)};
}

void TargetScore::be_similar() {
  const Similarity& similarity = *target_.similarity();
  const Embedding& embedding = similarity.embedding;
  const auto values = [&](const std::vector<double>& of) {
    return keep<double>(Tensor::from<double>(Shape{std::ssize(of)}, of));
  };
  length_ = embedding.length(row_.shape());
  const auto space = [&] {
    kept_.push_back(new_device_tensor({DType::kFloat64, {length_}}, stream_));
    return static_cast<double*>(mutable_device_data(kept_.back(), *stream_));
  };
  const auto* row = static_cast<const float*>(device_data(row_, *stream_));
  const int64_t channels = row_.shape().rank() > 1 ? row_.shape()[1] : 1;
  const int64_t pixels = row_.count() / channels;
  embed_ = {.row = row,
            .pixels = pixels,
            .pooling = embedding.pooling,
            .scale = embedding.scale,
            .offset = embedding.offset.empty() ? nullptr : values(embedding.offset),
            .pooled = space(),
            .embedding = space()};
  form_ = SimilarityScore{.row = row,
                          .pixels = pixels,
                          .pooling = embedding.pooling,
                          .scale = embedding.scale,
                          .measure = similarity.measure,
                          .pooled = embed_.pooled,
                          .embedding = embed_.embedding,
                          .reference = values(similarity.reference),
                          .length = length_};
}

void TargetScore::be_given() {
  const double* value = keep<double>(Tensor(Shape{1}, DType::kFloat64));
  form_ = GivenScore{value, keep<float>(Tensor(row_.shape()))};
}

void TargetScore::prepare() {
  if (length_ > 0) for_each_group(*stream_, length_, embed_);
  if (!is_on_host()) return;
  // Not through the tensor, which would keep what it fetches.
  Tensor row(row_.shape());
  stream_->download(row.raw(), device_data(row_, *stream_), row.bytes());
  const double value = target_.score(row);
  const Tensor slopes = target_.seed(row);
  stream_->upload(mutable_device_data(kept_[0], *stream_), &value, sizeof value);
  stream_->upload(mutable_device_data(kept_[1], *stream_), slopes.raw(), slopes.bytes());
}

}  // namespace camlucida::gpu
