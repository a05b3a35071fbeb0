/// What `predict` sends to a GPU: one batch while the one before is in work, in bounded memory, and
/// without losing anything when memory runs out.
#include "tools/batch_predict.h"

#include <gtest/gtest.h>

#include <cstring>

#include "engine/cuda/device_tensor.h"
#include "explain/residence.h"
#include "tests/cli_program.h"

namespace camlucida {
namespace {

using cli::BatchPredictor;
using Pictures = std::vector<Tensor>;

constexpr size_t kPictureBytes = sizeof(float) * 3 * 16 * 16;

class BatchPredict : public ::testing::Test {
 protected:
  Model load(std::shared_ptr<Gpu> gpu, int max_batch, const std::string& bytes = small()) {
    const std::string path = folder_ / "net.onnx";
    test::write_text(path, bytes);
    return Model::load(path, {.gpu = std::move(gpu),
                              .max_batch = max_batch,
                              .notice = [this](const std::string& line) { notice_ = line; }});
  }
  static std::string small() { return test::small_classifier(); }

  static Pictures pictures(size_t count, unsigned seed = 1) {
    Pictures result;
    uint32_t state = seed * 2654435761u + 12345u;
    for (size_t i = 0; i < count; ++i) {
      Tensor& picture = result.emplace_back(Shape{1, 3, 16, 16});
      for (float& value : picture.as<float>()) {
        state = state * 1664525u + 1013904223u;
        value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
      }
    }
    return result;
  }

  /// One forward pass of the pictures together gives these bits, or, where they went through the
  /// network in parts, these values but for rounding.
  static void expect_scores(const Model& model, const Pictures& pictures,
                            const std::vector<Tensor>& scores, bool in_parts = false) {
    const SessionPool::Lease session = model.sessions().lend(
        {std::ssize(pictures), 3, 16, 16}, {.outputs = {"logits"}, .score = "logits"});
    session->forward(stacked(pictures, std::ssize(pictures), nullptr));
    const Tensor expected = session->activation("logits");
    ASSERT_EQ(scores.size(), pictures.size());
    for (size_t i = 0; i < pictures.size(); ++i) {
      const Tensor row = expected.rows(static_cast<int64_t>(i), 1);
      ASSERT_EQ(scores[i].shape(), row.shape());
      EXPECT_EQ(scores[i].remote(), nullptr);
      for (int64_t k = 0; in_parts && k < row.count(); ++k) {
        EXPECT_NEAR(scores[i].floats()[k], row.floats()[k], 1e-5);
      }
      EXPECT_TRUE(in_parts || std::memcmp(scores[i].raw(), row.raw(), row.bytes()) == 0) << i;
    }
  }

  test::TemporaryFolder folder_;
  std::string notice_;
};

TEST_F(BatchPredict, ScoresAreReadOneBatchLater) {
  const Model model = load(Gpu::emulated(), 4);
  BatchPredictor predictor(model, 14);
  EXPECT_EQ(predictor.ahead(), 1u);
  ASSERT_EQ(predictor.batch({1, 3, 16, 16}), 4u);
  const std::vector<Pictures> batches = {pictures(4, 1), pictures(4, 2), pictures(4, 3),
                                         pictures(2, 4)};
  std::vector<std::vector<Tensor>> scores;
  size_t fetched = fetched_bytes();
  for (size_t i = 0; i < batches.size(); ++i) {
    predictor.submit(batches[i]);
    EXPECT_EQ(fetched_bytes(), fetched) << "sending waits for nothing";
    if (i > 0) {
      scores.push_back(predictor.collect());
      EXPECT_GT(fetched_bytes(), fetched);
      fetched = fetched_bytes();
    }
  }
  scores.push_back(predictor.collect());
  for (size_t i = 0; i < batches.size(); ++i) expect_scores(model, batches[i], scores[i]);
  EXPECT_EQ(notice_, "");
}

TEST_F(BatchPredict, AtMostTwoBatchesOfPicturesAreOnTheGpu) {
  const std::shared_ptr<Gpu> gpu = Gpu::emulated();
  const Model model = load(gpu, 64);
  BatchPredictor predictor(model, 6 * 64);
  for (int i = 0; i < 2; ++i) predictor.submit(pictures(64));
  const size_t two = gpu->allocator().peak_bytes() + gpu->allocator().kept_bytes();
  for (int i = 0; i < 4; ++i) predictor.submit(pictures(64));
  const size_t six = gpu->allocator().peak_bytes() + gpu->allocator().kept_bytes();
  EXPECT_LT(six - two, 64 * kPictureBytes);
  for (int i = 0; i < 6; ++i) expect_scores(model, pictures(64), predictor.collect());
}

TEST_F(BatchPredict, OutOfMemoryKeepsWhatIsUnderWay) {
  const std::shared_ptr<Gpu> gpu = Gpu::emulated(1, size_t{16} << 20);
  const Model model = load(gpu, 32);
  BatchPredictor predictor(model, 96);
  ASSERT_EQ(predictor.batch({1, 3, 16, 16}), 32u);
  predictor.submit(pictures(32, 1));
  // A guest takes what is free, but for the batch under way.
  const auto owner = gpu->new_stream();
  std::vector<DeviceBuffer> guests;
  for (size_t bytes = size_t{8} << 20; bytes >= 512;) {
    try {
      guests.push_back(owner->allocate(bytes));
    } catch (const Error&) {
      bytes /= 2;
    }
  }
  predictor.submit(pictures(32, 2));
  EXPECT_NE(notice_.find("GPU memory is short"), std::string::npos) << notice_;
  EXPECT_LE(predictor.batch({1, 3, 16, 16}), 16u);
  EXPECT_GE(predictor.batch({1, 3, 16, 16}), 4u) << "the memory of the larger batch is free again";
  const std::vector<Tensor> first = predictor.collect();
  predictor.submit(pictures(32, 3));  // several passes by now
  const std::vector<Tensor> second = predictor.collect();
  const std::vector<Tensor> third = predictor.collect();
  guests.clear();
  expect_scores(model, pictures(32, 1), first);
  expect_scores(model, pictures(32, 2), second, true);
  expect_scores(model, pictures(32, 3), third, true);
}

TEST_F(BatchPredict, WhatCannotBeSentLeavesTheRestAlone) {
  const Model model = load(Gpu::emulated(), 4);
  BatchPredictor predictor(model, 8);
  predictor.submit(pictures(4));
  EXPECT_THROW(predictor.submit({Tensor(Shape{1, 5, 16, 16})}), Error);
  const Pictures one = pictures(1, 7);
  expect_scores(model, one, predictor.scores(one));  // past the batch under way
  expect_scores(model, pictures(4), predictor.collect());
}

TEST_F(BatchPredict, TheProcessorTakesThemOneByOne) {
  const Model model = load(nullptr, 4);
  BatchPredictor predictor(model, 8);
  EXPECT_EQ(predictor.ahead(), 0u);
  EXPECT_EQ(predictor.batch({1, 3, 16, 16}), 1u);
  predictor.submit(pictures(1));
  expect_scores(model, pictures(1), predictor.collect());
}

}  // namespace
}  // namespace camlucida
