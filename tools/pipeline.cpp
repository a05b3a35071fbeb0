#include "tools/pipeline.h"

namespace camlucida::cli {

std::optional<size_t> ReadWindow::claim() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopped_ || next_ >= count_ || next_ < taken_ + ahead_; });
  if (stopped_ || next_ >= count_) return std::nullopt;
  return next_++;
}

void ReadWindow::done() { changed_.notify_all(); }

void ReadWindow::wait(const std::function<bool()>& ready) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, ready);
}

void ReadWindow::taken() {
  {
    const std::lock_guard lock(mutex_);
    ++taken_;
  }
  changed_.notify_all();
}

void ReadWindow::look_ahead(size_t ahead) {
  {
    const std::lock_guard lock(mutex_);
    ahead_ = ahead;
  }
  changed_.notify_all();
}

void ReadWindow::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

TaskQueue::TaskQueue(size_t waiting) : waiting_(waiting), thread_([this] { work(); }) {}

TaskQueue::~TaskQueue() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void TaskQueue::add(std::function<void()> task) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_ || tasks_.size() < waiting_; });
    rethrow();
    tasks_.push_back(std::move(task));
  }
  changed_.notify_all();
}

void TaskQueue::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || (tasks_.empty() && !running_); });
  rethrow();
}

void TaskQueue::rethrow() {
  if (failure_) std::rethrow_exception(failure_);
}

void TaskQueue::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopped_ || failure_ || !tasks_.empty(); });
    if (stopped_ || failure_) return;
    {
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      running_ = true;
      lock.unlock();
      std::exception_ptr failure;
      try {
        task();
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      running_ = false;
      failure_ = failure;
    }
    changed_.notify_all();
  }
}

}  // namespace camlucida::cli
