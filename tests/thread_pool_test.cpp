#include "engine/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

namespace camlucida {
namespace {

TEST(ThreadPool, RangesTileTheWork) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t count : {0, 1, 2, 5, 6, 7, 100}) {
      std::vector<int> visits(static_cast<size_t>(count), 0);
      pool.run(count, [&](int64_t begin, int64_t end, int worker) {
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      for (const int visited : visits) EXPECT_EQ(visited, 1) << threads << " threads, " << count;
    }
  }
}

/// Runs follow each other at once and after pauses in which the workers have gone to sleep; each
/// sees what the run before it wrote.
TEST(ThreadPool, RunsAreOrdered) {
  for (const int threads : {2, 5}) {
    ThreadPool pool(threads);
    std::vector<int64_t> values(64, 0);
    for (int round = 0; round < 3000; ++round) {
      pool.run(64, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const auto from = static_cast<size_t>(63 - i);
          if (round % 2 == 0) {
            values[static_cast<size_t>(i)] += round;
          } else if (from < 32) {
            values[static_cast<size_t>(i)] = values[from];
          }
        }
      });
      if (round % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    for (const int64_t value : values) EXPECT_EQ(value, values[0]);
  }
}

TEST(ThreadPool, SleepsWhenIdle) {
  ThreadPool pool(2);
  std::atomic<int> sum = 0;
  pool.run(2, [&](int64_t, int64_t, int) { ++sum; });
  EXPECT_EQ(sum, 2);
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double seconds = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 0.05) << "processor time while idle";
}

}  // namespace
}  // namespace camlucida
