#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>

#include "engine/cost.h"
#include "engine/cpu/layout.h"
#include "layers/shape/channel_map.h"
#include "layers/shape/walk.h"

/// The copy kernels of all rearranging layers. Plain layout takes every rearrangement of every
/// type; blocked layout those that leave the channels alone and those that move only channels.
namespace camlucida::shape {
namespace {

// ---- Plain copies ------------------------------------------------------------------------------

/// Moves elements of type T (of the right size, whatever they mean) along one Walk per output.
template <class T>
class RearrangeForward final : public PreparedKernel {
 public:
  RearrangeForward(const std::vector<Rearrangement>& maps, DType dtype) {
    for (const Rearrangement& map : maps) {
      walks_.emplace_back(map);
      T fill;
      from_double(dtype, &map.fill, &fill, 1);
      fills_.push_back(fill);
    }
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const T* x = static_cast<const T*>(args.inputs[0]);
    for (size_t o = 0; o < walks_.size(); ++o) {
      T* y = static_cast<T*>(args.outputs[o]);
      if (y == nullptr) continue;
      const T fill = fills_[o];
      walks_[o].run(pool, walks_[o].pieces(),
                    [=](const Walk::Patch& patch) { move(patch, x, y, fill); });
    }
  }

 private:
  static void move(const Walk::Patch& p, const T* x, T* y, T fill) {
    if (p.from == Rearrangement::kOutside) {
      std::fill_n(y + p.to, p.length, fill);
      return;
    }
    if (p.step == 1) {
      for (int64_t r = 0; r < p.rows; ++r) {
        std::memcpy(y + p.to + r * p.to_row, x + p.from + r * p.from_row,
                    static_cast<size_t>(p.length) * sizeof(T));
      }
      return;
    }
    for (int64_t r = 0; r < p.rows; ++r) {
      T* to = y + p.to + r * p.to_row;
      const T* from = x + p.from + r * p.from_row;
      for (int64_t i = 0; i < p.length; ++i) to[i] = from[i * p.step];
    }
  }

  std::vector<Walk> walks_;
  std::vector<T> fills_;
};

/// The adjoint in float32: every element goes back to where it came from. Elements that were taken
/// more than once add up, in a fixed order for any number of threads.
class RearrangeBackward final : public PreparedKernel {
 public:
  RearrangeBackward(const KernelCase& c, const std::vector<Rearrangement>& maps, int64_t stored)
      : stored_(stored) {
    int64_t covered = 0;
    for (size_t o = 0; o < maps.size(); ++o) {
      walks_.emplace_back(maps[o]);
      if (!c.outputs[o].present) continue;
      once_ = once_ && walks_.back().takes_once();
      covered += walks_.back().taken();
    }
    clear_ = !once_ || covered < stored_;
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    float* dx = args.grad_input(0);
    if (clear_) std::memset(dx, 0, static_cast<size_t>(stored_) * sizeof(float));
    for (size_t o = 0; o < walks_.size(); ++o) {
      const float* dy = args.grad_output(o);
      if (dy == nullptr) continue;
      const Walk& walk = walks_[o];
      if (once_) {
        walk.run(pool, walk.pieces(), [=](const Walk::Patch& patch) { put(patch, dy, dx); });
      } else {
        walk.run(pool, walk.independent_pieces(),
                 [=](const Walk::Patch& patch) { add(patch, dy, dx); });
      }
    }
  }

 private:
  static void put(const Walk::Patch& p, const float* dy, float* dx) {
    if (p.from == Rearrangement::kOutside) return;
    if (p.rows > 1) {  // a tile of a transposition: write whole cache lines
      for (int64_t i = 0; i < p.length; ++i) {
        const float* from = dy + p.to + i;
        float* to = dx + p.from + i * p.step;
        for (int64_t r = 0; r < p.rows; ++r) to[r * p.from_row] = from[r * p.to_row];
      }
      return;
    }
    const float* from = dy + p.to;
    float* to = dx + p.from;
    if (p.step == 1) {
      std::memcpy(to, from, static_cast<size_t>(p.length) * sizeof(float));
    } else {
      for (int64_t i = 0; i < p.length; ++i) to[i * p.step] = from[i];
    }
  }
  static void add(const Walk::Patch& p, const float* dy, float* dx) {
    if (p.from == Rearrangement::kOutside) return;
    for (int64_t r = 0; r < p.rows; ++r) {
      const float* from = dy + p.to + r * p.to_row;
      float* to = dx + p.from + r * p.from_row;
      if (p.step == 0) {
        *to += sum(from, p.length);
      } else {
        for (int64_t i = 0; i < p.length; ++i) to[i * p.step] += from[i];
      }
    }
  }
  /// In kLanes partial sums, which the compiler keeps in a register.
  static float sum(const float* x, int64_t count) {
    constexpr int64_t kLanes = 8;
    float partial[kLanes] = {};
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) partial[lane] += x[i + lane];
    }
    float total = 0.0f;
    for (; i < count; ++i) total += x[i];
    for (float part : partial) total += part;
    return total;
  }

