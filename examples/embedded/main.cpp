#include <camlucida/camlucida.h>

#include <cstdio>

/// Says what a picture shows and writes a copy of it that shows why.
int main(int count, char** arguments) {
  if (count != 4) {
    std::fprintf(stderr, "usage: %s MODEL.clm PICTURE OVERLAY.png\n", arguments[0]);
    return 2;
  }
  try {
    const auto model = camlucida::Model::load(arguments[1]);
    const auto picture = camlucida::Image::load(arguments[2]);
    const auto answer = model.explain(picture, {.method = "gradcam"});
    for (const camlucida::ClassScore& best : answer.prediction.ranking) {
      std::printf("%5.1f %%  %s\n", 100 * best.probability, best.label.c_str());
    }
    answer.explanations[0].save_overlay(arguments[3]);
  } catch (const camlucida::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return camlucida::exit_code(error.kind());
  }
}
