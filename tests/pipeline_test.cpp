#include "tools/pipeline.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>

/// Reading ahead and writing behind: order, bounds, failures where they belong, an early end.
namespace camlucida::cli {
namespace {

void nap(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

TEST(ReadAhead, KeepsTheOrderForAnyNumberOfThreads) {
  for (int threads : {0, 1, 5}) {
    ReadAhead<int> reader(40, 7, threads, [](size_t i) {
      nap(i % 3 == 0 ? 3 : 0);
      return static_cast<int>(i) * 2;
    });
    for (int i = 0; i < 40; ++i) EXPECT_EQ(reader.take(), 2 * i) << threads;
  }
}

TEST(ReadAhead, ThrowsWhereTheItemIs) {
  for (int threads : {0, 3}) {
    ReadAhead<std::string> reader(6, 4, threads, [](size_t i) {
      if (i % 2 == 1) throw std::runtime_error(std::to_string(i));
      return std::to_string(i);
    });
    for (int i = 0; i < 6; ++i) {
      try {
        EXPECT_EQ(reader.take(), std::to_string(i));
        EXPECT_EQ(i % 2, 0);
      } catch (const std::runtime_error& error) {
        EXPECT_EQ(error.what(), std::to_string(i));
        EXPECT_EQ(i % 2, 1);
      }
    }
  }
}

TEST(ReadAhead, RunsAheadThisFarAndNoFurther) {
  std::atomic<int> made = 0;
  ReadAhead<int> reader(100, 4, 2, [&](size_t i) {
    ++made;
    return static_cast<int>(i);
  });
  for (int wait = 0; wait < 500 && made < 4; ++wait) nap(2);
  nap(20);
  EXPECT_EQ(made, 4);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(reader.take(), i);
  for (int wait = 0; wait < 500 && made < 14; ++wait) nap(2);
  nap(20);
  EXPECT_EQ(made, 14);
  reader.look_ahead(20);
  for (int wait = 0; wait < 500 && made < 30; ++wait) nap(2);
  nap(20);
  EXPECT_EQ(made, 30);
}

TEST(ReadAhead, EndsEarlyWithoutMakingTheRest) {
  std::atomic<int> made = 0;
  {
    ReadAhead<int> reader(1000000, 1000000, 2, [&](size_t) {
      nap(1);
      return ++made;
    });
    reader.take();
  }
  EXPECT_LT(made, 10000);
}

TEST(TaskQueue, RunsInOrderAndWaits) {
  std::vector<int> order;
  TaskQueue queue(2);
  for (int i = 0; i < 20; ++i) {
    queue.add([&order, i] {
      nap(i % 4 == 0 ? 2 : 0);
      order.push_back(i);
    });
  }
  queue.finish();
  ASSERT_EQ(order.size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(TaskQueue, AFailureComesOutAndStopsTheRest) {
  std::atomic<int> ran = 0;
  TaskQueue queue(1);
  queue.add([&] { ++ran; });
  queue.add([] { throw std::runtime_error("disk full"); });
  EXPECT_THROW(
      {
        for (int i = 0; i < 100; ++i) queue.add([&] { ++ran; });
        queue.finish();
      },
      std::runtime_error);
  EXPECT_EQ(ran, 1);
  EXPECT_THROW(queue.finish(), std::runtime_error);
}

}  // namespace
}  // namespace camlucida::cli
