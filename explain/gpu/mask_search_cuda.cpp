#include "explain/gpu/mask_search.h"

#include "explain/gpu/mask_search_kernels.h"
#include "explain/gpu/operation.h"
#include "explain/gpu/target_score.h"
#include "explain/perturb/masking_common.h"

namespace camlucida::gpu {
namespace {

/// A step only sends work, state included, with memory that is taken once: from the second step on
/// it is one recorded graph.
class DeviceSearch final : public MaskSearch {
 public:
  DeviceSearch(Evidence& evidence, Session& session, const Target& target, const SearchForm& form)
      : subject_(evidence.subject()),
        session_(session),
        stream_(session.stream()),
        form_(form),
        input_(evidence.input().desc()),
        channels_(evidence.activation(subject_.layer).shape()[1]),
        shape_(evidence.activation(subject_.layer).shape()),
        pixels_(shape_.count(2, 4)),
        height_(input_.shape[2]),
        width_(input_.shape[3]),
        geometry_(shape_[2], shape_[3], height_, width_),
        scores_(new_device_tensor(session.plan().desc(subject_.score), stream_)),
        score_(target, scores_, stream_),
        capturable_(session.is_capturable() && !score_.is_on_host()) {
    Operation on(stream_);
    const Tensor& activation = evidence.activation(subject_.layer);
    const perturb::MaskedPicture picture(evidence.input(), subject_.preprocessing,
                                         perturb::Backdrop::kBlack);
    rectified_ = on.make({channels_, pixels_});
    for_each(*stream_, rectified_.count(), Rectify{on.read(activation), on.write(rectified_)});
    picture_ = on.make(input_.shape);
    stream_->copy(on.write(picture_), on.read(evidence.input()), picture_.bytes());
    black_ = on.make(picture.behind().shape());
    stream_->copy(on.write(black_), on.read(picture.behind()), black_.bytes());
    for (Tensor* vector : {&u_, &alpha_, &gradient_, &first_gradient_, &mean_, &square_}) {
      *vector = on.make({channels_}, DType::kFloat64);
    }
    for_each(*stream_, channels_, Start{on.write<double>(u_), form.initial});
    stream_->fill_zero(on.write<double>(mean_), mean_.bytes());
    stream_->fill_zero(on.write<double>(square_), square_.bytes());
    saliency_ = on.make({shape_[2], shape_[3]});
    small_gradient_ = on.make({shape_[2], shape_[3]});
    enlarged_ = on.make({height_, width_});
    mask_ = on.make({height_, width_});
    s_gradient_ = on.make({height_, width_});
    mask_gradient_ = on.make({height_, width_}, DType::kFloat64);
    columns_ = on.make({shape_[2], width_}, DType::kFloat64);
    masked_ = on.make(input_.shape);
    picture_gradient_ = on.make(input_.shape);
    peaks_ = stream_->allocate(static_cast<size_t>(height_ + 1) * sizeof(Peaks));
    toward_ = stream_->allocate(static_cast<size_t>(height_ + 1) * sizeof(Toward));
    early_ = on.make({kEarlyCount, channels_}, DType::kFloat64);
    losses_ = on.make({form_.iterations}, DType::kFloat64);
    seed_ = on.make(scores_.shape());
    state_ = stream_->allocate(sizeof(SearchState));
    answer_ = stream_->allocate(sizeof(Answer));
    const SearchState start;
    stream_->upload(state_.data(), &start, sizeof start);
  }

  void run(int64_t count) override {
    count = std::min(count, form_.iterations - sent_);
    for (; count > 0; --count) step();
  }
  bool sends_ahead() const override { return true; }
  SearchState state() override {
    SearchState state;
    stream_->download(&state, state_.data(), sizeof state);
    steps_ = state.steps;
    return state;
  }

  Answer evaluate() override {
    look();
    std::visit(
        [&](const auto& score) {
          for_each_group(*stream_, 1, WriteAnswer{score, normaliser(), answer_.as<Answer>()});
        },
        score_.form());
    Answer answer;
    stream_->download(&answer, answer_.data(), sizeof answer);
    return answer;
  }

  std::vector<double> losses() const override {
    std::vector<double> losses(static_cast<size_t>(steps_));
    stream_->download(losses.data(), read<double>(losses_), losses.size() * sizeof(double));
    return losses;
  }
  Tensor u() const override { return snapshot(u_); }
  Tensor alpha() const override { return snapshot(alpha_); }
  Tensor first_gradient() const override { return snapshot(first_gradient_); }
  Tensor early(int64_t count) const override { return snapshot(early_.rows(0, count)); }
  Tensor saliency() const override { return snapshot(saliency_); }
  Tensor mask() const override { return snapshot(mask_); }

 private:
  /// One step of the search. The first is sent call by call, as libraries set themselves up.
  void step() {
    if (sent_ > 0 && capturable_ && graph_ == nullptr) {
      graph_ = stream_->capture([&] { send_step(); });
      capturable_ = graph_ != nullptr;
    }
    if (graph_ != nullptr) {
      stream_->launch(*graph_);
    } else {
      send_step();
    }
    ++sent_;
  }

