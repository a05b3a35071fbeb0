#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {
namespace {

void draw_fin(const Figure& fish, Part part, const Path& path, Vec root) {
  fish.solid(part, path, fish.look.pattern);
  const Bounds box = path.bounds();
  for (double share : {0.1, 0.3, 0.5, 0.7, 0.9}) {
    const Vec end{root.x < box.at(0.5, 0).x ? box.right : box.left, box.at(0, share).y};
    fish.tint(path, Path::line({root, mix(root, end, 0.5), end}, 0.018),
              darker(fish.look.pattern, 0.4).faded(0.6));
  }
}

}  // namespace

/// Swims to the right.
void draw_fish(const Figure& fish) {
  const double deep = 0.08 * fish.pose.build, wave = 0.10 * fish.pose.swing;
  const double fan = 0.08 * fish.pose.spread;
  const Figure tail = fish.turned(0.22 * fish.pose.curl, {-0.45, 0.05});
  draw_fin(tail, Part::kTail,
           Path::blob({{-0.42, 0.05},
                       {-0.66, -0.18},
                       {-0.98, -0.52 - fan, true},
                       {-0.92, -0.16},
                       {-0.82, 0.05, true},
                       {-0.92, 0.26},
                       {-0.98, 0.62 + fan, true},
                       {-0.66, 0.28}}),
           {-0.44, 0.05});
  draw_fin(fish, Part::kFins,
           Path::blob({{0.30, -0.40 - deep},
                       {0.02, -0.78 - fan - deep},
                       {-0.40, -0.82 - fan, true},
                       {-0.36, -0.52},
                       {-0.44, -0.18},
                       {0, -0.26}}),
           {0.10, -0.30});
  draw_fin(fish, Part::kFins,
           Path::blob({{0.10, 0.46 + deep},
                       {-0.06, 0.76 + deep},
                       {-0.34, 0.86 + fan, true},
                       {-0.34, 0.58},
                       {-0.38, 0.32},
                       {-0.10, 0.36}}),
           {0, 0.40});
  const Path body = Path::blob({{0.96, 0.02},
                                {0.78, -0.30},
                                {0.38, -0.52 - deep},
                                {-0.10, -0.44 - deep},
                                {-0.48, -0.12},
                                {-0.58, 0.05},
                                {-0.48, 0.22},
                                {-0.10, 0.52 + deep},
                                {0.38, 0.58 + deep},
                                {0.78, 0.36}});
  fish.coat(Part::kBody, body);
  fish.tint(body, Path::ellipse({0.20, 0.56 + deep}, 0.62, 0.26), fish.look.belly.faded(0.75));
  const Color edge = darker(fish.look.coat, 0.35).faded(0.5);
  for (int column = 0; column < 4; ++column) {
    for (int row = -2 + column / 2; row <= 2 - column / 2; ++row) {
      const Vec at{0.26 - 0.19 * column, 0.04 + 0.17 * row + (column % 2 ? 0.085 : 0)};
      fish.tint(
          body,
          Path::line({at + Vec{0.03, -0.075}, at + Vec{-0.05, 0}, at + Vec{0.03, 0.075}}, 0.022),
          edge);
    }
  }
  const Path face = Path::ellipse({0.86, 0.03}, 0.44, 0.62);
  fish.tint(body, face, lighter(fish.look.coat, 0.18).faded(0.75));
  fish.tint(body, Path::line({{0.52, -0.42}, {0.40, 0.02}, {0.52, 0.46}}, 0.035), edge);
  draw_fin(fish.turned(0.5 * wave - 0.2, {0.30, 0.18}), Part::kFins,
           Path::blob({{0.34, 0.10},
                       {0.10, 0.12},
                       {-0.10, 0.24, true},
                       {0.02, 0.42},
                       {0.20, 0.40},
                       {0.36, 0.24}}),
           {0.34, 0.17});
  fish.blush(body, {0.66, 0.18}, 0.11);
  fish.eye({0.66, -0.12}, 0.125, {0.25, 0});
  fish.solid(Part::kMouth, Path::ellipse({0.945, 0.06}, 0.065, 0.05, 0.5),
             mix(fish.look.accent, Color{0.9, 0.4, 0.4}, 0.5));
  fish.line(Part::kMouth, {{0.94, 0.07}, {0.87, 0.16}, {0.76, 0.17}}, 0.03, fish.look.ink);
}

}  // namespace camlucida::menagerie
