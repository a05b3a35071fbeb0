/// Recorded work: on an emulated GPU (test_gpu: on a real one, if asked) it must do what the same
/// work does when it is sent call by call, with whatever lies in its memory by then.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/cuda/device_tensor.h"
#include "engine/cuda/launch.h"
#include "engine/session.h"
#include "tests/gpu_harness.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using testing::kClasses;
using testing::random_tensor;
using testing::residual_net;

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.desc() == b.desc() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// A copy on the stream that nothing has read on the host yet.
Tensor fresh_copy(const Tensor& tensor, const std::shared_ptr<Stream>& stream) {
  Tensor copy = new_device_tensor(tensor.desc(), stream);
  stream->copy(mutable_device_data(copy, *stream), device_data(tensor, *stream), tensor.bytes());
  return copy;
}

void put(Tensor& to, const Tensor& host, Stream& stream) {
  stream.upload(mutable_device_data(to, stream), host.raw(), host.bytes());
}

// ---- Streams -----------------------------------------------------------------------------------

struct AddTo {
  const float* x;
  float* y;
  float plus;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const { y[i] = x[i] + plus; }
};

struct SumTo {
  const float* x;
  int64_t count;
  float* sum;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    const float found = group.reduce(
        count, 0.0f, [&](int64_t i) { return x[row * count + i]; },
        [](float a, float b) { return a + b; });
    group.each(1, [&](int64_t) { sum[row] = found; });
  }
};

/// Numbers on an emulated GPU, whose kernels the C++ compiler may compile.
class Recording : public ::testing::Test {
 protected:
  static constexpr int64_t kCount = 12;

  std::vector<float> values(const DeviceBuffer& buffer, size_t count = kCount) {
    std::vector<float> result(count);
    stream_->download(result.data(), buffer.data(), count * sizeof(float));
    return result;
  }
  void set(const DeviceBuffer& buffer, float first) {
    std::vector<float> numbers(kCount);
    std::iota(numbers.begin(), numbers.end(), first);
    stream_->upload(buffer.data(), numbers.data(), numbers.size() * sizeof(float));
  }

  std::shared_ptr<Gpu> gpu_ = Gpu::emulated();
  std::shared_ptr<Stream> stream_ = gpu_->new_stream();
  DeviceBuffer x_ = stream_->allocate(kCount * sizeof(float));
  DeviceBuffer y_ = stream_->allocate(kCount * sizeof(float));
  DeviceBuffer sums_ = stream_->allocate(4 * sizeof(float));
};

TEST_F(Recording, RepeatsWhatWasSentOnWhatLiesThereNow) {
  set(x_, 0);
  set(y_, 100);
  const auto send = [&] {
    // The bodies are gone when the work is launched.
    const auto body = std::make_unique<AddTo>(AddTo{x_.as<float>(), y_.as<float>(), 0.5f});
    for_each(*stream_, kCount, *body);
    body->plus = NAN;
    for_each_group(*stream_, 3, SumTo{y_.as<float>(), 4, sums_.as<float>()});
    stream_->copy(x_.data(), y_.data(), 4 * sizeof(float));
    stream_->fill_zero(y_.data(), 2 * sizeof(float));
  };
  EXPECT_FALSE(stream_->is_capturing());
  const auto work = stream_->capture([&] {
    EXPECT_TRUE(stream_->is_capturing());
    send();
  });
  ASSERT_NE(work, nullptr);
  EXPECT_FALSE(stream_->is_capturing());
  EXPECT_EQ(values(y_)[0], 100) << "recording runs nothing";
  for (int run = 0; run < 3; ++run) {
    set(x_, static_cast<float>(run));
    send();
    const auto expected = std::tuple(values(x_), values(y_), values(sums_, 3));
    set(x_, static_cast<float>(run));
    set(y_, -1);
    stream_->launch(*work);
    EXPECT_EQ(std::tuple(values(x_), values(y_), values(sums_, 3)), expected) << run;
  }
}