  std::vector<Walk> walks_;
  int64_t stored_;
  bool once_ = true;
  bool clear_ = true;
};

// ---- Blocked layout ----------------------------------------------------------------------------

bool is_whole(const Rearrangement& map, int axis) {
  const Rearrangement::Axis& walked = map.axes[static_cast<size_t>(axis)];
  if (walked.source != axis || walked.count != map.source[axis]) return false;
  for (int64_t i = 0; i < walked.count; ++i) {
    if (map.position(walked, i) != i) return false;
  }
  return true;
}

/// Axis k of the result walks along axis k of the input or repeats it, for every k.
bool keeps_axes(const Rearrangement& map, const Shape& input) {
  if (map.source != input || map.result.rank() != input.rank() || input.rank() < 3 ||
      map.axes.size() != static_cast<size_t>(input.rank())) {
    return false;
  }
  for (int k = 0; k < input.rank(); ++k) {
    const int source = map.axes[static_cast<size_t>(k)].source;
    if (source != k && source != Rearrangement::kNoAxis) return false;
  }
  return true;
}

/// The same on tensors as they lie in blocked layout [N, C/b, spatial..., b], if it leaves the
/// channels alone.
std::optional<Rearrangement> blocked_form(const Rearrangement& map, const Shape& input) {
  if (!keeps_axes(map, input) || !is_whole(map, 1)) return std::nullopt;
  const int64_t block = simd_block();
  if (input[1] % block != 0 && !std::isfinite(map.fill)) return std::nullopt;
  Rearrangement blocked = map;
  std::vector<int64_t> dims(input.begin(), input.end());
  dims[1] = channel_blocks(input[1], block);
  dims.push_back(block);
  blocked.source = Shape(std::move(dims));
  blocked.axes[1] = Rearrangement::whole(blocked.source, 1);
  blocked.axes.push_back(Rearrangement::whole(blocked.source, input.rank()));
  blocked.shape_result();
  return blocked;
}

/// The channel table of a node that moves whole channels only and fills with 0.
std::optional<ChannelMap> channel_form(const KernelCase& c,
                                       const std::vector<Rearrangement>& maps) {
  const Shape& x = c.in(0);
  ChannelMap table;
  std::vector<ChannelMap::Channel> gradient(x.rank() > 1 ? static_cast<size_t>(x[1]) : 0);
  for (size_t o = 0; o < maps.size(); ++o) {
    const Rearrangement& map = maps[o];
    if (!keeps_axes(map, x)) return std::nullopt;
    for (int k = 0; k < x.rank(); ++k) {
      if (k != 1 && !is_whole(map, k)) return std::nullopt;
    }
    const Rearrangement::Axis& channels = map.axes[1];
    std::vector<ChannelMap::Channel> target;
    for (int64_t k = 0; k < channels.count; ++k) {
      const int64_t from =
          channels.source == Rearrangement::kNoAxis ? 0 : map.position(channels, k);
      const bool outside = from == Rearrangement::kOutside;
      if (outside && map.fill != 0.0) return std::nullopt;
      target.push_back({outside ? ChannelMap::kZero : 0, outside ? 0 : from});
      if (!c.backward || outside) continue;
      ChannelMap::Channel& back = gradient[static_cast<size_t>(from)];
      if (back.tensor != ChannelMap::kZero) return std::nullopt;
      back = {static_cast<int>(o), k};
    }
    table.sources.push_back(c.backward ? channels.count : x[1]);
    if (!c.backward) table.targets.push_back(std::move(target));
  }
  table.batch = x[0];
  table.pixels = x.count(2, x.rank());
  if (c.backward) table.targets = {std::move(gradient)};
  return table;
}

// ---- Offers ------------------------------------------------------------------------------------

/// A Walk keeps an offset per index of an axis; a damaged model may ask for any extent.
constexpr int64_t kLongestAxis = int64_t{1} << 26;

constexpr int kPlainVariant = 0;
constexpr int kSpatialVariant = 1;
constexpr int kChannelVariant = 2;

std::vector<Rearrangement> blocked_forms(const KernelCase& c,
                                         const std::vector<Rearrangement>& maps) {
  std::vector<Rearrangement> blocked;
  for (const Rearrangement& map : maps) {
    std::optional<Rearrangement> form = blocked_form(map, c.in(0));
    if (!form) return {};
    blocked.push_back(std::move(*form));
  }
  return blocked;
}

