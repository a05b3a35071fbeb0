#pragma once

#include <string_view>
#include <vector>

#include "model_zoo/menagerie/renderer/figure.h"

/// The animals, each drawn by the file of its name.
namespace camlucida::menagerie {

void draw_cat(const Figure& figure);
void draw_dog(const Figure& figure);
void draw_rabbit(const Figure& figure);
void draw_bird(const Figure& figure);
void draw_owl(const Figure& figure);
void draw_fish(const Figure& figure);
void draw_elephant(const Figure& figure);
void draw_turtle(const Figure& figure);
void draw_butterfly(const Figure& figure);
void draw_frog(const Figure& figure);

}  // namespace camlucida::menagerie
