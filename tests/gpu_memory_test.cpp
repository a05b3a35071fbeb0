/// The memory of a GPU, its 16-bit numbers and how kernels are launched, as far as all kinds of GPU
/// share them; on an emulated one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "engine/cuda/launch.h"
#include "engine/cuda/memory.h"
#include "engine/error.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

// ---- CachingAllocator --------------------------------------------------------------------------

/// Counts what is taken, up to a limit.
class CountedMemory final : public RawMemory {
 public:
  struct Log {
    size_t limit = 1 << 20;
    size_t taken = 0;
    int takes = 0;
    int refusals = 0;
    int waits = 0;
    int prepared = 0;
    std::map<std::byte*, size_t> blocks;
  };
  explicit CountedMemory(Log& log) : log_(log) {}

  std::byte* take(size_t bytes) override {
    if (log_.taken + bytes > log_.limit) {
      ++log_.refusals;
      return nullptr;
    }
    ++log_.takes;
    log_.taken += bytes;
    auto* data = new std::byte[bytes];
    log_.blocks[data] = bytes;
    return data;
  }
  void give_back(std::byte* data) override {
    EXPECT_GT(log_.waits, 0) << "given back without waiting for the GPU";
    const auto block = log_.blocks.find(data);
    ASSERT_NE(block, log_.blocks.end());
    log_.taken -= block->second;
    log_.blocks.erase(block);
    delete[] data;
  }
  void wait_idle() override { ++log_.waits; }
  void prepare(std::byte*, size_t) override { ++log_.prepared; }

 private:
  Log& log_;
};

class Allocator : public ::testing::Test {
 protected:
  ~Allocator() override {
    allocator_.reset();
    EXPECT_TRUE(log_.blocks.empty()) << "memory was not given back";
  }

  CountedMemory::Log log_;
  std::unique_ptr<CachingAllocator> allocator_ =
      std::make_unique<CachingAllocator>(std::make_unique<CountedMemory>(log_));
  const int a_ = 0, b_ = 0;  // two queues
};

TEST(AllocatorSizes, AreRoundedToASixteenth) {
  EXPECT_EQ(CachingAllocator::rounded(0), 512u);
  EXPECT_EQ(CachingAllocator::rounded(1), 512u);
  EXPECT_EQ(CachingAllocator::rounded(512), 512u);
  EXPECT_EQ(CachingAllocator::rounded(513), 1024u);
  EXPECT_EQ(CachingAllocator::rounded(1 << 20), size_t{1} << 20);
  for (size_t bytes = 1; bytes < (size_t{1} << 40); bytes = bytes * 5 / 3 + 1) {
    const size_t rounded = CachingAllocator::rounded(bytes);
    EXPECT_GE(rounded, bytes);
    EXPECT_LE(static_cast<double>(rounded),
              std::max(512.0, static_cast<double>(bytes) * (1 + 1.0 / 16) + 512));
    EXPECT_EQ(rounded % 512, 0u);
    EXPECT_EQ(CachingAllocator::rounded(rounded), rounded);
  }
}

TEST_F(Allocator, ReusesWhatWasFreed) {
  std::byte* first = allocator_->allocate(10000, &a_);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(allocator_->used_bytes(), CachingAllocator::rounded(10000));
  allocator_->free(first, &a_);
  EXPECT_EQ(allocator_->used_bytes(), 0u);
  EXPECT_EQ(allocator_->kept_bytes(), CachingAllocator::rounded(10000));
  EXPECT_EQ(allocator_->allocate(9000, &a_), first);
  EXPECT_EQ(allocator_->kept_bytes(), 0u);
  EXPECT_EQ(log_.takes, 1);
  EXPECT_EQ(log_.prepared, 2);
  allocator_->free(first, &a_);
}

TEST_F(Allocator, DoesNotWasteALargeBlockOnASmallRequest) {
  std::byte* large = allocator_->allocate(1 << 16, &a_);
  allocator_->free(large, &a_);
  std::byte* half = allocator_->allocate(1 << 15, &a_);
  EXPECT_EQ(half, large);
  EXPECT_EQ(allocator_->used_bytes(), size_t{1} << 16);  // all of it counts
  allocator_->free(half, &a_);
  std::byte* small = allocator_->allocate(1 << 14, &a_);
  EXPECT_NE(small, large);
  allocator_->free(small, &a_);
}

TEST_F(Allocator, TakesTheSmallestThatFits) {
  std::byte* large = allocator_->allocate(8192, &a_);
  std::byte* small = allocator_->allocate(6144, &a_);
  allocator_->free(large, &a_);
  allocator_->free(small, &a_);
  EXPECT_EQ(allocator_->allocate(5000, &a_), small);
  EXPECT_EQ(allocator_->allocate(5000, &a_), large);
  allocator_->free(large, &a_);
  allocator_->free(small, &a_);
}

