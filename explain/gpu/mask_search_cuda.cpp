#include "explain/gpu/mask_search.h"

#include "explain/gpu/mask_search_kernels.h"
#include "explain/gpu/operation.h"
#include "explain/perturb/masking_common.h"

namespace camlucida::gpu {
namespace {

/// Memory is taken once; the addresses stay, so that both halves of a step can be captured.
class DeviceSearch final : public MaskSearch {
 public:
  DeviceSearch(Evidence& evidence, Session& session, const Target& target, const SearchForm& form)
      : subject_(evidence.subject()),
        session_(session),
        target_(target),
        stream_(session.stream()),
        form_(form),
        input_(evidence.input().desc()),
        channels_(evidence.activation(subject_.layer).shape()[1]),
        shape_(evidence.activation(subject_.layer).shape()),
        pixels_(shape_.count(2, 4)),
        height_(input_.shape[2]),
        width_(input_.shape[3]),
        geometry_(shape_[2], shape_[3], height_, width_) {
    Operation on(stream_);
    const Tensor& activation = evidence.activation(subject_.layer);
    const perturb::MaskedPicture picture(evidence.input(), subject_.preprocessing,
                                         perturb::Backdrop::kBlack);
    rectified_ = on.make({channels_, pixels_});
    for_each(*stream_, rectified_.count(), Rectify{on.read(activation), on.write(rectified_)});
    picture_ = on.make(input_.shape);
    stream_->copy(on.write(picture_), on.read(evidence.input()), picture_.bytes());
    black_ = to_device(picture.behind(), stream_);
    for (Tensor* vector : {&u_, &alpha_, &gradient_, &mean_, &square_}) {
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
    const TensorDesc& scores = session.plan().desc(subject_.score);
    answer_ = on.make({scores.shape.count() + 1});
  }

  Answer evaluate() override {
    mask_half_.run(*stream_, [&] { make_mask(); });
    session_.forward(masked_);
    const Tensor scores = session_.activation(subject_.score);
    auto* answer = write<float>(answer_);
    stream_->copy(answer, device_data(scores, *stream_), scores.bytes());
    for_each(*stream_, 1, WriteDefined{normaliser(), answer + scores.count()});
    scores_ = Tensor(scores.shape());
    std::vector<float> values(static_cast<size_t>(answer_.count()));
    stream_->download(values.data(), answer, answer_.bytes());
    std::copy_n(values.begin(), scores.count(), scores_.floats());
    return {values.back() != 0.0f, target_.score(scores_)};
  }

  void differentiate(double factor) override {
    Tensor seed = target_.seed(scores_);
    for (float& value : seed.as<float>()) value *= static_cast<float>(factor);
    session_.backward(seed);
    const Tensor gradient = session_.gradient(subject_.input);
    stream_->copy(write<float>(picture_gradient_), device_data(gradient, *stream_),
                  gradient.bytes());
    gradient_half_.run(*stream_, [&] { take_gradient(); });
  }

  void advance() override {
    first_ *= Adam::kBeta1;
    second_ *= Adam::kBeta2;
    for_each(*stream_, channels_,
             AdamStep{Adam{form_.learning_rate}, read<double>(gradient_), first_, second_,
                      write<double>(mean_), write<double>(square_), write<double>(u_)});
  }

  Tensor u() const override { return snapshot(u_); }
  Tensor alpha() const override { return snapshot(alpha_); }
  Tensor gradient() const override { return snapshot(gradient_); }
  Tensor saliency() const override { return snapshot(saliency_); }
  Tensor mask() const override { return snapshot(mask_); }

 private:
  /// Work that is the same every time: run at first, then recorded and started as a whole.
  struct RecordedWork {
    bool ran = false;
    bool capturable = true;
    std::unique_ptr<CapturedWork> work;

    void run(Stream& stream, const std::function<void()>& send) {
      if (ran && capturable && work == nullptr) {
        work = stream.capture(send);
        capturable = work != nullptr;
      }
      if (work != nullptr) {
        stream.launch(*work);
      } else {
        send();
      }
      ran = true;
    }
  };

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
  const Target& target_;
  std::shared_ptr<Stream> stream_;
  SearchForm form_;
  TensorDesc input_;
  int64_t channels_;
  Shape shape_;  // of the layer
  int64_t pixels_;
  int64_t height_;
  int64_t width_;
  Bilinear geometry_;
  Tensor rectified_, picture_, black_;
  Tensor u_, alpha_, gradient_, mean_, square_;
  Tensor saliency_, small_gradient_;                     // [h, w]
  Tensor enlarged_, mask_, s_gradient_, mask_gradient_;  // [H, W]
  Tensor columns_;                                       // [h, W]
  Tensor masked_, picture_gradient_;                     // [1, C, H, W]
  Tensor answer_;
  DeviceBuffer peaks_, toward_;  // by row, then of all
  Tensor scores_;                // on the host
  double first_ = 1;
  double second_ = 1;
  RecordedWork mask_half_, gradient_half_;
};

}  // namespace

std::unique_ptr<MaskSearch> new_mask_search(Evidence& evidence, Session& session,
                                            const Target& target, const SearchForm& form) {
  return std::make_unique<DeviceSearch>(evidence, session, target, form);
}

}  // namespace camlucida::gpu
