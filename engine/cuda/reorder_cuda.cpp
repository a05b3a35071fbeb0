#include "engine/cuda/reorder.h"

#include <algorithm>

#include "engine/cuda/launch.h"
#include "engine/cuda/tiles.h"

namespace camlucida {
namespace {

// ---- Same order, other type --------------------------------------------------------------------

/// to[i] = from[i], kWidth elements per call.
template <class From, class To, int kWidth>
struct Convert {
  const From* from;  // [count]
  To* to;            // [count]
  int64_t count;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const int64_t start = call * kWidth;
    if (start + kWidth > count) {
      for (int64_t i = start; i < count; ++i) to[i] = stored<To>(to_float(from[i]));
      return;
    }
    const auto in = load_pack<kWidth>(from + start);
    Pack<To, kWidth> out;
    for (int k = 0; k < kWidth; ++k) out.at[k] = stored<To>(to_float(in.at[k]));
    store_pack(to + start, out);
  }
};

template <class From, class To>
void convert(Stream& stream, const From* from, To* to, int64_t count) {
  constexpr int kWidth = std::min(kPackWidth<From>, kPackWidth<To>);
  if (is_aligned(from) && is_aligned(to)) {
    for_each(stream, (count + kWidth - 1) / kWidth, Convert<From, To, kWidth>{from, to, count});
  } else {
    for_each(stream, count, Convert<From, To, 1>{from, to, count});
  }
}

// ---- [N, C, P] <-> [N, P, C] -------------------------------------------------------------------

/// Plain float32 to channels-last T. The rows of the tiles are pixels, the columns channels.
template <class T>
struct Interleave {
  static constexpr int kChannels = kPackWidth<T>;
  const float* from;  // [N, C, P]
  T* to;              // [N, P, C]
  Tiles tiles;
  bool packed;  // the channels of a call lie aligned to a pack

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const Tiles::Place at = tiles.place(call);
    const int64_t plain = (at.matrix * tiles.columns + at.column) * tiles.rows + at.row;
    const int64_t channels_last = (at.matrix * tiles.rows + at.row) * tiles.columns + at.column;
    if (packed && at.count == kChannels) {
      float values[kChannels];  // all read before the first is converted
      for (int k = 0; k < kChannels; ++k) values[k] = from[plain + k * tiles.rows];
      Pack<T, kChannels> pack;
      for (int k = 0; k < kChannels; ++k) pack.at[k] = stored<T>(values[k]);
      store_pack(to + channels_last, pack);
      return;
    }
    for (int k = 0; k < kChannels; ++k) {
      if (k < at.count) to[channels_last + k] = stored<T>(from[plain + k * tiles.rows]);
    }
  }
};

/// Channels-last T to plain float32.
template <class T>
struct Separate {
  static constexpr int kChannels = kPackWidth<T>;
  const T* from;  // [N, P, C]
  float* to;      // [N, C, P]
  Tiles tiles;
  bool packed;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const Tiles::Place at = tiles.place(call);
    const int64_t plain = (at.matrix * tiles.columns + at.column) * tiles.rows + at.row;
    const int64_t channels_last = (at.matrix * tiles.rows + at.row) * tiles.columns + at.column;
    if (packed && at.count == kChannels) {
      const auto pack = load_pack<kChannels>(from + channels_last);
      for (int k = 0; k < kChannels; ++k) to[plain + k * tiles.rows] = to_float(pack.at[k]);
      return;
    }
    for (int k = 0; k < kChannels; ++k) {
      if (k < at.count) to[plain + k * tiles.rows] = to_float(from[channels_last + k]);
    }
  }
};

// ---- Any other order ---------------------------------------------------------------------------

struct ReadView {
  View from;
  float* to;  // [count]
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const { to[i] = from.read(from.offset(i)); }
};

struct WriteView {
  const float* from;  // [count]
  View to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const { to.write(to.offset(i), from[i]); }
};

/// Elements of any type of the size of Bits.
template <class Bits>
struct CopyView {
  View from;
  View to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    static_cast<Bits*>(to.data)[to.offset(i)] = static_cast<const Bits*>(from.data)[from.offset(i)];
  }
};

// ---- Which of them -----------------------------------------------------------------------------

enum class Order { kPlain, kChannelsLast, kOther };

/// How a view lies; kPlain if it is both. [N, C, P] are its extents with P = all but the first two.
struct Lie {
  Order order = Order::kOther;
  int64_t n = 1, c = 1, p = 1;

  explicit Lie(const View& view) {
    if (view.rank > 0) n = view.extent[0];
    if (view.rank > 1) c = view.extent[1];
    for (int axis = 2; axis < view.rank; ++axis) p *= view.extent[axis];
    bool plain = true;
    bool channels_last = view.rank >= 3;
    const auto expect = [&](bool& still, int axis, int64_t& stride) {
      if (view.extent[axis] != 1 && view.stride[axis] != stride) still = false;
      stride *= view.extent[axis];
    };
    int64_t stride = 1;
    for (int axis = view.rank - 1; axis >= 0; --axis) expect(plain, axis, stride);
    stride = 1;
    if (view.rank >= 3) {
      expect(channels_last, 1, stride);
      for (int axis = view.rank - 1; axis >= 0; --axis) {
        if (axis != 1) expect(channels_last, axis, stride);
      }
    }
    if (channels_last) order = Order::kChannelsLast;
    if (plain) order = Order::kPlain;
  }
};

