#include "engine/reorder.h"

#include "engine/cpu/layout.h"
#include "engine/cpu/thread_pool.h"

namespace camlucida {
namespace {

class Reorder final : public PreparedKernel {
 public:
  Reorder(Shape shape, Layout to) : shape_(std::move(shape)), to_(to), block_(simd_block()) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const bool gradient = args.grad_inputs != nullptr;
    const float* from = gradient ? args.grad_output() : args.input(0);
    float* target = gradient ? args.grad_input() : args.output();
    if (to_ == Layout::kBlocked) {
      to_blocked(from, shape_, target, block_, pool);
    } else {
      to_plain(from, shape_, target, block_, pool);
    }
  }

 private:
  Shape shape_;
  Layout to_;
  int block_;
};

class GradientSum final : public PreparedKernel {
 public:
  explicit GradientSum(int64_t count) : count_(count) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const float* a = args.grad_output(0);
    const float* b = args.grad_output(1);
    float* total = args.grad_input(0);
    pool.run(count_, [=](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) total[i] = a[i] + b[i];
    });
  }

 private:
  int64_t count_;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_reorder(const Shape& shape, Layout, Layout to) {
  return std::make_unique<Reorder>(shape, to);
}

std::unique_ptr<PreparedKernel> prepare_gradient_sum(int64_t count) {
  return std::make_unique<GradientSum>(count);
}

}  // namespace camlucida
