#include "explain/class_ranking.h"
#include "explain/model_state.h"
#include "explain/picture_run.h"
#include "explain/render.h"
#include "explain/residence.h"
#include "explain/stopwatch.h"

namespace camlucida {

Answer Model::run(const PreparedInput& input, std::shared_ptr<const Image> picture,
                  const ExplainOptions* options, int k) const {
  Stopwatch watch;
  if (options != nullptr) {
    const ExplainCall call(*this, *state_, *options, input.tensor.shape());
    PictureRun run(call, input, {});
    run.timing().plan = watch.lap();
    run.run_alone(call.all_requests());
    return run.answer(std::move(picture), k);
  }
  Answer answer;
  const Needs needs{.outputs = {state_->score}, .score = state_->score};
  SessionPool::Lease session = state_->pool->lend(input.tensor.shape(), needs);
  answer.timing.plan = watch.lap();
  session->forward(input.tensor);
  const Tensor scores = on_host(session->activation(state_->score));
  answer.timing.forward = watch.lap();
  answer.prediction = prediction_of(scores, k);
  return answer;
}

Prediction Model::prediction_of(Tensor scores, int k) const {
  std::vector<ClassScore> ranking = best_classes(rank_classes(scores, state_->labels), k);
  return {std::move(scores), std::move(ranking)};
}

namespace {

PreparedInput tensor_input(const Tensor& tensor) {
  const Shape& shape = tensor.shape();
  if (tensor.dtype() != DType::kFloat32 || shape.rank() != 4) {
    throw Error(ErrorKind::kInput, "the input tensor must be float32 [N, C, H, W], got " +
                                       std::string(name_of(tensor.dtype())) + " " +
                                       shape.to_string());
  }
  return {tensor, Placement::identity(static_cast<int>(shape[3]), static_cast<int>(shape[2]))};
}

}  // namespace

Prediction Model::predict(const Image& image, int k) const {
  return run(prepare(image), nullptr, nullptr, k).prediction;
}

Prediction Model::predict(const Tensor& input, int k) const {
  return run(tensor_input(input), nullptr, nullptr, k).prediction;
}

Answer Model::explain(const Image& image, const ExplainOptions& options) const {
  Stopwatch watch;
  const PreparedInput input = prepare(image);
  const double preprocess = watch.lap();
  Answer answer = run(input, std::make_shared<const Image>(image), &options, options.target.k);
  answer.timing.preprocess = preprocess;
  return answer;
}

Answer Model::explain(const Tensor& input, const ExplainOptions& options) const {
  return run(tensor_input(input), nullptr, &options, options.target.k);
}

Answer Model::explain(const PreparedInput& input, std::shared_ptr<const Image> picture,
                      const ExplainOptions& options) const {
  return run(input, std::move(picture), &options, options.target.k);
}

void Explanation::save_overlay(const std::filesystem::path& path) const {
  if (picture == nullptr) {
    throw Error(ErrorKind::kUsage, "an overlay needs a picture, the input was a tensor",
                "use the map itself");
  }
  render_overlay(*picture, map, placement).save_png(path);
}

}  // namespace camlucida
