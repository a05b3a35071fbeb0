#include "explain/target_grammar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "engine/error.h"
#include "engine/npy.h"

namespace camlucida {
namespace {

struct Kind {
  const char* name;
  Target (*parse)(const std::string& argument, const TargetContext& context);
};

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
  throw Error(ErrorKind::kUsage, message, hint);
}

/// The whole text as an integer that is not negative.
bool parse_index(const std::string& text, int64_t& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && value >= 0;
}

/// Indices separated by commas; empty if one of them is none.
std::vector<int64_t> parse_indices(const std::string& list) {
  std::vector<int64_t> indices;
  for (size_t first = 0; first <= list.size();) {
    const size_t comma = std::min(list.find(',', first), list.size());
    int64_t index = 0;
    if (!parse_index(list.substr(first, comma - first), index)) return {};
    indices.push_back(index);
    first = comma + 1;
  }
  return indices;
}

Target parse_margin(const std::string& argument, const TargetContext& context) {
  // Labels may hold hyphens: the split where both sides are classes counts.
  for (size_t dash = argument.find('-'); dash != std::string::npos;
       dash = argument.find('-', dash + 1)) {
    try {
      return Target::margin(context.class_index(argument.substr(0, dash)),
                            context.class_index(argument.substr(dash + 1)));
    } catch (const Error&) {
    }
  }
  refuse("'margin:" + argument + "' does not name two classes", "write margin:281-282");
}

template <Target (*make)(int64_t)>
Target parse_class(const std::string& argument, const TargetContext& context) {
  return make(context.class_index(argument));
}

bool is_array(const std::string& file) {
  return file.size() > 4 && file.compare(file.size() - 4, 4, ".npy") == 0;
}

/// The stored vector, or the network's answer to the picture.
Tensor load_reference(const std::string& kind, const std::string& file,
                      const TargetContext& context) {
  if (file.empty()) refuse("'" + kind + ":' names no reference", "write " + kind + ":REF.npy");
  const Tensor reference = is_array(file) ? read_npy(file) : context.scores_of(Image::load(file));
  bool zero = true;
  for (const double value : reference.to_doubles()) {
    if (!std::isfinite(value)) {
      throw Error(ErrorKind::kInput, "the reference '" + file + "' holds NaN or infinity",
                  "make it anew");
    }
    zero = zero && value == 0;
  }
  if (zero && kind == "embed") {
    throw Error(ErrorKind::kInput, "the reference '" + file + "' is zero: it has no direction",
                "make it anew, or use distance:" + file);
  }
  return reference;
}

Target parse_embed(const std::string& file, const TargetContext& context) {
  return Target::cosine(load_reference("embed", file, context), file);
}

Target parse_distance(const std::string& file, const TargetContext& context) {
  return Target::negative_distance(load_reference("distance", file, context), file);
}

/// Classes on a grid: what `mask` and `pixel` are about.
struct Segmentation {
  int64_t classes, height, width;
  const float* scores;

  Segmentation(const std::string& kind, const TargetContext& context)
      : scores(context.scores.floats()) {
    const Shape& shape = context.scores.shape();
    if (shape.rank() != 4 || shape[2] * shape[3] == 1) {
      refuse(kind + " targets need an output [1, classes, h, w], this one is " + shape.to_string(),
             "use a segmentation network, or name its map of classes with --output");
    }
    classes = shape[1];
    height = shape[2];
    width = shape[3];
  }

