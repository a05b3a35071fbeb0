#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/cpu/thread_pool.h"
#include "engine/plan.h"

namespace camlucida {

class Executor;

/// A run of a Plan: one arena on one device. Tensors that cross this border are plain row-major
/// (NCHW), whatever layout the plan uses inside, and are copies: they stay valid. Images,
/// activations and gradients are float32; integer values keep their type.
///
/// One thread at a time; make as many Sessions of one Plan as there are threads. After
/// construction, forward() and backward() take no memory but what reference kernels need.
///
/// On a GPU forward(), backward() and replay() return when the work is sent, not when it is done;
/// what they take may lie on the GPU already, and the tensors that come out lie there (Tensor
/// fetches their data when it is read). Making a Session throws Error(kResource) where the GPU has
/// no memory for the arena; a failure of the GPU shows as Error(kInternal) at the next call.
class Session {
 public:
  /// Makes its own pool of `threads` threads, the caller included (0 = all cores).
  explicit Session(std::shared_ptr<const Plan> plan, int threads = 1);
  /// Runs on a pool shared with Sessions that take turns with this one.
  Session(std::shared_ptr<const Plan> plan, std::shared_ptr<ThreadPool> pool);
  ~Session();

  /// Where a GPU session sends its work; null on the processor.
  std::shared_ptr<Stream> stream() const;

  const Plan& plan() const { return *plan_; }

  /// Runs the network on the only input, or on inputs by name. Throws Error(kInput) if a name,
  /// shape or type differs from what the plan was made for.
  void forward(const Tensor& input);
  void forward(const std::map<std::string, Tensor>& inputs);

  /// A planned output; empty name = the first.
  Tensor output(const std::string& name = "") const;
  /// A tap, gradient target, output or (if the plan retained all) any computed value.
  /// Throws Error(kUsage) if the plan did not keep it.
  Tensor activation(const std::string& name) const;
  /// The same into a tensor of the caller's, of the value's type and shape, without taking memory.
  /// On a GPU `to` lies there, and nothing has read it on the host yet: Tensor keeps what it has
  /// fetched. Throws Error(kUsage) for another type, shape or place, and for a constant.
  void copy_activation(const std::string& name, Tensor& to) const;

  /// Carries `seed`, the derivative of a score with respect to the score tensor, back from
  /// Needs::score to Needs::gradient_to. With S seeds per image and batch N the seed is
  /// [S*N, ...], seed-major: row s*N + n is seed s of image n. May be called again with other
  /// seeds after one forward().
  void backward(const Tensor& seed);
  /// Derivative of the score with respect to that value: [S*N, ...], seed-major like the seed.
  Tensor gradient(const std::string& name) const;
  /// The same into a tensor of the caller's, as copy_activation().
  void copy_gradient(const std::string& name, Tensor& to) const;

  /// Runs only what lies after Needs::replay_from, on up to replay_batch variants of that tap
  /// ([rows, C, h, w]), and returns the score tensor of each ([rows, ...]). What the tail reads
  /// from beside the tap is taken from image `image` of the last forward().
  Tensor replay(const Tensor& variants, int image = 0);

  /// Whether forward(), backward(), copy_activation() and copy_gradient(), with tensors that lie on
  /// the GPU, only send work to stream(), so that a caller may record them as part of something
  /// larger (Stream::capture) once they have run. False on the processor, while steps are timed and
  /// where a step of the plan runs on the host.
  bool is_capturable() const;

  /// Called after every step with its index in forward_steps() or backward_steps() and the time it
  /// took. Empty = off.
  using StepTimer = std::function<void(bool backward, int step, double nanoseconds)>;
  void set_step_timer(StepTimer timer) { timer_ = std::move(timer); }

 private:
  void write(const Plan::Location& location, const Tensor& tensor);
  void run_forward();
  ValueId kept_value(const std::string& name) const;
  const Plan::Location& activation_place(const std::string& name) const;
  const Plan::Location& gradient_place(const std::string& name) const;
  void check_receiver(const Tensor& to, const TensorDesc& desc, const std::string& name) const;

  std::shared_ptr<const Plan> plan_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Session> replay_;
  StepTimer timer_;
  bool ran_forward_ = false;
  bool ran_backward_ = false;
};

}  // namespace camlucida