  void send_step() {
    look();
    std::visit(
        [&](const auto& score) {
          for_each_group(*stream_, 1,
                         Judge{score, normaliser(), form_.objective, scores_.count(),
                               state_.as<SearchState>(), write<double>(losses_), write(seed_)});
        },
        score_.form());
    session_.backward(seed_);
    session_.copy_gradient(subject_.input, picture_gradient_);
    take_gradient();
    for_each(*stream_, channels_,
             AdamStep{Adam{form_.learning_rate}, state_.as<SearchState>(), read<double>(gradient_),
                      channels_, write<double>(mean_), write<double>(square_), write<double>(u_),
                      write<double>(first_gradient_), write<double>(early_)});
  }

  /// The scores of the picture under the mask of u.
  void look() {
    make_mask();
    session_.forward(masked_);
    session_.copy_activation(subject_.score, scores_);
    score_.prepare();
  }

  template <class T = float>
  const T* read(const Tensor& tensor) const {
    return static_cast<const T*>(device_data(tensor, *stream_));
  }
  template <class T = float>
  T* write(Tensor& tensor) const {
    return static_cast<T*>(mutable_device_data(tensor, *stream_));
  }
  Tensor snapshot(const Tensor& tensor) const {
    Tensor copy = new_device_tensor(tensor.desc(), stream_);
    stream_->copy(write<std::byte>(copy), read<std::byte>(tensor), tensor.bytes());
    return copy;
  }
  Peaks* peaks() const { return peaks_.as<Peaks>() + height_; }
  Normaliser normaliser() const { return {form_.normaliser, peaks()}; }

  /// u → alpha → S → s → m → the masked picture.
  void make_mask() {
    for_each_group(*stream_, 1, Softmax{read<double>(u_), channels_, write<double>(alpha_)});
    sum_over_channels(*stream_, CombinedTerm{read(rectified_), read<double>(alpha_), pixels_},
                      channels_, pixels_, write(saliency_));
    for_each_group(
        *stream_, height_,
        EnlargedRow{read(saliency_), geometry_, width_, write(enlarged_), peaks_.as<Peaks>()});
    for_each_group(*stream_, 1, AllPeaks{peaks_.as<Peaks>(), height_, peaks()});
    for_each(*stream_, height_ * width_,
             MaskPicture{read(enlarged_), normaliser(), read(picture_), read(black_),
                         input_.shape[1], height_ * width_, write(mask_), write(masked_)});
  }

  /// The gradient at the picture → at m → at s → at S → at u.
  void take_gradient() {
    Toward* toward = toward_.as<Toward>() + height_;
    for_each_group(*stream_, height_,
                   MaskGradientRow{read(picture_gradient_), read(picture_), read(black_),
                                   read(mask_), input_.shape[1], height_ * width_, width_,
                                   write<double>(mask_gradient_), toward_.as<Toward>()});
    for_each_group(*stream_, 1, AllToward{toward_.as<Toward>(), height_, toward});
    for_each(*stream_, height_ * width_,
             NormaliserGradient{normaliser(), read<double>(mask_gradient_), read(mask_), toward,
                                write(s_gradient_)});
    for_each_group(
        *stream_, columns_.count(),
        GatherColumns{read(s_gradient_), geometry_.rows, width_, write<double>(columns_)});
    for_each_group(*stream_, pixels_,
                   GatherRows{read<double>(columns_), geometry_.columns, write(small_gradient_)});
    for_each_group(
        *stream_, channels_,
        ChannelProduct{read(rectified_), read(small_gradient_), pixels_, write<double>(gradient_)});
    for_each_group(*stream_, 1,
                   SoftmaxGradient{read<double>(alpha_), channels_, write<double>(gradient_)});
  }

  const Subject& subject_;
  Session& session_;
  std::shared_ptr<Stream> stream_;
  SearchForm form_;
  TensorDesc input_;
  int64_t channels_;
  Shape shape_;  // of the layer
  int64_t pixels_;
  int64_t height_;
  int64_t width_;
  Bilinear geometry_;
  Tensor scores_;  // of the masked picture
  TargetScore score_;
  bool capturable_;
  Tensor rectified_, picture_, black_;
  Tensor u_, alpha_, gradient_, first_gradient_, mean_, square_;
  Tensor early_;                                         // u after the early steps
  Tensor losses_;                                        // by step
  Tensor saliency_, small_gradient_;                     // [h, w]
  Tensor enlarged_, mask_, s_gradient_, mask_gradient_;  // [H, W]
  Tensor columns_;                                       // [h, W]
  Tensor masked_, picture_gradient_;                     // [1, C, H, W]
  Tensor seed_;                                          // d loss / d scores
  DeviceBuffer peaks_, toward_;                          // by row, then of all
  DeviceBuffer state_, answer_;                          // SearchState, Answer
  int64_t sent_ = 0;                                     // steps
  int64_t steps_ = 0;                                    // losses known when last looked at
  std::unique_ptr<CapturedWork> graph_;                  // a step
};

}  // namespace

std::unique_ptr<MaskSearch> new_mask_search(Evidence& evidence, Session& session,
                                            const Target& target, const SearchForm& form) {
  return std::make_unique<DeviceSearch>(evidence, session, target, form);
}

}  // namespace camlucida::gpu