double copy_cost(const KernelCase& c, const std::vector<Rearrangement>& maps) {
  double ns = cost::kStepNs;
  for (size_t o = 0; o < maps.size(); ++o) {
    if (!c.outputs[o].present) continue;
    const auto element = static_cast<int64_t>(size_of(c.outputs[o].desc.dtype));
    ns += Walk(maps[o]).slowness() * cost::bytes(2 * maps[o].result.count() * element);
  }
  return ns;
}

Offer blocked_offer(const KernelCase& c, int variant, double cost_ns) {
  Offer offer{.possible = true};
  offer.variant = variant;
  offer.cost_ns = cost_ns;
  const std::vector<Layout> results(c.outputs.size(), Layout::kBlocked);
  (c.backward ? offer.grad_inputs : offer.inputs) = {Layout::kBlocked};
  (c.backward ? offer.grad_outputs : offer.outputs) = results;
  return offer;
}

std::vector<Offer> make_offers(const KernelCase& c, const Arrange& arrange) {
  if (c.constant(0) != nullptr) return {Offer::no("the data is constant")};
  for (size_t i = 1; i < c.inputs.size(); ++i) {
    if (c.has(i) && c.constant(i) == nullptr) {
      return {Offer::no("where elements go is computed at run time")};
    }
  }
  if (c.backward && c.inputs[0].desc.dtype != DType::kFloat32) {
    return {Offer::no("gradients of " + std::string(name_of(c.inputs[0].desc.dtype)))};
  }
  const std::vector<Rearrangement> maps = arrange(Operands(c));
  for (const Rearrangement& map : maps) {
    for (const Rearrangement::Axis& axis : map.axes) {
      if (axis.count > kLongestAxis) return {Offer::no("an axis is too long for a table")};
    }
  }
  std::vector<Offer> offers;
  offers.push_back({.possible = true, .cost_ns = copy_cost(c, maps), .variant = kPlainVariant});
  if (c.inputs[0].desc.dtype == DType::kFloat32) {
    const std::vector<Rearrangement> blocked = blocked_forms(c, maps);
    if (!blocked.empty()) {
      offers.push_back(blocked_offer(c, kSpatialVariant, copy_cost(c, blocked)));
    }
    const std::optional<ChannelMap> channels = channel_form(c, maps);
    if (channels) {
      offers.push_back(blocked_offer(c, kChannelVariant, channel_map_cost(*channels)));
    }
  }
  // What backward saves (the indices of a gather) it does not read here: take it as it lies.
  if (c.backward) {
    for (Offer& offer : offers) offer.inputs = {c.inputs[0].layout};
  }
  return offers;
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& c, const Offer& offer,
                                        const Arrange& arrange) {
  std::vector<Rearrangement> maps = arrange(Operands(c));
  if (offer.variant == kChannelVariant) {
    return prepare_channel_map(*channel_form(c, maps), c.backward);
  }
  if (offer.variant == kSpatialVariant) maps = blocked_forms(c, maps);
  if (c.backward) return std::make_unique<RearrangeBackward>(c, maps, maps[0].source.count());
  const DType dtype = c.inputs[0].desc.dtype;
  switch (size_of(dtype)) {
    case 1:
      return std::make_unique<RearrangeForward<uint8_t>>(maps, dtype);
    case 2:
      return std::make_unique<RearrangeForward<uint16_t>>(maps, dtype);
    case 8:
      return std::make_unique<RearrangeForward<uint64_t>>(maps, dtype);
    default:
      return std::make_unique<RearrangeForward<uint32_t>>(maps, dtype);
  }
}

/// "DepthToSpace" -> "depth_to_space"
std::string snake_case(const std::string& name) {
  std::string result;
  for (char c : name) {
    const bool upper = std::isupper(static_cast<unsigned char>(c)) != 0;
    if (upper && !result.empty()) result += '_';
    result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return result;
}

}  // namespace

void add_rearranging_kernels(Registry& registry, const std::string& layer, const Arrange& arrange) {
  remember_arrangement(layer, arrange);
  const auto offers = [arrange](const KernelCase& c) { return make_offers(c, arrange); };
  const auto prepared = [arrange](const KernelCase& c, const Offer& offer) {
    return prepare(c, offer, arrange);
  };
  const std::string name = snake_case(layer) + "_copy";
  registry.add(KernelDef{name, {layer}, Device::kCpu, false, offers, prepared});
  registry.add(KernelDef{name + "_backward", {layer}, Device::kCpu, true, offers, prepared});
}

}  // namespace camlucida::shape
