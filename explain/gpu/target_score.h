#pragma once

#include <memory>
#include <variant>

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/score_forms.h"

namespace camlucida::gpu {

/// A target as kernels compute it, with the numbers it needs on the GPU. Belongs to one stream; the
/// target and the row outlive it.
class TargetScore {
 public:
  using Form = std::variant<LinearScore, SoftmaxScore, SimilarityScore, GivenScore>;

  /// `row`: the scores of one picture [1, ...], float32, on the stream, to be written again and
  /// again. Throws Error(kUsage) if they have no such score.
  TargetScore(const Target& target, const Tensor& row, std::shared_ptr<Stream> stream);

  /// A function that only the host can call: then prepare() fetches the row and waits for it.
  bool is_on_host() const { return std::holds_alternative<GivenScore>(form_); }
  /// Sends what has to be done with a new row before the form is used.
  void prepare();
  const Form& form() const { return form_; }

 private:
  void be_linear();
  void be_similar();
  void be_given();
  /// Memory on the stream with the values of a host tensor.
  template <class T>
  const T* keep(const Tensor& host);

  const Target& target_;
  const Tensor& row_;
  std::shared_ptr<Stream> stream_;
  std::vector<Tensor> kept_;
  Form form_;
  // Of a similarity.
  EmbedRow embed_{};
  int64_t length_ = 0;
};

}  // namespace camlucida::gpu
