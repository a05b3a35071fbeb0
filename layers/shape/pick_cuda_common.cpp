#include <algorithm>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "engine/cuda/tiles.h"
#include "layers/shape/pick.h"

namespace camlucida::shape {
namespace {

template <class To, class From>
CAMLUCIDA_PORTABLE To converted(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else {
    return stored<To>(to_float(value));
  }
}

/// kWidth elements of the target per call, which lie together.
template <class From, class To, int kWidth>
struct Pick {
  const From* from;
  To* to;
  PickGeometry geometry;  // the count of the innermost axis is in packs
  To fill;
  bool packed;  // the elements of a call lie together in the source as well, and aligned

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const PickGeometry::Axis& inner = geometry.axes[0];
    const int64_t first = inner.count.split(call) * kWidth;
    int64_t from_at = 0;
    int64_t to_at = 0;
    const bool inside = geometry.locate(1, call, from_at, to_at);
    Pack<To, kWidth> pack;
    if (packed && inside && first >= inner.low && first + kWidth <= inner.high) {
      const auto source = load_pack<kWidth>(from + from_at + first);
      for (int k = 0; k < kWidth; ++k) pack.at[k] = converted<To>(source.at[k]);
    } else {
      int64_t at[kWidth];
      bool found[kWidth];
      bool all = true;
      for (int k = 0; k < kWidth; ++k) {
        at[k] = from_at;
        found[k] = inside && inner.move(first + k, at[k]);
        all = all && found[k];
      }
      if (all) {  // reads that do not wait for each other
        for (int k = 0; k < kWidth; ++k) pack.at[k] = converted<To>(from[at[k]]);
      } else {
        for (int k = 0; k < kWidth; ++k) pack.at[k] = found[k] ? converted<To>(from[at[k]]) : fill;
      }
    }
    store_pack(to + to_at + first * inner.to, pack);
  }
};

/// Matrices to transpose: the target is contiguous along rows, the source along columns.
template <class From, class To>
struct Transposition {
  static constexpr int kColumns = std::min(kPackWidth<From>, 8);
  const From* from;
  To* to;
  PickGeometry geometry;  // of the matrices
  Tiles tiles;
  int64_t from_row;
  int64_t to_column;
  To fill;
  bool packed;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const Tiles::Place place = tiles.place(call);
    int64_t from_at = 0;
    int64_t to_at = 0;
    const bool inside = geometry.locate(0, place.matrix, from_at, to_at);
    const From* source = from + from_at + place.row * from_row + place.column;
    To* target = to + to_at + place.row + place.column * to_column;
    if (packed && inside && place.count == kColumns) {
      const auto pack = load_pack<kColumns>(source);
      for (int k = 0; k < kColumns; ++k) target[k * to_column] = converted<To>(pack.at[k]);
      return;
    }
    for (int k = 0; k < kColumns; ++k) {
      if (k < place.count) target[k * to_column] = inside ? converted<To>(source[k]) : fill;
    }
  }
};

/// Halves all element counts of the plan, for elements of twice the size; false if one is odd.
bool halve(PickPlan& plan) {
  const PickAxis& inner = plan.axes.back();
  const auto odd = [](int64_t number) { return number % 2 != 0; };
  if (!inner.regular() || inner.to != 1 || inner.from != 1 || odd(inner.count) || odd(inner.low) ||
      odd(inner.high) || odd(plan.start)) {
    return false;
  }
  for (size_t k = 0; k + 1 < plan.axes.size(); ++k) {
    const PickAxis& axis = plan.axes[k];
    if (odd(axis.to) || odd(axis.from)) return false;
    for (const int64_t offset : axis.table) {
      if (offset != Rearrangement::kOutside && odd(offset)) return false;
    }
  }
  for (size_t k = 0; k + 1 < plan.axes.size(); ++k) {
    plan.axes[k].to /= 2;
    plan.axes[k].from /= 2;
    for (int64_t& offset : plan.axes[k].table) {
      if (offset != Rearrangement::kOutside) offset /= 2;
    }
  }
  plan.axes.back().count /= 2;
  plan.axes.back().low /= 2;
  plan.axes.back().high /= 2;
  plan.start /= 2;
  return true;
}

/// All table entries one after another.
DeviceBuffer upload_tables(Gpu& gpu, const PickPlan& plan) {
  std::vector<int64_t> all;
  for (const PickAxis& axis : plan.axes)
    all.insert(all.end(), axis.table.begin(), axis.table.end());
  if (all.empty()) return {};
  return gpu.upload(all.data(), all.size() * sizeof(int64_t));
}

uint64_t repeated_bits(double value, DType type) {
  uint8_t bytes[8] = {};
  from_double(type, &value, bytes, 1);
  const size_t size = size_of(type);
  for (size_t i = size; i < sizeof bytes; ++i) bytes[i] = bytes[i - size];
  uint64_t bits = 0;
  std::memcpy(&bits, bytes, sizeof bits);
  return bits;
}

}  // namespace

