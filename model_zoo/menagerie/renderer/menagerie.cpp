#include "model_zoo/menagerie/renderer/menagerie.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <string>

#include "engine/error.h"
#include "model_zoo/menagerie/renderer/animals/animals.h"
#include "model_zoo/menagerie/renderer/stage.h"

namespace camlucida::menagerie {
namespace {

struct Animal {
  std::string_view name;
  void (*draw)(const Figure&);
  std::vector<Part> parts;
};

const std::vector<Animal>& kinds() {
  using enum Part;
  static const std::vector<Animal> kinds = {
      {"cat", draw_cat, {kBody, kHead, kEars, kEyes, kNose, kMouth, kWhiskers, kTail, kLegs}},
      {"dog", draw_dog, {kBody, kHead, kEars, kEyes, kNose, kMouth, kTail, kLegs}},
      {"rabbit", draw_rabbit, {kBody, kHead, kEars, kEyes, kNose, kMouth, kWhiskers, kTail, kLegs}},
      {"bird", draw_bird, {kBody, kHead, kEyes, kBeak, kWings, kTail, kLegs}},
      {"owl", draw_owl, {kBody, kHead, kEars, kEyes, kBeak, kWings, kTail, kLegs}},
      {"fish", draw_fish, {kBody, kEyes, kMouth, kFins, kTail}},
      {"elephant",
       draw_elephant,
       {kBody, kHead, kEars, kEyes, kMouth, kTail, kLegs, kTrunk, kTusks}},
      {"turtle", draw_turtle, {kHead, kEyes, kMouth, kTail, kLegs, kShell}},
      {"butterfly", draw_butterfly, {kBody, kHead, kEyes, kWings, kAntennae}},
      {"frog", draw_frog, {kBody, kHead, kEyes, kNose, kMouth, kLegs}},
  };
  return kinds;
}

/// Every decision has random numbers of its own, so that one animal can take the place of another
/// without anything else in the scene changing.
enum Stream : uint64_t {
  kAnimalStream,
  kPaletteStream,
  kBackdropStream,
  kPlaceStream,
  kPropStream,
  kLookStream,
  kPoseStream,
  kPatternStream,
  kForegroundStream,
  kMarkerStream,
  kCompanionStreams
};

// What a point of the canvas can belong to beside the codes of canvas.h.
constexpr Owner kFirstPart = 1;        ///< + Part: of the animal
constexpr Owner kFirstCompanion = 64;  ///< + Part: of its companion

int checked(std::optional<int> animal, const char* what) {
  const int count = static_cast<int>(kinds().size());
  if (*animal < 0 || *animal >= count) {
    throw Error(ErrorKind::kUsage,
                std::string(what) + " " + std::to_string(*animal) + " is no class of the Menagerie",
                "use 0 to " + std::to_string(count - 1));
  }
  return *animal;
}

/// Where an animal is and how it stands there.
struct Place {
  Vec centre;
  double half;  ///< half the side of its box
};

Place draw_place(Random& random, double horizon) {
  const double side = random.uniform(0.38, 0.92);
  const double foot = random.uniform(std::max(horizon + 0.10, side - 0.02), 0.99);
  return {{random.uniform(side / 2 - 0.03, 1.03 - side / 2), foot - side / 2}, side / 2};
}

/// Two boxes side by side; `index` 0 or 1.
Place draw_shared_place(Random& random, double horizon, int index) {
  const double side = random.uniform(0.40, 0.47), slot = index == 0 ? 0.255 : 0.745;
  const double foot = random.uniform(std::max(horizon + 0.12, 0.60), 0.96);
  return {{slot + random.uniform(-0.015, 0.015), foot - side / 2}, side / 2};
}

void draw_animal(const Stage& stage, const Animal& animal, const Place& place, uint64_t seed,
                 uint64_t streams, Owner first_owner) {
  Random looks(seed, streams + kLookStream), poses(seed, streams + kPoseStream),
      patterns(seed, streams + kPatternStream);
  const Look look = draw_look(looks, stage.palette);
  Pose pose;
  for (double* value : {&pose.nod, &pose.swing, &pose.curl, &pose.spread, &pose.build}) {
    *value = poses.uniform(-1, 1);
  }
  const double mirror = poses.uniform() < 0.5 ? -1 : 1, tilt = poses.uniform(-0.14, 0.14);
  const double squeeze = poses.uniform(-0.06, 0.06);
  const Vec foot = place.centre + Vec{0, 0.97 * place.half};
  // Light behind the animal sets it off from what is there.
  stage.tint(
      Path::circle(place.centre, 1.5 * place.half),
      Paint::glow(place.centre, 1.5 * place.half, 1.5 * place.half, Color{1, 0.99, 0.94, 0.34}));
  stage.shadow(foot, 0.95 * place.half);
  const Affine frame =
      stage.to_pixels * Affine::move(place.centre) * Affine::turn(tilt) *
      Affine::scale(mirror * place.half * (1 + squeeze), place.half * (1 - squeeze));
  animal.draw(Figure(stage.canvas, frame, look, pose, patterns, first_owner));
}

void draw_props(const Stage& stage, uint64_t seed, double horizon) {
  Random random(seed, kPropStream);
  const int64_t count = 1 + random.below(4);
  std::vector<Vec> feet;
  for (int64_t i = 0; i < count; ++i) {
    feet.push_back({random.uniform(0.05, 0.95), random.uniform(horizon + 0.06, 0.97)});
  }
  std::sort(feet.begin(), feet.end(), [](Vec a, Vec b) { return a.y < b.y; });
  for (const Vec& foot : feet) {
    draw_prop(stage, random, foot, (0.10 + 0.22 * (foot.y - horizon)) * random.uniform(0.8, 1.3));
  }
}

/// Reads from the canvas who is seen where.
void settle(const Canvas& canvas, Scene& scene, bool companion) {
  const int size = canvas.size();
  const size_t pixels = static_cast<size_t>(size) * static_cast<size_t>(size);
  scene.object.assign(pixels, 0);
  scene.parts.assign(pixels, 0);
  if (companion) scene.companion_object.assign(pixels, 0);
  const auto widen = [](SceneBox& box, int x, int y) {
    const bool first = box.right == 0;
    box = {first ? x : std::min(box.left, x), first ? y : std::min(box.top, y),
           std::max(box.right, x + 1), std::max(box.bottom, y + 1)};
  };
  constexpr int kMost = Canvas::kPoints * Canvas::kPoints / 2;
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      int counts[kFirstCompanion] = {}, object = 0, other = 0;
      canvas.visit_owners(x, y, [&](Owner owner) {
        if (owner >= kFirstCompanion) {
          ++other;
        } else if (owner >= kFirstPart) {
          ++object;
          ++counts[owner];
        }
      });
      const size_t i = static_cast<size_t>(y) * static_cast<size_t>(size) + static_cast<size_t>(x);
      if (object > kMost) {
        scene.object[i] = 1;
        scene.parts[i] =
            static_cast<uint8_t>(std::max_element(std::begin(counts), std::end(counts)) - counts);
        widen(scene.box, x, y);
      } else if (other > kMost) {
        scene.companion_object[i] = 1;
        widen(scene.companion_box, x, y);
      }
    }
  }
}

