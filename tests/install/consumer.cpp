#include <camlucida/camlucida.h>

#include <cstdio>

/// The program of the README: predicts and explains one picture.
int main(int count, char** arguments) {
  if (count != 4) return 2;
  try {
    const auto model = camlucida::Model::load(arguments[1]);
    const auto image = camlucida::Image::load(arguments[2]);
    const auto answer = model.explain(image, {.method = "gradcam"});
    answer.explanations[0].save_overlay(arguments[3]);
    std::printf("%s\n", answer.prediction.ranking[0].label.c_str());
    return answer.prediction.ranking[0].label == "star" ? 0 : 1;
  } catch (const camlucida::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return camlucida::exit_code(error.kind());
  }
}