template <class T>
void separate(Stream& stream, const View& view, float* to) {
  const Lie lie(view);
  const T* from = static_cast<const T*>(view.data);
  if (lie.order == Order::kPlain) {
    convert(stream, from, to, view.count());
    return;
  }
  const Tiles tiles(lie.n, lie.p, lie.c, kPackWidth<T>);
  const bool packed = is_aligned(from) && lie.c % kPackWidth<T> == 0;
  for_each(stream, tiles.calls, Separate<T>{from, to, tiles, packed});
}

template <class T>
void interleave(Stream& stream, const float* from, const View& view) {
  const Lie lie(view);
  T* to = static_cast<T*>(view.data);
  if (lie.order == Order::kPlain) {
    convert(stream, from, to, view.count());
    return;
  }
  const Tiles tiles(lie.n, lie.p, lie.c, kPackWidth<T>);
  const bool packed = is_aligned(to) && lie.c % kPackWidth<T> == 0;
  for_each(stream, tiles.calls, Interleave<T>{from, to, tiles, packed});
}

void copy_elements(Stream& stream, const View& from, const View& to) {
  switch (size_of(from.type)) {
    case 1:
      return for_each(stream, from.count(), CopyView<uint8_t>{from, to});
    case 2:
      return for_each(stream, from.count(), CopyView<uint16_t>{from, to});
    case 8:
      return for_each(stream, from.count(), CopyView<uint64_t>{from, to});
    default:
      return for_each(stream, from.count(), CopyView<uint32_t>{from, to});
  }
}

bool is_known(DType type) {
  return type == DType::kFloat32 || type == DType::kFloat16 || type == DType::kBFloat16;
}

class GpuReorder final : public PreparedKernel {
 public:
  GpuReorder(const TensorDesc& desc, Layout from, Layout to, Precision precision, bool gradient)
      : from_(view_of(desc, from, precision, gradient)),
        to_(view_of(desc, to, precision, gradient)),
        gradient_(gradient),
        same_(from_.type == to_.type && Lie(from_).order == Lie(to_).order),
        converts_(desc.dtype == DType::kFloat32),
        bytes_(static_cast<size_t>(from_.count()) * size_of(from_.type)),
        to_plain_(to == Layout::kPlain) {}

  void run(const KernelArgs& args, ThreadPool&) const override {
    const View from = with_data(from_, gradient_ ? args.grad_outputs[0] : args.inputs[0]);
    const View to = with_data(to_, gradient_ ? args.grad_inputs[0] : args.outputs[0]);
    if (same_) {
      args.stream->copy(to.data, from.data, bytes_);
    } else if (!converts_) {
      copy_elements(*args.stream, from, to);
    } else if (to_plain_) {
      convert_to_plain(*args.stream, from, static_cast<float*>(to.data));
    } else {
      convert_from_plain(*args.stream, static_cast<const float*>(from.data), to);
    }
  }

 private:
  View from_;
  View to_;
  bool gradient_;
  bool same_;      // nothing changes but the address
  bool converts_;  // float32 may become another type
  size_t bytes_;
  bool to_plain_;
};

// ---- Sum of gradients --------------------------------------------------------------------------

struct AddGradients {
  static constexpr int kWidth = kPackWidth<float>;
  const float* a;  // [count]
  const float* b;  // [count]
  float* total;    // [count]
  int64_t count;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const int64_t start = call * kWidth;
    if (start + kWidth > count) {
      for (int64_t i = start; i < count; ++i) total[i] = a[i] + b[i];
      return;
    }
    auto sum = load_pack<kWidth>(a + start);
    const auto more = load_pack<kWidth>(b + start);
    for (int k = 0; k < kWidth; ++k) sum.at[k] += more.at[k];
    store_pack(total + start, sum);
  }
};

class GpuGradientSum final : public PreparedKernel {
 public:
  explicit GpuGradientSum(int64_t count) : count_(count) {}

  void run(const KernelArgs& args, ThreadPool&) const override {
    constexpr int64_t kWidth = AddGradients::kWidth;
    for_each(*args.stream, (count_ + kWidth - 1) / kWidth,
             AddGradients{args.grad_output(0), args.grad_output(1), args.grad_input(0), count_});
  }

 private:
  int64_t count_;
};

}  // namespace

void convert_to_plain(Stream& stream, const View& from, float* to) {
  if (Lie(from).order == Order::kOther || !is_known(from.type)) {
    for_each(stream, from.count(), ReadView{from, to});
  } else if (from.type == DType::kFloat16) {
    separate<Half>(stream, from, to);
  } else if (from.type == DType::kBFloat16) {
    separate<BFloat16>(stream, from, to);
  } else {
    separate<float>(stream, from, to);
  }
}

void convert_from_plain(Stream& stream, const float* from, const View& to) {
  if (Lie(to).order == Order::kOther || !is_known(to.type)) {
    for_each(stream, to.count(), WriteView{from, to});
  } else if (to.type == DType::kFloat16) {
    interleave<Half>(stream, from, to);
  } else if (to.type == DType::kBFloat16) {
    interleave<BFloat16>(stream, from, to);
  } else {
    interleave<float>(stream, from, to);
  }
}

std::unique_ptr<PreparedKernel> prepare_gpu_reorder(const TensorDesc& desc, Layout from, Layout to,
                                                    Precision precision, bool gradient) {
  return std::make_unique<GpuReorder>(desc, from, to, precision, gradient);
}

std::unique_ptr<PreparedKernel> prepare_gpu_gradient_sum(int64_t count) {
  return std::make_unique<GpuGradientSum>(count);
}

}  // namespace camlucida