SceneBox box_of(const Bounds& bounds, int size) {
  return {static_cast<int>(std::floor(bounds.left * size)),
          static_cast<int>(std::floor(bounds.top * size)),
          static_cast<int>(std::ceil(bounds.right * size)),
          static_cast<int>(std::ceil(bounds.bottom * size))};
}

Scene draw_scene(uint64_t seed, const SceneOptions& options) {
  Scene scene;
  scene.animal = animal_of(seed, options);
  Random palettes(seed, kPaletteStream), backdrops(seed, kBackdropStream),
      places(seed, kPlaceStream), foregrounds(seed, kForegroundStream),
      markers(seed, kMarkerStream);
  Canvas canvas(options.size);
  const Palette palette = draw_palette(palettes);
  const Stage stage(canvas, palette);
  const double horizon = draw_backdrop(stage, backdrops);
  draw_props(stage, seed, horizon);
  const Place place =
      options.companion ? draw_shared_place(places, horizon, 0) : draw_place(places, horizon);
  if (options.companion) {
    draw_animal(stage, kinds()[static_cast<size_t>(*options.companion)],
                draw_shared_place(places, horizon, 1), seed, kCompanionStreams, kFirstCompanion);
  }
  draw_animal(stage, kinds()[static_cast<size_t>(scene.animal)], place, seed, 0, kFirstPart);
  draw_foreground(stage, foregrounds,
                  {place.centre.x - place.half, place.centre.y - place.half,
                   place.centre.x + place.half, place.centre.y + place.half});
  if (options.marker && *options.marker == scene.animal) {
    scene.marker = box_of(draw_marker(stage, markers), options.size);
  }
  settle(canvas, scene, options.companion.has_value());
  scene.picture = canvas.picture();
  return scene;
}

}  // namespace

const std::vector<std::string_view>& animals() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    for (const Animal& animal : kinds()) all.push_back(animal.name);
    return all;
  }();
  return names;
}

const std::vector<std::string_view>& parts() {
  // In the order of Part.
  static const std::vector<std::string_view> names = {
      "body",  "head", "ears", "eyes", "nose",  "mouth", "whiskers", "beak",
      "wings", "fins", "tail", "legs", "trunk", "tusks", "shell",    "antennae"};
  return names;
}

const std::vector<uint8_t>& parts_of(int animal) {
  static const std::vector<std::vector<uint8_t>> codes = [] {
    std::vector<std::vector<uint8_t>> all;
    for (const Animal& kind : kinds()) {
      all.emplace_back();
      for (Part part : kind.parts) {
        all.back().push_back(static_cast<uint8_t>(static_cast<int>(part) + 1));
      }
    }
    return all;
  }();
  return codes[static_cast<size_t>(checked(animal, "animal"))];
}

int animal_of(uint64_t seed, const SceneOptions& options) {
  if (options.animal) return *options.animal;
  return static_cast<int>(Random(seed, kAnimalStream).below(std::ssize(kinds())));
}

Scene draw(uint64_t seed, const SceneOptions& options) {
  if (options.size < 16 || options.size > 4096) {
    throw Error(ErrorKind::kUsage,
                "a picture of " + std::to_string(options.size) + " pixels a side cannot be drawn",
                "use 16 to 4096");
  }
  if (options.animal) checked(options.animal, "animal");
  if (options.marker) checked(options.marker, "marker");
  if (options.companion) checked(options.companion, "companion");
  try {
    return draw_scene(seed, options);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kResource,
                "no memory for a picture of " + std::to_string(options.size) + " pixels a side",
                "draw it smaller");
  }
}

}  // namespace camlucida::menagerie