  /// The class after '#', or the one with the largest `sum`.
  template <class Sum>
  int64_t choose_class(const std::string& text, const TargetContext& context,
                       const Sum& sum) const {
    if (!text.empty()) {
      const int64_t index = context.class_index(text);
      if (index >= 0 && index < classes) return index;
      refuse("class " + std::to_string(index) + " does not exist: the output has " +
                 std::to_string(classes),
             "use 0 to " + std::to_string(classes - 1));
    }
    int64_t best = 0;
    for (int64_t c = 1; c < classes; ++c) {
      if (sum(c) > sum(best)) best = c;
    }
    return best;
  }
};

/// "FILE#CLASS" at the last '#'; the class is empty without one.
std::pair<std::string, std::string> split_class(const std::string& argument) {
  const size_t hash = argument.rfind('#');
  if (hash == std::string::npos) return {argument, ""};
  return {argument.substr(0, hash), argument.substr(hash + 1)};
}

/// A mask in the coordinates of the picture: [height, width], not 0 inside.
Tensor load_mask(const std::string& file, const Placement& placement) {
  Tensor mask;
  if (is_array(file)) {
    mask = read_npy(file).cast(DType::kFloat64);
  } else {
    const Image gray = Image::load(file).to_gray();
    mask = Tensor(Shape{gray.height(), gray.width()}, DType::kFloat64);
    std::copy(gray.pixels().begin(), gray.pixels().end(), mask.as<double>().begin());
  }
  const Shape picture = {placement.picture_height, placement.picture_width};
  if (mask.shape() != picture) {
    throw Error(ErrorKind::kInput,
                "the mask '" + file + "' is " + mask.shape().to_string() + ", the picture " +
                    picture.to_string() + " (height, width)",
                "draw it on the picture itself");
  }
  return mask;
}

Target parse_mask(const std::string& argument, const TargetContext& context) {
  const auto [file, class_text] = split_class(argument);
  const Segmentation grid("mask", context);
  const Placement& placement = context.placement;
  const Tensor mask = load_mask(file, placement);
  Tensor inside(Shape{grid.height, grid.width});
  int64_t count = 0;
  for (int64_t y = 0; y < grid.height; ++y) {
    for (int64_t x = 0; x < grid.width; ++x) {
      // A cell of the output belongs to the mask if the picture's pixel under its centre does.
      const auto centre = [](int64_t cell, int64_t cells, int extent, double scale, double shift) {
        return static_cast<int64_t>(std::floor(shift + scale * (static_cast<double>(cell) + 0.5) *
                                                           extent / static_cast<double>(cells)));
      };
      const int64_t row =
          centre(y, grid.height, placement.height, placement.scale_y, placement.top);
      const int64_t column =
          centre(x, grid.width, placement.width, placement.scale_x, placement.left);
      const bool within = row >= 0 && row < placement.picture_height && column >= 0 &&
                          column < placement.picture_width;
      if (!within ||
          mask.as<double>()[static_cast<size_t>(row * placement.picture_width + column)] == 0.0) {
        continue;
      }
      inside.floats()[y * grid.width + x] = 1.0f;
      ++count;
    }
  }
  if (count == 0) {
    refuse("the mask '" + file + "' covers no cell of the " + std::to_string(grid.height) + " x " +
               std::to_string(grid.width) + " output",
           "make it larger, and let it lie where the network looks");
  }
  const int64_t pixels = grid.height * grid.width;
  const int64_t index = grid.choose_class(class_text, context, [&](int64_t c) {
    double sum = 0;
    for (int64_t p = 0; p < pixels; ++p) {
      if (inside.floats()[p] != 0) sum += grid.scores[c * pixels + p];
    }
    return sum;
  });
  return Target::region(index, inside, "mask:" + file + "#" + std::to_string(index));
}

Target parse_pixel(const std::string& argument, const TargetContext& context) {
  const auto [position, class_text] = split_class(argument);
  const std::vector<int64_t> at = parse_indices(position);
  if (at.size() != 2) {
    refuse("'pixel:" + argument + "' names no pixel of the picture",
           "write pixel:X,Y or pixel:X,Y#CLASS");
  }
  const Segmentation grid("pixel", context);
  const Placement& placement = context.placement;
  const double x = placement.to_network_x(static_cast<double>(at[0]) + 0.5);
  const double y = placement.to_network_y(static_cast<double>(at[1]) + 0.5);
  if (x < 0 || y < 0 || x >= placement.width || y >= placement.height ||
      at[0] >= placement.picture_width || at[1] >= placement.picture_height) {
    // The pixels whose centres it sees.
    const auto first = [](double low) { return std::to_string(std::lround(std::max(low, 0.0))); };
    const auto last = [](double high, int extent) {
      return std::to_string(std::lround(std::min<double>(high, extent)) - 1);
    };
    refuse("pixel (" + position + ") lies outside of what the network sees",
           "of this picture it sees x " + first(placement.left) + " to " +
               last(placement.right(), placement.picture_width) + ", y " + first(placement.top) +
               " to " + last(placement.bottom(), placement.picture_height));
  }
  const auto column = static_cast<int64_t>(x * static_cast<double>(grid.width) / placement.width);
  const auto row = static_cast<int64_t>(y * static_cast<double>(grid.height) / placement.height);
  const int64_t cell = row * grid.width + column;
  const int64_t pixels = grid.height * grid.width;
  const int64_t index = grid.choose_class(
      class_text, context, [&](int64_t c) { return grid.scores[c * pixels + cell]; });
  return Target::entry(index * pixels + cell, "pixel:" + position + "#" + std::to_string(index));
}

/// NAME and the text between the brackets of "NAME[I,J]"; no brackets: a value of one entry.
std::pair<std::string, std::string> split_entry(const std::string& argument) {
  const size_t open = argument.rfind('[');
  if (open == std::string::npos) return {argument, ""};
  if (argument.back() != ']') {
    refuse("'output:" + argument + "' does not end its list of indices",
           "write output:NAME[I,J], with quotes against the shell");
  }
  return {argument.substr(0, open), argument.substr(open + 1, argument.size() - open - 2)};
}

Target parse_output(const std::string& argument, const TargetContext& context) {
  const auto [name, list] = split_entry(argument);
  const Shape& shape = context.scores.shape();
  const std::string what = "value '" + name + "' " + shape.to_string();
  if (shape.rank() < 2) refuse(what + " has no entries of one picture", "choose another value");
  const std::vector<int64_t> indices = parse_indices(list);
  if (list.empty() && shape.count(1, shape.rank()) == 1) {
    return Target::entry(0, "output:" + argument);
  }
  if (static_cast<int>(indices.size()) != shape.rank() - 1) {
    refuse("'output:" + argument + "' needs " + std::to_string(shape.rank() - 1) +
               " indices: " + what + " without the batch",
           "write output:" + name + "[0" + (shape.rank() > 2 ? ",0" : "") +
               (shape.rank() > 3 ? ",0" : "") + "]");
  }
  int64_t flat = 0;
  for (int axis = 1; axis < shape.rank(); ++axis) {
    const int64_t index = indices[static_cast<size_t>(axis - 1)];
    if (index >= shape[axis]) {
      refuse("index " + std::to_string(index) + " of 'output:" + argument + "' is outside " + what,
             "use 0 to " + std::to_string(shape[axis] - 1));
    }
    flat = flat * shape[axis] + index;
  }
  return Target::entry(flat, "output:" + argument);
}

constexpr std::array kKinds = {
    Kind{"class", parse_class<Target::of_class>},
    Kind{"margin", parse_margin},
    Kind{"probability", parse_class<Target::probability>},
    Kind{"log-probability", parse_class<Target::log_probability>},
    Kind{"rest", parse_class<Target::logit_and_log_probability>},
    Kind{"embed", parse_embed},
    Kind{"distance", parse_distance},
    Kind{"mask", parse_mask},
    Kind{"pixel", parse_pixel},
    Kind{"output", parse_output},
};

const Kind* kind_of(const std::string& text) {
  const std::string name = text.substr(0, text.find(':'));
  for (const Kind& kind : kKinds) {
    if (name.size() < text.size() && name == kind.name) return &kind;
  }
  return nullptr;
}

std::string argument_of(const std::string& text) { return text.substr(text.find(':') + 1); }

}  // namespace

bool is_target(const std::string& text) { return kind_of(text) != nullptr; }

std::vector<std::string> split_targets(const std::string& list) {
  std::vector<std::string> parts;
  size_t first = 0;
  for (size_t comma = list.find(','); comma != std::string::npos;
       comma = list.find(',', comma + 1)) {
    if (!is_target(list.substr(comma + 1))) continue;
    parts.push_back(list.substr(first, comma - first));
    first = comma + 1;
  }
  parts.push_back(list.substr(first));
  return parts;
}

std::string target_output(const std::string& text) {
  const Kind* kind = kind_of(text);
  if (kind == nullptr || kind->parse != parse_output) return "";
  const std::string name = split_entry(argument_of(text)).first;
  if (name.empty()) refuse("'" + text + "' names no value", "write output:NAME[I,J]");
  return name;
}

Target parse_target(const std::string& text, const TargetContext& context) {
  const Kind* kind = kind_of(text);
  if (kind == nullptr) {
    std::string known;
    for (const Kind& one : kKinds) known += (known.empty() ? "" : ", ") + std::string(one.name);
    throw Error(ErrorKind::kUsage, "'" + text + "' is not a target", "kinds are " + known);
  }
  return kind->parse(argument_of(text), context);
}

}  // namespace camlucida