TEST_F(Allocator, KeepsQueuesApart) {
  std::byte* first = allocator_->allocate(4096, &a_);
  allocator_->free(first, &a_);
  std::byte* second = allocator_->allocate(4096, &b_);
  EXPECT_NE(second, first) << "work of the other queue may still use it";
  EXPECT_EQ(allocator_->allocate(4096, &a_), first);
  allocator_->free(first, &a_);
  allocator_->free(second, &b_);
}

TEST_F(Allocator, GivesBackAndTriesAgainWhenThereIsNoMore) {
  log_.limit = 3 << 16;
  std::byte* one = allocator_->allocate(1 << 16, &a_);
  std::byte* two = allocator_->allocate(1 << 16, &b_);
  allocator_->free(one, &a_);
  allocator_->free(two, &b_);
  std::byte* all = allocator_->allocate(3 << 16, &a_);
  ASSERT_NE(all, nullptr);
  EXPECT_EQ(log_.refusals, 1);
  EXPECT_EQ(allocator_->kept_bytes(), 0u);
  EXPECT_EQ(allocator_->used_bytes(), size_t{3} << 16);
  EXPECT_EQ(allocator_->allocate(512, &a_), nullptr);
  EXPECT_EQ(allocator_->used_bytes(), size_t{3} << 16);
  allocator_->free(all, &a_);
  // What is refused leaves the allocator usable.
  std::byte* again = allocator_->allocate(2 << 16, &a_);
  EXPECT_NE(again, nullptr);
  allocator_->free(again, &a_);
}

TEST_F(Allocator, ForgetsAQueue) {
  std::byte* one = allocator_->allocate(4096, &a_);
  std::byte* two = allocator_->allocate(4096, &b_);
  std::byte* used = allocator_->allocate(4096, &a_);
  allocator_->free(one, &a_);
  allocator_->free(two, &b_);
  allocator_->forget(&a_);
  EXPECT_EQ(allocator_->kept_bytes(), 4096u);
  EXPECT_EQ(allocator_->used_bytes(), 4096u);
  EXPECT_EQ(log_.blocks.count(one), 0u);
  allocator_->free(used, &a_);
  allocator_->trim();
  EXPECT_EQ(allocator_->kept_bytes(), 0u);
  EXPECT_TRUE(log_.blocks.empty());
}

TEST_F(Allocator, KnowsItsPeak) {
  std::byte* one = allocator_->allocate(4096, &a_);
  std::byte* two = allocator_->allocate(8192, &a_);
  allocator_->free(one, &a_);
  std::byte* three = allocator_->allocate(2048, &a_);
  EXPECT_EQ(allocator_->peak_bytes(), 4096u + 8192u);
  allocator_->free(two, &a_);
  allocator_->free(three, &a_);
  EXPECT_EQ(allocator_->peak_bytes(), 4096u + 8192u);
}

