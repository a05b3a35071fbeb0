/// The weight table of one axis of a Resize, for every mode.
#include <algorithm>
#include <cmath>
#include <limits>

#include "layers/resize/resize.h"

namespace camlucida {
namespace {

Error no_such(const char* what, const std::string& value) {
  return Error(ErrorKind::kModel, std::string(what) + " '" + value + "' is not defined");
}

/// Position in the input that output o stands for, in pixels (0 = centre of the first).
float source_position(const ResizeAttributes& attributes, int64_t input, const ResizeScale& s,
                      int64_t o) {
  const std::string& mode = attributes.coordinates;
  const auto at = static_cast<float>(o);
  const auto last_in = static_cast<float>(input - 1);
  const auto last_out = static_cast<float>(s.output - 1);
  if (mode == "half_pixel") return (at + 0.5f) / s.scale - 0.5f;
  if (mode == "asymmetric") return at / s.scale;
  if (mode == "align_corners") return s.output == 1 ? 0.0f : at * last_in / last_out;
  if (mode == "pytorch_half_pixel") {
    return s.output == 1 ? 0.0f : (at + 0.5f) / s.scale - 0.5f;
  }
  if (mode == "tf_half_pixel_for_nn") return (at + 0.5f) / s.scale;
  if (mode == "half_pixel_symmetric") {
    // The exact extent scale * input may be fractional: centre the whole output on the input.
    const float adjustment = static_cast<float>(s.output) / (s.scale * static_cast<float>(input));
    const float offset = static_cast<float>(input) / 2 * (1 - adjustment);
    return offset + (at + 0.5f) / s.scale - 0.5f;
  }
  if (mode == "tf_crop_and_resize") {
    if (s.output == 1) return 0.5f * (s.roi_begin + s.roi_end) * last_in;
    return s.roi_begin * last_in + at * (s.roi_end - s.roi_begin) * last_in / last_out;
  }
  throw no_such("coordinate_transformation_mode", mode);
}

int64_t nearest_pixel(const std::string& mode, float position, float scale) {
  const float down = std::floor(position);
  const float up = std::ceil(position);
  if (mode == "round_prefer_floor") {
    return static_cast<int64_t>(position - down <= 0.5f ? down : up);
  }
  if (mode == "round_prefer_ceil") {
    return static_cast<int64_t>(position - down < 0.5f ? down : up);
  }
  if (mode == "floor") return static_cast<int64_t>(down);
  if (mode == "ceil") return static_cast<int64_t>(up);
  if (mode == "simple") return static_cast<int64_t>(scale < 1 ? up : down);
  throw no_such("nearest_mode", mode);
}

/// Interpolation filter at distance t: zero for |t| >= its support (1 linear, 2 cubic).
double linear_filter(double t) { return std::max(0.0, 1.0 - std::abs(t)); }
double cubic_filter(double t, double a) {
  t = std::abs(t);
  if (t >= 2) return 0;
  if (t > 1) return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
  return ((a + 2) * t - (a + 3)) * t * t + 1;
}

struct Tap {
  int64_t index;
  double weight;
};

/// Taps of a linear or cubic filter around `position`, before clamping.
std::vector<Tap> filter_taps(const ResizeAttributes& attributes, float position, float scale) {
  const bool cubic = attributes.mode == "cubic";
  if (!cubic && attributes.mode != "linear") throw no_such("mode", attributes.mode);
  // Shrinking with antialias stretches the filter over as many pixels as fall on one output.
  const double squeeze = attributes.antialias ? std::min(static_cast<double>(scale), 1.0) : 1.0;
  const double support = (cubic ? 2.0 : 1.0) / squeeze;
  const auto first = static_cast<int64_t>(std::floor(position - support)) + 1;
  const auto last = static_cast<int64_t>(std::ceil(position + support)) - 1;
  std::vector<Tap> taps;
  double sum = 0;
  for (int64_t i = first; i <= last; ++i) {
    const double t = (static_cast<double>(i) - position) * squeeze;
    const double w = cubic ? cubic_filter(t, attributes.cubic_coeff_a) : linear_filter(t);
    taps.push_back({i, w});
    sum += w;
  }
  for (Tap& tap : taps) tap.weight /= sum;
  return taps;
}

/// Brings taps into [0, extent): drops those outside and rescales the rest, or moves them to the
/// border. Taps of one pixel become one; those of weight 0 go.
std::vector<Tap> fit_taps(std::vector<Tap> taps, int64_t extent, bool exclude_outside) {
  if (exclude_outside) {
    double sum = 0;
    for (Tap& tap : taps) {
      if (tap.index < 0 || tap.index >= extent) tap.weight = 0;
      sum += tap.weight;
    }
    for (Tap& tap : taps) tap.weight /= sum;
  }
  std::vector<Tap> result;
  for (const Tap& tap : taps) {
    const int64_t index = std::clamp<int64_t>(tap.index, 0, extent - 1);
    if (tap.weight == 0) continue;
    if (!result.empty() && result.back().index == index) {
      result.back().weight += tap.weight;
    } else {
      result.push_back({index, tap.weight});
    }
  }
  return result;
}

}  // namespace

bool ResizeAxis::is_identity() const {
  if (input != output) return false;
  for (int64_t o = 0; o < output; ++o) {
    if (end(o) - begin(o) != 1 || from(begin(o)) != o || by(begin(o)) != 1.0) return false;
  }
  return true;
}

bool ResizeAxis::has_outside() const {
  for (int64_t o = 0; o < output; ++o) {
    if (begin(o) == end(o)) return true;
  }
  return false;
}

ResizeAxis resize_axis(const ResizeAttributes& attributes, int64_t input,
                       const ResizeScale& scale) {
  ResizeAxis axis;
  axis.input = input;
  axis.output = scale.output;
  axis.first.push_back(0);
  for (int64_t o = 0; o < scale.output; ++o) {
    float position = source_position(attributes, input, scale, o);
    const auto last = static_cast<float>(input - 1);
    std::vector<Tap> taps;
    const bool outside =
        attributes.coordinates == "tf_crop_and_resize" && (position < 0 || position > last);
    if (outside) {
      // No taps: the extrapolation value.
    } else if (attributes.mode == "nearest") {
      const int64_t pixel = nearest_pixel(attributes.nearest_mode, position, scale.scale);
      taps.push_back({std::clamp<int64_t>(pixel, 0, input - 1), 1.0});
    } else {
      taps = fit_taps(filter_taps(attributes, position, scale.scale), input,
                      attributes.exclude_outside);
    }
    for (const Tap& tap : taps) {
      axis.index.push_back(tap.index);
      axis.weight.push_back(tap.weight);
    }
    axis.first.push_back(static_cast<int64_t>(axis.index.size()));
  }
  return axis;
}

namespace {

/// The axes that roi, scales and sizes speak of.
std::vector<int> named_axes(const ResizeAttributes& attributes, int rank) {
  std::vector<int> axes;
  if (attributes.axes.empty()) {
    for (int axis = 0; axis < rank; ++axis) axes.push_back(axis);
  }
  for (int64_t axis : attributes.axes) axes.push_back(normalise_axis(axis, rank));
  return axes;
}

int64_t checked_extent(double extent, int axis) {
  if (!(extent >= 1 && extent <= static_cast<double>(int64_t{1} << 31))) {
    throw Error(ErrorKind::kModel,
                "axis " + std::to_string(axis) + " cannot be resized to " + std::to_string(extent));
  }
  return static_cast<int64_t>(extent);
}

}  // namespace

std::vector<ResizeAxis> resize_axes(const ResizeAttributes& attributes, const Shape& x,
                                    const std::vector<double>& roi,
                                    const std::vector<double>& scales,
                                    const std::vector<double>& sizes) {
  if (scales.empty() == sizes.empty()) {
    throw Error(ErrorKind::kModel, "Resize needs either scales or sizes");
  }
  const std::vector<int> axes = named_axes(attributes, x.rank());
  const std::vector<double>& given = scales.empty() ? sizes : scales;
  const bool crop = attributes.coordinates == "tf_crop_and_resize";
  if (given.size() != axes.size() || (crop && roi.size() != 2 * axes.size())) {
    throw Error(ErrorKind::kModel, "scales, sizes or roi do not fit the " +
                                       std::to_string(axes.size()) + " axes to resize");
  }
  std::vector<ResizeScale> wanted(static_cast<size_t>(x.rank()));
  for (int axis = 0; axis < x.rank(); ++axis) {
    if (x[axis] < 1) throw Error(ErrorKind::kModel, "input " + x.to_string() + " is empty");
    wanted[static_cast<size_t>(axis)].output = x[axis];
  }
  // One scale for all axes, such that the result fits into the sizes or covers them.
  const bool shared = scales.empty() && attributes.aspect != "stretch";
  if (shared && attributes.aspect != "not_larger" && attributes.aspect != "not_smaller") {
    throw no_such("keep_aspect_ratio_policy", attributes.aspect);
  }
  float common = attributes.aspect == "not_larger" ? std::numeric_limits<float>::max() : 0.0f;
  for (size_t i = 0; shared && i < axes.size(); ++i) {
    const float scale = static_cast<float>(sizes[i]) / static_cast<float>(x[axes[i]]);
    common = attributes.aspect == "not_larger" ? std::min(common, scale) : std::max(common, scale);
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    ResizeScale& s = wanted[static_cast<size_t>(axes[i])];
    const auto extent = static_cast<float>(x[axes[i]]);
    if (crop) {
      s.roi_begin = static_cast<float>(roi[i]);
      s.roi_end = static_cast<float>(roi[i + axes.size()]);
    }
    if (!scales.empty()) {
      s.scale = static_cast<float>(scales[i]);
      const float part = crop ? s.roi_end - s.roi_begin : 1.0f;
      s.output = checked_extent(std::floor(extent * part * s.scale), axes[i]);
    } else {
      s.scale = shared ? common : static_cast<float>(sizes[i]) / extent;
      s.output = checked_extent(shared ? std::floor(common * extent + 0.5f) : sizes[i], axes[i]);
    }
  }
  std::vector<ResizeAxis> result;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const ResizeScale& s = wanted[static_cast<size_t>(axis)];
    Shape(std::vector<int64_t>{s.output, x[axis]}).count();
    result.push_back(resize_axis(attributes, x[axis], s));
  }
  return result;
}

std::vector<ResizeAxis> resize_axes(const InferContext& context) {
  return resize_axes(context.attributes.as<ResizeAttributes>(), context.shape(0),
                     context.doubles_or(1, "the region of a Resize", {}),
                     context.doubles_or(2, "the scales of a Resize", {}),
                     context.doubles_or(3, "the sizes of a Resize", {}));
}

}  // namespace camlucida
