#pragma once

#include <cstdint>
#include <span>

/// Softmax confidences from logits, in double and exact at both ends.
namespace camlucida::metrics {

/// p = softmax(logits)_c. `rest` = 1 - p is summed from the other classes, so that it does not
/// vanish where p rounds to 1.
struct Confidence {
  double probability = 0;
  double rest = 1;
};
Confidence confidence(std::span<const float> logits, int64_t class_index);

/// after - before, without cancellation where both are near 1.
double change(const Confidence& before, const Confidence& after);

// With p = before and o = after masking, in percent:

/// 100 [p - o]+ / p. Chattopadhyay et al. 2018 (Grad-CAM++), section 4.1.
double average_drop(const Confidence& before, const Confidence& after);
/// 100 if o > p, else 0: their "increase in confidence".
double confidence_increase(const Confidence& before, const Confidence& after);
/// 100 [o - p]+ / (1 - p). Zhang et al. 2024 (Opti-CAM).
double average_gain(const Confidence& before, const Confidence& after);

}  // namespace camlucida::metrics