TEST_F(Allocator, ServesThreads) {
  log_.limit = size_t{1} << 30;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      const int queue = thread;
      for (size_t round = 1; round <= 200; ++round) {
        std::byte* data = allocator_->allocate(round * 300, &queue);
        ASSERT_NE(data, nullptr);
        std::memset(data, thread, round * 300);
        ASSERT_EQ(data[round * 300 - 1], static_cast<std::byte>(thread));
        allocator_->free(data, &queue);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(allocator_->used_bytes(), 0u);
}

// ---- The emulated GPU --------------------------------------------------------------------------

TEST(EmulatedGpu, MemoryIsNanAtFirst) {
  const auto gpu = Gpu::emulated();
  const auto stream = gpu->new_stream();
  for (int round = 0; round < 2; ++round) {  // also when it is used again
    const DeviceBuffer buffer = stream->allocate(100 * sizeof(float));
    std::vector<float> values(100);
    stream->download(values.data(), buffer.data(), 400);
    for (const float value : values) EXPECT_TRUE(std::isnan(value));
    std::vector<Half> halves(200);
    stream->download(halves.data(), buffer.data(), 400);
    for (const Half half : halves) EXPECT_TRUE(std::isnan(to_float(half)));
    stream->fill_zero(buffer.data(), 400);
  }
}

TEST(EmulatedGpu, CopiesBothWays) {
  const auto gpu = Gpu::emulated();
  const auto stream = gpu->new_stream();
  std::vector<int> numbers(1000);
  std::iota(numbers.begin(), numbers.end(), 0);
  const DeviceBuffer first = gpu->upload(numbers.data(), 4000);
  const DeviceBuffer second = stream->allocate(4000);
  stream->copy(second.data(), first.data(), 4000);
  stream->fill_zero(second.data(), 4);
  const int seven = 7;
  stream->upload(second.data() + 4, &seven, 4);
  std::vector<int> result(1000);
  stream->download(result.data(), second.data(), 4000);
  stream->check();
  EXPECT_EQ(result[0], 0);
  EXPECT_EQ(result[1], 7);
  EXPECT_EQ(result[999], 999);
  stream->download(nullptr, second.data(), 0);
}

TEST(EmulatedGpu, RunsOutOfMemoryWithAdvice) {
  const auto gpu = Gpu::emulated(1, 1 << 20);
  const auto stream = gpu->new_stream();
  EXPECT_EQ(gpu->free_bytes(), size_t{1} << 20);
  DeviceBuffer half = stream->allocate(1 << 19);
  EXPECT_EQ(gpu->free_bytes(), size_t{1} << 19);
  EXPECT_ERROR(stream->allocate((1 << 19) + 1), kResource, "smaller batch");
  half = DeviceBuffer();
  EXPECT_EQ(gpu->free_bytes(), size_t{1} << 20);
  const DeviceBuffer all = stream->allocate(1 << 20);
  EXPECT_EQ(all.bytes(), size_t{1} << 20);
}

TEST(EmulatedGpu, StreamsGiveTheirMemoryBack) {
  const auto gpu = Gpu::emulated();
  {
    const auto stream = gpu->new_stream();
    stream->allocate(1 << 16);
    EXPECT_EQ(gpu->allocator().kept_bytes(), size_t{1} << 16);
  }
  EXPECT_EQ(gpu->allocator().kept_bytes(), 0u);
}

TEST(EmulatedGpu, BuffersOutliveTheirStream) {
  DeviceBuffer buffer;
  {
    const auto gpu = Gpu::emulated();
    buffer = gpu->new_stream()->allocate(1000);
  }
  DeviceBuffer moved = std::move(buffer);
  EXPECT_EQ(buffer.data(), nullptr);
  EXPECT_NE(moved.data(), nullptr);
}

// ---- Numbers of 16 bits ------------------------------------------------------------------------

TEST(HalfNumbers, EveryCodeIsTheNumberTheEngineTakesItFor) {
  for (uint32_t code = 0; code < 65536; ++code) {
    const auto bits = static_cast<uint16_t>(code);
    const float expected = half_to_float(bits);
    const float actual = to_float(Half{bits});
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(actual)) << code;
      EXPECT_TRUE(std::isnan(to_float(to_half(actual)))) << code;
    } else {
      ASSERT_EQ(bits_of(actual), bits_of(expected)) << code;
      ASSERT_EQ(to_half(actual).bits, bits) << code;
    }
  }
}

/// Floats at, just below and just above the middle between two neighbouring codes.
template <class ToFloat, class Check>
void around_ties(uint32_t infinity, ToFloat to_number, Check check) {
  for (uint32_t code = 0; code < infinity; ++code) {
    const float low = to_number(static_cast<uint16_t>(code));
    const float high = to_number(static_cast<uint16_t>(code + 1));
    // Beyond the largest number the next step would be as long as the last one.
    const double next =
        std::isinf(high) ? 2.0 * low - to_number(static_cast<uint16_t>(code - 1)) : high;
    const auto middle = static_cast<float>((static_cast<double>(low) + next) / 2);
    for (const float value : {low, std::nextafter(middle, 0.0f), middle,
                              std::nextafter(middle, std::numeric_limits<float>::infinity())}) {
      check(value);
      check(-value);
    }
  }
}

TEST(HalfNumbers, RoundToNearestEven) {
  around_ties(0x7C00, half_to_float,
              [](float value) { ASSERT_EQ(to_half(value).bits, float_to_half(value)) << value; });
  for (const float value :
       {65519.99f, 65520.0f, 1e10f, 1e-10f, 2.98e-8f, 2.99e-8f, 0x1p-25f, 0x1.000002p-25f,
        0x1.ffcp-15f, 0x1.ffep-15f, 0x1.fffp-15f, std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::denorm_min()}) {
    EXPECT_EQ(to_half(value).bits, float_to_half(value)) << value;
    EXPECT_EQ(to_half(-value).bits, float_to_half(-value)) << value;
  }
}

