#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "engine/cpu/thread_pool.h"
#include "engine/plan.h"

namespace camlucida {

/// A run of a Plan: one arena on one device. All tensors that cross this border are plain row-major
/// (NCHW) float32, whatever layout the plan uses inside, and are copies: they stay valid.
///
/// One thread at a time; make as many Sessions of one Plan as there are threads.
class Session {
 public:
  /// `pool` runs the kernels; without one the session makes its own with `threads` threads.
  explicit Session(std::shared_ptr<const Plan> plan, int threads = 1);
  Session(std::shared_ptr<const Plan> plan, std::shared_ptr<ThreadPool> pool);
  ~Session();

  const Plan& plan() const { return *plan_; }

  /// Runs the network on the only input, or on inputs by name. Throws Error(kInput) if a shape or
  /// type differs from what the plan was made for.
  void forward(const Tensor& input);
  void forward(const std::map<std::string, Tensor>& inputs);

  /// A planned output; empty name = the first.
  Tensor output(const std::string& name = "") const;
  /// A tap, gradient target, output, or (Plan retained all) any computed value.
  /// Throws Error(kUsage) if the plan did not keep it.
  Tensor activation(const std::string& name) const;

  /// Carries `seed` = d(score)/d(score tensor) back from Needs::score to Needs::gradient_to.
  /// With S seeds per image and batch N the seed is [S*N, ...], seed-major: row s*N + n is seed s
  /// of image n. Needs a forward() before.
  void backward(const Tensor& seed);
  /// d(score)/d(value) after backward(): [S*N, ...], seed-major like the seed.
  Tensor gradient(const std::string& name) const;

  /// Runs only what lies after Needs::replay_from on `batch` variants of that tap
  /// ([replay_batch, C, h, w]; fewer rows are allowed) and returns the score tensor for each.
  /// Values the tail reads from before the tap are those of image `image` of the last forward().
  Tensor replay(const Tensor& batch, int image = 0);

  /// Called after every step with its index in forward_steps() / backward_steps() and the
  /// nanoseconds it took; for `bench --layers`. Empty = off.
  using StepTimer = std::function<void(bool backward, int step, double nanoseconds)>;
  void set_step_timer(StepTimer timer) { timer_ = std::move(timer); }

 private:
  void run(const Plan::Step& step, int repeat);
  std::byte* address(Plan::BufferId buffer) const;
  void store(Plan::BufferId buffer, const Tensor& tensor);
  Tensor load(Plan::BufferId buffer, int repeat) const;

  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<ThreadPool> pool_;
  std::unique_ptr<std::byte, void (*)(std::byte*)> arena_;
  std::unique_ptr<Session> replay_;
  StepTimer timer_;
  bool ran_forward_ = false;
  bool ran_backward_ = false;
};

}  // namespace camlucida
