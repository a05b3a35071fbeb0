#include "engine/cpu/line_map.h"

#include <cstddef>

namespace camlucida {

LineMap LineMap::convolution(int64_t in, int64_t out, int64_t taps, int64_t stride,
                             int64_t dilation, int64_t pad) {
  LineMap map{out, taps, 1, {}};
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t i = o * stride - pad + t * dilation;
      map.at.push_back(i >= 0 && i < in ? static_cast<int32_t>(i) : -1);
    }
  }
  return map;
}

LineMap LineMap::adjoint(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t dilation,
                         int64_t pad) {
  LineMap map{in, taps, stride, {}};
  for (int64_t i = 0; i < in; ++i) {
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t reach = i + pad - t * dilation;  // = o * stride
      const bool reads = reach >= 0 && reach % stride == 0 && reach / stride < out;
      map.at.push_back(reads ? static_cast<int32_t>(reach / stride) : -1);
    }
  }
  return map;
}

LineMap LineMap::combine(const LineMap& outer, const LineMap& inner, int64_t inner_inputs) {
  if (outer.lines == 1 && outer.taps == 1 && outer.at[0] == 0) return inner;
  LineMap map{outer.lines * inner.lines, outer.taps * inner.taps, inner.period, {}};
  for (int64_t a = 0; a < outer.lines; ++a) {
    for (int64_t b = 0; b < inner.lines; ++b) {
      for (int64_t s = 0; s < outer.taps; ++s) {
        for (int64_t t = 0; t < inner.taps; ++t) {
          const int32_t high = outer.at[static_cast<size_t>(a * outer.taps + s)];
          const int32_t low = inner.at[static_cast<size_t>(b * inner.taps + t)];
          map.at.push_back(high < 0 || low < 0 ? -1
                                               : static_cast<int32_t>(high * inner_inputs + low));
        }
      }
    }
  }
  return map;
}

}  // namespace camlucida
