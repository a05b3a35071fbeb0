#include "engine/cuda/gpu_kernel.h"
#include "engine/cuda/pack.h"
#include "layers/shape/fields.h"
#include "layers/shape/rearrange_gpu.h"

/// Compress (a rearrangement, since its condition is constant) and TopK on a GPU.
namespace camlucida {
namespace {

using shape::Operands;
using shape::Rearrangement;

// ---- Compress ----------------------------------------------------------------------------------

std::vector<Rearrangement> arrange_compress(const Operands& node) {
  const Shape& x = node.shape(0);
  const bool flat = shape::flag(node.attributes(), "flat");
  Rearrangement map = Rearrangement::identity(flat ? Shape{x.count()} : x);
  const int axis =
      flat ? 0 : normalise_axis(shape::field<int64_t>(node.attributes(), "axis"), x.rank());
  Rearrangement::Axis& kept = map.axes[static_cast<size_t>(axis)];
  const std::vector<int64_t> keep = node.ints(1, "what a compression keeps");
  const int64_t usable = std::min<int64_t>(kept.count, static_cast<int64_t>(keep.size()));
  for (int64_t i = 0; i < usable; ++i) {
    if (keep[static_cast<size_t>(i)] != 0) kept.table.push_back(i);
  }
  kept.count = static_cast<int64_t>(kept.table.size());
  map.shape_result();
  return {map};
}

// ---- TopK --------------------------------------------------------------------------------------

/// Lines of `extent` values, of which the best `k` are picked in order; equal ones in the order of
/// their index, NaN above all numbers.
struct Contest {
  const float* x;
  int64_t extent;
  int64_t k;
  Divider inner;
  bool largest;

  CAMLUCIDA_PORTABLE int64_t start(int64_t line, int64_t length) const {
    const int64_t column = inner.split(line);
    return line * length * inner.divisor + column;
  }
  /// Whether index a goes before index b, given their values.
  CAMLUCIDA_PORTABLE bool before(float left, int64_t a, float right, int64_t b) const {
    const bool left_nan = left != left;
    const bool right_nan = right != right;
    if (left_nan != right_nan) return left_nan == largest;
    if (!left_nan && left != right) return (left > right) == largest;
    return a < b;
  }
};

/// What happens to a picked element.
struct Prize {
  float* values;     // forward, [.., k, ..]
  int64_t* indices;  // forward; both may be null
  const float* dy;   // backward
  float* dx;

  CAMLUCIDA_PORTABLE void award(float value, int64_t index, int64_t to, int64_t from) const {
    if (dx != nullptr) dx[from] = dy[to];
    if (values != nullptr) values[to] = value;
    if (indices != nullptr) indices[to] = index;
  }
};

/// Every element counts those before it: extent^2 comparisons of a line, all at the same time.
struct RankAll {
  Contest contest;
  Prize prize;
  Divider extent;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    // Neighbouring threads take neighbouring lines, then neighbouring indices.
    int64_t rest = i;
    const int64_t column = contest.inner.split(rest);
    const int64_t own = extent.split(rest);
    const int64_t line = rest * contest.inner.divisor + column;
    const int64_t step = contest.inner.divisor;
    const int64_t start = contest.start(line, contest.extent);
    const float mine = contest.x[start + own * step];
    int64_t rank = 0;
    for (int64_t other = 0; other < contest.extent; ++other) {
      rank += contest.before(contest.x[start + other * step], other, mine, own) ? 1 : 0;
    }
    if (rank < contest.k) {
      const int64_t to = contest.start(line, contest.k) + rank * step;
      prize.award(mine, own, to, start + own * step);
    } else if (prize.dx != nullptr) {
      prize.dx[start + own * step] = 0.0f;
    }
  }
};

struct Candidate {
  float value;
  int64_t index;  // -1: none
};

struct Better {
  Contest contest;
  CAMLUCIDA_PORTABLE Candidate operator()(const Candidate& a, const Candidate& b) const {
    if (a.index < 0) return b;
    if (b.index < 0) return a;
    return contest.before(a.value, a.index, b.value, b.index) ? a : b;
  }
};

/// A group per line finds the best, then the best of those after it, k times.
struct PickInTurn {
  Contest contest;
  Prize prize;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t line) const {
    const int64_t step = contest.inner.divisor;
    const int64_t start = contest.start(line, contest.extent);
    const int64_t target = contest.start(line, contest.k);
    if (prize.dx != nullptr) {
      group.each(contest.extent, [&](int64_t i) { prize.dx[start + i * step] = 0.0f; });
      group.sync();
    }
    Candidate last{0.0f, -1};
    for (int64_t k = 0; k < contest.k; ++k) {
      const auto candidate = [&](int64_t i) {
        const float value = contest.x[start + i * step];
        const bool is_left = last.index < 0 || contest.before(last.value, last.index, value, i);
        return Candidate{value, is_left ? i : -1};
      };
      last = group.reduce(contest.extent, Candidate{0.0f, -1}, candidate, Better{contest});
      group.each(1, [&](int64_t) {
        prize.award(last.value, last.index, target + k * step, start + last.index * step);
      });
    }
  }
};

class TopKKernel final : public PreparedKernel {
 public:
  explicit TopKKernel(const KernelCase& c)
      : backward_(c.backward), has_indices_(c.outputs.size() > 1) {
    const Shape& x = c.in(0);
    const int axis = normalise_axis(shape::field<int64_t>(c.node.attributes, "axis"), x.rank());
    contest_.extent = x[axis];
    contest_.k = c.constant(1)->to_ints()[0];
    contest_.inner = Divider(std::max<int64_t>(x.count(axis + 1, x.rank()), 1));
    contest_.largest = shape::flag(c.node.attributes, "largest");
    lines_ = x.count(0, axis) * x.count(axis + 1, x.rank());
    const Tensor* data = c.constant(0);
    if (data != nullptr) data_ = c.gpu->upload(data->raw(), data->bytes());
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    constexpr int64_t kShort = 2048;
    Contest contest = contest_;
    contest.x = data_.data() != nullptr ? data_.as<const float>() : args.input(0);
    Prize prize{};
    if (backward_) {
      prize.dy = args.grad_output();
      prize.dx = args.grad_input(0);
    } else {
      prize.values = args.output(0);
      prize.indices = has_indices_ ? static_cast<int64_t*>(args.outputs[1]) : nullptr;
    }
    if (contest.extent <= kShort) {
      const Divider extent(std::max<int64_t>(contest.extent, 1));
      for_each(*args.stream, lines_ * contest.extent, RankAll{contest, prize, extent});
    } else {
      for_each_group(*args.stream, lines_, PickInTurn{contest, prize});
    }
  }

 private:
  Contest contest_{};
  int64_t lines_ = 0;
  bool backward_;
  bool has_indices_;
  DeviceBuffer data_;
};

std::vector<Offer> offers(const KernelCase& c) {
  if (c.constant(1) == nullptr) return {Offer::no("the number to pick is computed at run time")};
  if (c.inputs[0].desc.dtype != DType::kFloat32) return {Offer::no("only float32")};
  Offer offer{.possible = true};
  offer.cost_ns = cost::gpu_pass(2 * c.inputs[0].desc.bytes());
  return {offer};
}

}  // namespace

void register_select_cuda(Registry& registry) {
  shape::add_gpu_pick_kernels(registry, "compress", "Compress", arrange_compress);
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "top_k_gradient_gpu" : "top_k_gpu",
                           .layers = {"TopK"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer&) {
                             return std::make_unique<TopKKernel>(c);
                           }});
  }
}

}  // namespace camlucida