TEST_F(Recording, RefusesWhatCannotBeRepeated) {
  float host = 0;
  const auto other = gpu_->new_stream();
  const auto work = stream_->capture([] {});
  const std::pair<const char*, std::function<void()>> refused[] = {
      {"an upload", [&] { stream_->upload(x_.data(), &host, sizeof host); }},
      {"a download", [&] { stream_->download(&host, x_.data(), sizeof host); }},
      {"an allocation", [&] { stream_->allocate(64); }},
      {"waiting", [&] { stream_->synchronize(); }},
      {"waiting for another stream", [&] { stream_->wait_for(*other); }},
      {"a launch of recorded work", [&] { stream_->launch(*work); }},
      {"a second recording", [&] { stream_->capture([] {}); }}};
  for (const auto& [what, send] : refused) {
    SCOPED_TRACE(what);
    EXPECT_ERROR(stream_->capture(send), kInternal, std::string(what) + " on a GPU stream");
    EXPECT_FALSE(stream_->is_capturing());
    // Swallowed on the way, it is no better.
    const auto quietly = [&, &work = send] {
      try {
        work();
      } catch (const Error&) {
      }
    };
    EXPECT_ERROR(stream_->capture(quietly), kInternal, what);
    EXPECT_NO_THROW(send()) << "the stream works on";
  }
  EXPECT_NO_THROW(stream_->capture([&] { stream_->wait_for(*stream_); }));
}

/// The memory of a tensor that another stream has read is given back in that stream's order.
TEST_F(Recording, RefusesTheEndOfATensorThatAnotherStreamReads) {
  const auto reader = gpu_->new_stream();
  Tensor tensor = new_device_tensor({DType::kFloat32, {4}}, stream_);
  device_data(tensor, *reader);
  EXPECT_ERROR(stream_->capture([&] { tensor = Tensor(); }), kInternal, "another stream");
}

TEST_F(Recording, AnErrorEndsIt) {
  EXPECT_THROW(stream_->capture([] { throw std::runtime_error("mine"); }), std::runtime_error);
  EXPECT_FALSE(stream_->is_capturing());
  set(x_, 3);
  EXPECT_EQ(values(x_)[0], 3);
}

// ---- Plans -------------------------------------------------------------------------------------

const Shape kInput{2, 3, 9, 11};
const Needs kNeeds{.taps = {"sum"},
                   .gradient_to = {"x", "sum"},
                   .seeds_per_image = 2,
                   .replay_from = "relu1",
                   .replay_batch = 3};

std::shared_ptr<const Plan> compile(PlanOptions options) {
  return Plan::compile(residual_net(), {{"x", kInput}}, kNeeds, options);
}

struct Answers {
  Tensor output, tap, input_gradient, tap_gradient, replayed;

  bool operator==(const Answers& other) const {
    return same_bits(output, other.output) && same_bits(tap, other.tap) &&
           same_bits(input_gradient, other.input_gradient) &&
           same_bits(tap_gradient, other.tap_gradient) && same_bits(replayed, other.replayed);
  }
};

/// Everything there is to ask, about inputs that depend on `run`.
Answers ask(Session& session, unsigned run) {
  session.forward(random_tensor(kInput, 40 + run));
  Answers answers{.output = session.output(), .tap = session.activation("sum")};
  session.backward(random_tensor({4, kClasses}, 70 + run));
  answers.input_gradient = session.gradient("x");
  answers.tap_gradient = session.gradient("sum");
  answers.replayed =
      session.replay(random_tensor({2, 20, 9, 11}, 90 + run), static_cast<int>(run % 2));
  return answers;
}

class CapturedPlan : public ::testing::TestWithParam<Precision> {
 protected:
  const std::shared_ptr<const Plan> plan_ =
      compile({.gpu = test::test_gpu(), .precision = GetParam()});
};

