#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

/// Work on many inputs at once, with results in the order of the inputs: reading ahead on threads
/// of their own, and writing behind.
namespace camlucida::cli {

/// Numbers 0, 1, ... of which several may be in work beyond the one that was last taken.
class ReadWindow {
 public:
  ReadWindow(size_t count, size_t ahead) : count_(count), ahead_(ahead) {}

  /// Waits for the next number that may be worked on; nothing if none is left or stop() was called.
  std::optional<size_t> claim();
  /// A number was worked on.
  void done();
  /// Waits until `ready` holds, which is asked under the lock that done() takes.
  void wait(const std::function<bool()>& ready);
  /// One more was taken by the consumer.
  void taken();
  void look_ahead(size_t ahead);
  void stop();
  std::mutex& mutex() { return mutex_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t count_, ahead_;
  size_t next_ = 0;
  size_t taken_ = 0;
  bool stopped_ = false;
};

/// Makes the items 0 ... count - 1 on `threads` threads, at most `ahead` of them beyond the last
/// that was taken, and hands them out in order. Without threads take() makes them itself.
///
/// `make` is called from several threads at once. The destructor waits for the calls that run, not
/// for the items that nobody began.
template <class Item>
class ReadAhead {
 public:
  ReadAhead(size_t count, size_t ahead, int threads, std::function<Item(size_t)> make)
      : make_(std::move(make)), window_(count, ahead) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~ReadAhead() {
    window_.stop();
    for (std::thread& thread : threads_) thread.join();
  }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  /// Changes how many may be made beyond the last that was taken.
  void look_ahead(size_t ahead) { window_.look_ahead(ahead); }

  /// The next item; waits for it. Throws what making it threw, and goes on with the one after it.
  Item take() {
    const size_t index = next_++;
    if (threads_.empty()) return make_(index);
    window_.wait([&] { return made_.count(index) > 0; });
    Made made = pick(index);
    window_.taken();
    if (made.failure) std::rethrow_exception(made.failure);
    return std::move(*made.item);
  }

 private:
  struct Made {
    std::optional<Item> item;
    std::exception_ptr failure;
  };

  void work() {
    while (const std::optional<size_t> index = window_.claim()) {
      Made made;
      try {
        made.item.emplace(make_(*index));
      } catch (...) {
        made.failure = std::current_exception();
      }
      {
        const std::lock_guard lock(window_.mutex());
        made_.emplace(*index, std::move(made));
      }
      window_.done();
    }
  }

  Made pick(size_t index) {
    const std::lock_guard lock(window_.mutex());
    return std::move(made_.extract(index).mapped());
  }

  std::function<Item(size_t)> make_;
  ReadWindow window_;
  std::map<size_t, Made> made_;  // by number, guarded by the window's mutex
  size_t next_ = 0;
  std::vector<std::thread> threads_;
};

/// Runs tasks one after the other on a thread of its own.
class TaskQueue {
 public:
  /// At most `waiting` tasks stand in line.
  explicit TaskQueue(size_t waiting);
  /// Drops the tasks that have not begun, and whatever failed.
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  /// Waits while the line is full. Throws what an earlier task threw; tasks behind that one are
  /// not run.
  void add(std::function<void()> task);
  /// Waits until all tasks have run. Throws what one of them threw.
  void finish();

 private:
  void work();
  void rethrow();

  size_t waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool running_ = false;  // a task has begun and not ended
  bool stopped_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace camlucida::cli
