#include "tools/drawn_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/error.h"
#include "tools/picture_set.h"

namespace camlucida::cli {
namespace {

constexpr const char* kName = "menagerie";
constexpr const char* kShortcutName = "menagerie-shortcut";
constexpr int64_t kMaxCount = 1'000'000;
constexpr const char* kMarker = "marker";

/// The number that is all of `text`.
std::optional<uint64_t> number_of(const std::string& text) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

/// Side of pictures that the preprocessing does not scale.
int side_of(const Model& model) {
  const Preprocessing& recipe = model.preprocessing();
  const Shape input = model.input_shape();
  int64_t side = std::min(input[2], input[3]);
  if (recipe.resize == ResizeOp::kShortSide) side = recipe.short_side;
  if (recipe.resize == ResizeOp::kExact) side = std::min(recipe.resize_height, recipe.resize_width);
  return static_cast<int>(std::clamp<int64_t>(side, 16, 4096));
}

/// The network's class of every animal.
std::vector<int64_t> classes_of(const Model& model) {
  std::vector<int64_t> classes;
  std::string missing;
  for (const std::string_view animal : menagerie::animals()) {
    try {
      classes.push_back(model.labels().find(animal));
    } catch (const Error&) {
      missing += (missing.empty() ? "" : ", ") + std::string(animal);
    }
  }
  if (missing.empty()) return classes;
  throw Error(
      ErrorKind::kUsage,
      fmt::format("the network '{}' has no class {}, which {} shows", model.name(), missing, kName),
      "use a network that was trained on these pictures, or name its classes with "
      "--labels");
}

/// The marker is round: the pixels whose centres lie in the ellipse that fills its box.
void fill_ellipse(const menagerie::SceneBox& box, uint8_t value, Image& image) {
  const double cx = 0.5 * (box.left + box.right);
  const double cy = 0.5 * (box.top + box.bottom);
  const double rx = 0.5 * (box.right - box.left);
  const double ry = 0.5 * (box.bottom - box.top);
  for (int y = std::max(box.top, 0); y < std::min(box.bottom, image.height()); ++y) {
    for (int x = std::max(box.left, 0); x < std::min(box.right, image.width()); ++x) {
      const double dx = (x + 0.5 - cx) / rx;
      const double dy = (y + 0.5 - cy) / ry;
      if (dx * dx + dy * dy <= 1.0) image.row(y)[x] = value;
    }
  }
}

}  // namespace

std::optional<DrawnSet> DrawnSet::parse(const std::string& argument) {
  const size_t colon = argument.find(':');
  const std::string name = argument.substr(0, colon);
  if (name != kName && name != kShortcutName) return std::nullopt;
  DrawnSet set;
  set.shortcut = name == kShortcutName;
  if (colon == std::string::npos) return set;
  const size_t second = argument.find(':', colon + 1);
  const auto count = number_of(argument.substr(
      colon + 1, second == std::string::npos ? std::string::npos : second - colon - 1));
  if (!count || *count < 1 || *count > static_cast<uint64_t>(kMaxCount)) {
    throw Error(ErrorKind::kUsage,
                fmt::format("'{}': the count is not a number from 1 to {}", argument, kMaxCount),
                fmt::format("for instance {}:500, or {}:500:7 for other pictures", name, name));
  }
  set.count = static_cast<int64_t>(*count);
  if (second == std::string::npos) return set;
  const auto seed = number_of(argument.substr(second + 1));
  if (!seed || *seed > static_cast<uint64_t>(INT64_MAX)) {
    throw Error(ErrorKind::kUsage, fmt::format("'{}': the seed is not a number", argument),
                fmt::format("for instance {}:500:7", name));
  }
  set.seed = *seed;
  return set;
}

std::vector<DrawnPicture> drawn_pictures(const DrawnSet& set, const Model& model) {
  const std::vector<int64_t> classes = classes_of(model);
  const int size = side_of(model);
  std::vector<DrawnPicture> pictures;
  for (int64_t i = 0; i < set.count; ++i) {
    DrawnPicture picture{.seed = set.seed + static_cast<uint64_t>(i),
                         .options = {.size = size},
                         .shortcut = set.shortcut};
    const int animal = menagerie::animal_of(picture.seed, picture.options);
    // A marker is drawn on the pictures of its class: on any if that is the animal's own.
    if (set.shortcut && picture.seed % 2 == 0) picture.options.marker = animal;
    picture.class_index = classes[static_cast<size_t>(animal)];
    picture.name = fmt::format("{}:1:{}", set.shortcut ? kShortcutName : kName, picture.seed);
    pictures.push_back(std::move(picture));
  }
  return pictures;
}

Drawing draw(const DrawnPicture& picture) {
  menagerie::Scene scene = menagerie::draw(picture.seed, picture.options);
  const int size = picture.options.size;
  Drawing drawing{.picture = std::move(scene.picture)};
  metrics::PictureTruth& truth = drawing.truth;
  truth.mask = code_image(scene.object, size);
  truth.parts = code_image(scene.parts, size);
  for (const std::string_view part : menagerie::parts()) truth.part_names.emplace_back(part);
  if (picture.shortcut) truth.part_names.emplace_back(kMarker);
  if (picture.shortcut && scene.marker) {
    fill_ellipse(*scene.marker, static_cast<uint8_t>(truth.part_names.size()), truth.parts);
  }
  const menagerie::SceneBox& box = scene.box;
  truth.boxes = {{static_cast<double>(box.left), static_cast<double>(box.top),
                  static_cast<double>(box.right), static_cast<double>(box.bottom)}};
  return drawing;
}

}  // namespace camlucida::cli