Picker::Picker(Gpu& gpu, PickPlan plan, DType source, DType target)
    : source_(source), target_(target), fill_value_(static_cast<float>(plan.fill)) {
  const int columns = plan.columns();
  if (source == target) {
    element_ = size_of(source);
    fill_ = repeated_bits(plan.fill, target);
    while (element_ < 8 && columns < 0 && halve(plan)) element_ *= 2;
  }
  tables_ = upload_tables(gpu, plan);
  const int64_t* table = tables_.as<const int64_t>();
  const int inner = static_cast<int>(plan.axes.size()) - 1;
  geometry_.start = plan.start;
  alignment_ = plan.start;
  for (int k = inner; k >= 0; --k) {
    const PickAxis& axis = plan.axes[static_cast<size_t>(k)];
    if (columns >= 0 && k == inner) {
      rows_ = axis.count;
      from_row_ = axis.from;
      alignment_ = std::gcd(alignment_, axis.from);
    } else if (k == columns) {
      transposes_ = true;
      columns_ = axis.count;
      to_column_ = axis.to;
    } else {
      count_ *= axis.count;
      const int64_t* own = table;
      for (size_t j = 0; j < static_cast<size_t>(k); ++j) own += plan.axes[j].table.size();
      geometry_.axes[geometry_.rank++] = {Divider(std::max<int64_t>(axis.count, 1)),
                                          axis.to,
                                          axis.from,
                                          axis.low,
                                          axis.high,
                                          axis.regular() ? nullptr : own};
      if (k == inner) continue;
      alignment_ = std::gcd(alignment_, axis.from);
      for (const int64_t offset : axis.table) {
        if (offset != Rearrangement::kOutside) alignment_ = std::gcd(alignment_, offset);
      }
    }
  }
}

template <class From, class To, int kWidth>
void Picker::send_packs(Stream& stream, const From* source, To* target, To fill) const {
  PickGeometry geometry = geometry_;
  const PickGeometry::Axis& inner = geometry_.axes[0];
  geometry.axes[0].count = Divider(std::max<int64_t>(inner.count.divisor / kWidth, 1));
  const bool packed = inner.table == nullptr && inner.from == 1 && alignment_ % kWidth == 0;
  for_each(stream, count_ / kWidth, Pick<From, To, kWidth>{source, target, geometry, fill, packed});
}

template <class From, class To>
void Picker::send(Stream& stream, const void* source, void* target, To fill) const {
  const From* from = static_cast<const From*>(source);
  To* to = static_cast<To*>(target);
  if (transposes_) {
    using Kernel = Transposition<From, To>;
    const Tiles tiles(count_, rows_, columns_, Kernel::kColumns);
    const bool packed = alignment_ % Kernel::kColumns == 0;
    for_each(stream, tiles.calls,
             Kernel{from, to, geometry_, tiles, from_row_, to_column_, fill, packed});
    return;
  }
  constexpr int kWidth = std::min({kPackWidth<From>, kPackWidth<To>, 8});
  const PickGeometry::Axis& inner = geometry_.axes[0];
  const auto fits = [&](int64_t width) {
    bool whole_packs = inner.to == 1 && inner.count.divisor % width == 0;
    for (int k = 1; k < geometry_.rank; ++k) {
      whole_packs = whole_packs && geometry_.axes[k].to % width == 0;
    }
    return whole_packs;
  };
  if (fits(kWidth)) return send_packs<From, To, kWidth>(stream, from, to, fill);
  if constexpr (kWidth > 2) {
    if (fits(2)) return send_packs<From, To, 2>(stream, from, to, fill);
  }
  send_packs<From, To, 1>(stream, from, to, fill);
}

void Picker::run(Stream& stream, const void* source, void* target) const {
  switch (element_) {
    case 1:
      return send<uint8_t, uint8_t>(stream, source, target, static_cast<uint8_t>(fill_));
    case 2:
      return send<uint16_t, uint16_t>(stream, source, target, static_cast<uint16_t>(fill_));
    case 4:
      return send<uint32_t, uint32_t>(stream, source, target, static_cast<uint32_t>(fill_));
    case 8:
      return send<uint64_t, uint64_t>(stream, source, target, fill_);
    default:
      break;
  }
  if (target_ == DType::kFloat16) {
    send<float, Half>(stream, source, target, to_half(fill_value_));
  } else if (target_ == DType::kBFloat16) {
    send<float, BFloat16>(stream, source, target, to_bfloat16(fill_value_));
  } else if (source_ == DType::kFloat16) {
    send<Half, float>(stream, source, target, fill_value_);
  } else {
    send<BFloat16, float>(stream, source, target, fill_value_);
  }
}

}  // namespace camlucida::shape