INSTANTIATE_TEST_SUITE_P(Precisions, CapturedPlan,
                         ::testing::Values(Precision::kFp32, Precision::kTf32, Precision::kFp16,
                                           Precision::kBf16),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

/// The first run of a session is sent call by call, the later ones are recorded.
TEST_P(CapturedPlan, GivesTheBitsOfAnUncapturedOne) {
  Session session(plan_);
  std::vector<Answers> all;
  for (unsigned run = 0; run < 5; ++run) {
    SCOPED_TRACE(run);
    Session uncaptured(plan_);
    all.push_back(ask(uncaptured, run));
    EXPECT_TRUE(ask(session, run) == all.back());
    if (run > 0) {
      EXPECT_FALSE(all[run] == all[run - 1]) << "the runs show nothing";
    }
  }
}

TEST_P(CapturedPlan, IsPartOfALargerRecording) {
  Session session(plan_);
  EXPECT_TRUE(session.is_capturable());
  const std::shared_ptr<Stream> stream = session.stream();
  Tensor picture = new_device_tensor({DType::kFloat32, kInput}, stream);
  Tensor seed = new_device_tensor({DType::kFloat32, {4, kClasses}}, stream);
  Tensor output = new_device_tensor({DType::kFloat32, {2, kClasses}}, stream);
  Tensor gradient = new_device_tensor({DType::kFloat32, {4, 3, 9, 11}}, stream);
  const auto send = [&] {
    session.forward(picture);
    session.copy_activation("logits", output);
    session.backward(seed);
    session.copy_gradient("x", gradient);
  };
  put(picture, random_tensor(kInput, 1), *stream);
  put(seed, random_tensor(seed.shape(), 2), *stream);
  send();
  const auto work = stream->capture(send);
  ASSERT_NE(work, nullptr);
  for (unsigned run = 0; run < 4; ++run) {
    SCOPED_TRACE(run);
    put(picture, random_tensor(kInput, 40 + run), *stream);
    put(seed, random_tensor(seed.shape(), 70 + run), *stream);
    stream->launch(*work);
    Session uncaptured(plan_);
    const Answers expected = ask(uncaptured, run);
    EXPECT_TRUE(same_bits(fresh_copy(output, stream), expected.output));
    EXPECT_TRUE(same_bits(fresh_copy(gradient, stream), expected.input_gradient));
    // In between the session serves others, by recordings of its own from the second run on.
    EXPECT_TRUE(ask(session, run) == expected);
  }
}

TEST(CapturedPlans, OnlyWhatSendsWorkAndNothingElse) {
  PlanOptions options{.gpu = test::test_gpu()};
  Session timed(compile(options));
  timed.set_step_timer([](bool, int, double) {});
  EXPECT_FALSE(timed.is_capturable());
  timed.set_step_timer({});
  EXPECT_TRUE(timed.is_capturable());
  options.reference_only = true;
  Session host_steps(compile(options));
  EXPECT_FALSE(host_steps.is_capturable());
  for (unsigned run = 0; run < 3; ++run) {
    Session again(compile(options));
    EXPECT_TRUE(ask(host_steps, run) == ask(again, run));
  }
  EXPECT_FALSE(Session(compile({})).is_capturable());
}

/// On the processor and on a GPU alike.
TEST(CapturedPlans, CopiesIntoTensorsOfTheCaller) {
  for (const bool gpu : {false, true}) {
    SCOPED_TRACE(gpu);
    Session session(compile({.gpu = gpu ? test::test_gpu() : nullptr}));
    const std::shared_ptr<Stream> stream = session.stream();
    const auto make = [&](Shape shape) {
      return gpu ? new_device_tensor({DType::kFloat32, std::move(shape)}, stream)
                 : Tensor(std::move(shape));
    };
    Tensor tap = make({2, 20, 9, 11});
    EXPECT_ERROR(session.copy_activation("sum", tap), kUsage, "forward()");
    session.forward(random_tensor(kInput, 42));
    session.copy_activation("sum", tap);
    EXPECT_TRUE(same_bits(tap, session.activation("sum")));
    Tensor gradient = make({4, 20, 9, 11});
    EXPECT_ERROR(session.copy_gradient("sum", gradient), kUsage, "backward()");
    session.backward(random_tensor({4, kClasses}, 7));
    session.copy_gradient("sum", gradient);
    EXPECT_TRUE(same_bits(gradient, session.gradient("sum")));

    EXPECT_ERROR(session.copy_gradient("sum", tap), kUsage, "[4, 20, 9, 11]");
    EXPECT_ERROR(session.copy_activation("mean", tap), kUsage, "Needs::taps");
    EXPECT_ERROR(session.copy_activation("nothing", tap), kUsage, "nothing");
    Tensor elsewhere =
        gpu ? Tensor(Shape{2, 20, 9, 11})
            : new_device_tensor({DType::kFloat32, {2, 20, 9, 11}}, test::test_gpu()->new_stream());
    EXPECT_ERROR(session.copy_activation("sum", elsewhere), kUsage, "elsewhere");
  }
}

}  // namespace
}  // namespace camlucida