TEST(BFloat16Numbers, RoundToNearestEven) {
  const auto number = [](uint16_t bits) { return to_float(BFloat16{bits}); };
  for (uint32_t code = 0; code < 65536; ++code) {
    const auto bits = static_cast<uint16_t>(code);
    const float value = number(bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(number(to_bfloat16(value).bits))) << code;
    } else {
      ASSERT_EQ(to_bfloat16(value).bits, bits);
    }
  }
  around_ties(0x7F80, number, [&](float value) {
    const uint16_t bits = to_bfloat16(value).bits;
    const double wide = value;
    uint16_t expected = 0;
    from_double(DType::kBFloat16, &wide, &expected, 1);
    ASSERT_EQ(bits, expected) << value;
  });
}

// ---- Launches ----------------------------------------------------------------------------------

struct AddOne {
  int* counts;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const { ++counts[i]; }
};

TEST(Launches, ForEachVisitsEveryIndexOnce) {
  for (const int threads : {1, 3}) {
    const auto stream = Gpu::emulated(threads)->new_stream();
    for (const int64_t count : {0, 1, 2, 255, 256, 257, 10000}) {
      std::vector<int> counts(static_cast<size_t>(count) + 1, 0);
      for_each(*stream, count, AddOne{counts.data()});
      EXPECT_EQ(std::count(counts.begin(), counts.end() - 1, 1), count);
      EXPECT_EQ(counts.back(), 0);
    }
    for_each(*stream, -1, AddOne{nullptr});
  }
}

struct Plus {
  template <class T>
  CAMLUCIDA_PORTABLE T operator()(T a, T b) const {
    return a + b;
  }
};
struct Least {
  CAMLUCIDA_PORTABLE int64_t operator()(int64_t a, int64_t b) const { return b < a ? b : a; }
};

/// Two reductions one after the other, and a pass that reads what they found.
struct RowStatistics {
  const int64_t* x;  // [rows, count]
  int64_t* sums;
  int64_t* least;
  int64_t* shifted;  // x - least
  float* averages;
  int64_t count;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    const int64_t* from = x + row * count;
    sums[row] = group.reduce(
        count, int64_t{0}, [&](int64_t i) { return from[i]; }, Plus{});
    const int64_t lowest = group.reduce(
        count, INT64_MAX, [&](int64_t i) { return from[i]; }, Least{});
    least[row] = lowest;
    group.each(count, [&](int64_t i) { shifted[row * count + i] = from[i] - lowest; });
    averages[row] =
        group.reduce(
            count, 0.0f, [&](int64_t i) { return static_cast<float>(from[i]); }, Plus{}) /
        static_cast<float>(count);
  }
};

TEST(Launches, GroupsReduceLikePlainLoops) {
  for (const int64_t count : {1, 2, 255, 256, 257, 1000, 2049}) {
    const int64_t rows = 7;
    std::vector<int64_t> x(static_cast<size_t>(rows * count));
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<int64_t>(i * 2654435761u % 1000) - 300;
    }
    std::vector<float> first;
    for (const int threads : {1, 3}) {
      const auto stream = Gpu::emulated(threads)->new_stream();
      std::vector<int64_t> sums(7), least(7), shifted(x.size());
      std::vector<float> averages(7);
      for_each_group(*stream, rows,
                     RowStatistics{x.data(), sums.data(), least.data(), shifted.data(),
                                   averages.data(), count});
      for (int64_t row = 0; row < rows; ++row) {
        const auto begin = x.begin() + row * count;
        const auto at = static_cast<size_t>(row);
        const int64_t sum = std::accumulate(begin, begin + count, int64_t{0});
        EXPECT_EQ(sums[at], sum);
        EXPECT_EQ(least[at], *std::min_element(begin, begin + count));
        EXPECT_NEAR(averages[at], static_cast<double>(sum) / static_cast<double>(count), 1e-3);
        for (int64_t i = 0; i < count; ++i) {
          ASSERT_EQ(shifted[static_cast<size_t>(row * count + i)], begin[i] - least[at]);
        }
      }
      if (threads == 1) first = averages;
      EXPECT_EQ(averages, first) << "another order of sums";
    }
  }
}

struct SumOfNothing {
  int64_t* result;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    result[row] = group.reduce(
        0, int64_t{42}, [](int64_t i) { return i; }, Least{});
  }
};

TEST(Launches, ReducingNothingGivesTheIdentity) {
  const auto stream = Gpu::emulated()->new_stream();
  int64_t result = 0;
  for_each_group(*stream, 1, SumOfNothing{&result});
  EXPECT_EQ(result, 42);
  for_each_group(*stream, 0, SumOfNothing{nullptr});
}

}  // namespace
}  // namespace camlucida
