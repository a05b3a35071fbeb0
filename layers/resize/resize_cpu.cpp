/// Resize of the last two axes in plain layout, any mode. A row of the result is a blend of input
/// rows (contiguous, vectorised by the compiler) whose pixels are then blended by table.
#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/resize/resize.h"

namespace camlucida {
namespace {

constexpr int64_t kMaxWidth = 8192;  ///< input pixels per row; one row lives on the stack

/// A ResizeAxis with the weights as kernels read them.
struct Table {
  explicit Table(const ResizeAxis& axis)
      : input(axis.input),
        output(axis.output),
        first(axis.first),
        index(axis.index),
        weight(axis.weight.begin(), axis.weight.end()) {}
  int64_t input, output;
  std::vector<int64_t> first, index;
  std::vector<float> weight;
};

struct Tables {
  int64_t planes;
  Table rows;
  Table columns;
};

/// y[o] = sum of weight * x[index] over the taps of o.
void gather(const Table& t, const float* x, float* y) {
  const int64_t* index = t.index.data();
  const float* weight = t.weight.data();
  for (int64_t o = 0, tap = 0; o < t.output; ++o) {
    float sum = 0;
    for (const int64_t end = t.first[static_cast<size_t>(o) + 1]; tap < end; ++tap) {
      sum += weight[tap] * x[index[tap]];
    }
    y[o] = sum;
  }
}

/// x[index] += weight * y[o] over the taps of all o.
void scatter(const Table& t, const float* y, float* x) {
  const int64_t* index = t.index.data();
  const float* weight = t.weight.data();
  for (int64_t o = 0, tap = 0; o < t.output; ++o) {
    for (const int64_t end = t.first[static_cast<size_t>(o) + 1]; tap < end; ++tap) {
      x[index[tap]] += weight[tap] * y[o];
    }
  }
}

class ResizeForward final : public PreparedKernel {
 public:
  explicit ResizeForward(Tables tables) : t_(std::move(tables)) {}
  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const int64_t width = t_.columns.input;
    pool.run(t_.planes * t_.rows.output, [&](int64_t begin, int64_t end, int) {
      float blend[kMaxWidth];
      for (int64_t r = begin; r < end; ++r) {
        const float* plane = args.input(0) + r / t_.rows.output * t_.rows.input * width;
        const auto o = static_cast<size_t>(r % t_.rows.output);
        std::fill_n(blend, width, 0.0f);
        for (auto tap = static_cast<size_t>(t_.rows.first[o]);
             tap < static_cast<size_t>(t_.rows.first[o + 1]); ++tap) {
          const float* row = plane + t_.rows.index[tap] * width;
          const float weight = t_.rows.weight[tap];
          for (int64_t i = 0; i < width; ++i) blend[i] += weight * row[i];
        }
        gather(t_.columns, blend, args.output() + r * t_.columns.output);
      }
    });
  }

 private:
  Tables t_;
};

/// The adjoint, plane by plane: each row of dy is spread to the width of x, then to its rows.
class ResizeBackward final : public PreparedKernel {
 public:
  explicit ResizeBackward(Tables tables) : t_(std::move(tables)) {}
  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const int64_t width = t_.columns.input;
    const int64_t size = t_.rows.input * width;
    pool.run(t_.planes, [&](int64_t begin, int64_t end, int) {
      float spread[kMaxWidth];
      for (int64_t p = begin; p < end; ++p) {
        float* plane = args.grad_input() + p * size;
        std::fill_n(plane, size, 0.0f);
        for (int64_t o = 0; o < t_.rows.output; ++o) {
          std::fill_n(spread, width, 0.0f);
          scatter(t_.columns, args.grad_output() + (p * t_.rows.output + o) * t_.columns.output,
                  spread);
          for (auto tap = static_cast<size_t>(t_.rows.first[static_cast<size_t>(o)]);
               tap < static_cast<size_t>(t_.rows.first[static_cast<size_t>(o) + 1]); ++tap) {
            float* row = plane + t_.rows.index[tap] * width;
            const float weight = t_.rows.weight[tap];
            for (int64_t i = 0; i < width; ++i) row[i] += weight * spread[i];
          }
        }
      }
    });
  }

 private:
  Tables t_;
};

std::vector<ResizeAxis> axes_of(const KernelCase& c) {
  Graph::ContextStorage storage;
  return resize_axes(c.context(storage));
}

std::vector<Offer> offers(const KernelCase& c) {
  const Shape& x = c.in(0);
  if (c.inputs[0].desc.dtype != DType::kFloat32) return {Offer::no("not float32")};
  if (!c.node.epilogues.empty()) return {Offer::no("applies no epilogues")};
  if (x.rank() < 2 || x[x.rank() - 1] > kMaxWidth) return {Offer::no("no rows, or too wide ones")};
  const std::vector<ResizeAxis> axes = axes_of(c);
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    if (axis + 2 < axes.size() && !axes[axis].is_identity()) {
      return {Offer::no("resizes other axes than the last two")};
    }
    if (axes[axis].has_outside()) return {Offer::no("extrapolates")};
  }
  const auto taps = static_cast<int64_t>(axes.back().index.size());
  const int64_t rows = c.out(0).count() / axes.back().output;
  Offer offer{.possible = true};
  offer.cost_ns = cost::kStepNs + static_cast<double>(rows * taps) / 1.5 +
                  cost::bytes(c.inputs[0].desc.bytes() + c.outputs[0].desc.bytes());
  return {offer};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& c, const Offer&) {
  const std::vector<ResizeAxis> axes = axes_of(c);
  const Shape& x = c.in(0);
  Tables tables{x.count(0, x.rank() - 2), Table(axes[axes.size() - 2]), Table(axes.back())};
  if (c.backward) return std::make_unique<ResizeBackward>(std::move(tables));
  return std::make_unique<ResizeForward>(std::move(tables));
}

}  // namespace

void register_resize_cpu(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{
        .name = backward ? "resize_rows_gradient" : "resize_rows",
        .layers = {"Resize"},
        .backward = backward,
        .offer = offers,
        .prepare = prepare,
    });
  }
}

}  // namespace camlucida
