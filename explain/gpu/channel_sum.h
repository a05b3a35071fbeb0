#pragma once

#include "engine/cuda/launch.h"
#include "explain/cam/formulas.h"

namespace camlucida::gpu {

/// to[p] = sum_k term(k, p), in double, by one thread or by a group of them.
template <class Term>
struct ChannelSum {
  Term term;
  int64_t channels;
  float* to;

  CAMLUCIDA_PORTABLE void operator()(int64_t p) const {
    double sum = 0.0;
    for (int64_t k = 0; k < channels; ++k) sum += term(k, p);
    to[p] = static_cast<float>(sum);
  }
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t p) const {
    const double sum = group.reduce(
        channels, 0.0, [&](int64_t k) { return term(k, p); }, Add{});
    group.each(1, [&](int64_t) { to[p] = static_cast<float>(sum); });
  }
};

template <class Term>
void sum_over_channels(Stream& stream, const Term& term, int64_t channels, int64_t pixels,
                       float* to) {
  // From so many pixels on a thread for each keeps a GPU busy.
  constexpr int64_t kManyPixels = 8192;
  const ChannelSum<Term> body{term, channels, to};
  if (pixels >= kManyPixels) {
    for_each(stream, pixels, body);
  } else {
    for_each_group(stream, pixels, body);
  }
}

}  // namespace camlucida::gpu
