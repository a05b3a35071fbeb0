#include <memory>

#include "tools/diff_run.h"
#include "tools/program.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida diff resnet50.onnx resnet50.int8.clm photos/               # how far do reasons drift?
  camlucida diff old.onnx new.onnx photos/ --method gradcam,cam -c top3 -o drift/
  camlucida diff old.onnx new.onnx photos/ --max-flips 2% --min-correlation 0.9 -q   # in CI

Both models explain the same target of every picture: the best class of A, unless -c says otherwise.
Classes are matched by label where both models have labels, else by number. Each model has its own
preprocessing; where the crops differ, maps are compared on the pixels of the picture that both see.

Figures (maps scaled to [0, 1], as explain writes them):
  rank correlation     Spearman over the pixels: 1 = same order
  overlap of the top   intersection over union of the top 20 % of pixels (--top)
  pointing agreement   share of pictures whose maxima are close (--tolerance)
  differences          root of the mean square, and largest, of B - A
A constant map has no ranks: the pair counts as failed and is named.

Limits make the exit code 6, with one line on standard error for each that is crossed: what, how far,
and the worst picture. Files in DIR: diff.json, diff.csv (a line per picture, method and target),
diff.jsonl (written as the run goes, for --resume), and for cat.jpg cat.gradcam.c281.diff.png:
picture, map of A, map of B, B - A (red: B sees more).)";

void add_limits(const Command& command, DriftLimits& limits) {
  const std::string group = "Limits (none unless given)";
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help).group(group);
  };
  add("--max-flips", limits.max_flips, "Predictions that may change: a count (3) or share (5%)")
      .type_name("N|SHARE");
  add("--min-correlation", limits.min_correlation, "Rank correlation")
      .within(-1.0, 1.0)
      .type_name("R");
  add("--min-overlap", limits.min_overlap, "Overlap of the top pixels")
      .within(0.0, 1.0)
      .type_name("IOU");
  add("--min-pointing", limits.min_pointing, "Share of pictures whose maxima agree")
      .within(0.0, 1.0)
      .type_name("SHARE");
  add("--max-difference", limits.max_difference, "Root mean square of B - A")
      .within(0.0, 1.0)
      .type_name("D");
  add("--max-failed", limits.max_failed,
      "Pairs of maps that may fail to compare: a count or share [0 with the four above]")
      .type_name("N|SHARE");
  add("--judge", limits.judge,
      "What must keep the limits of correlation, overlap and difference: mean, median or worst "
      "picture [mean]")
      .one_of({"mean", "median", "worst"})
      .type_name("HOW");
}

}  // namespace

void add_diff(Program& program) {
  const auto flags = std::make_shared<DiffFlags>();
  const Command command =
      program.add("diff", "How far the explanations of two models drift apart", kExamples, [flags] {
        require_inputs(flags->inputs);
        return DiffRun(*flags).run();
      });
  command
      .add_option("A", flags->model_a,
                  "Model file (.onnx, .clm) or name of the zoo: how it should be")
      .required()
      .type_name("");
  command.add_option("B", flags->model_b, "The same: what is compared with it")
      .required()
      .type_name("");
  add_input_arguments(command, flags->inputs);
  add_request_flags(command, flags->request);
  const std::string sides = "For one of the models";
  const auto many = [&](const char* name, std::vector<std::string>& layers, const char* help) {
    command.add_option(name, layers, help).repeatable().type_name("NAME,...").group(sides);
  };
  many("--layer-a", flags->layers_a, "Layer of A, where -t does not serve both");
  many("--layer-b", flags->layers_b, "Layer of B");
  command.add_option("--preprocess-a", flags->manifest_a, "Manifest of A")
      .type_name("FILE")
      .group(sides);
  command.add_option("--preprocess-b", flags->manifest_b, "Manifest of B")
      .type_name("FILE")
      .group(sides);
  add_model_flags(command, flags->common, ModelArgument::kNone);
  add_batch_flags(command, flags->common);
  command.add_option("--top", flags->top_share, "Share of pixels that are the top of a map [0.2]")
      .within(0.001, 0.999)
      .type_name("SHARE");
  command
      .add_option("--tolerance", flags->tolerance,
                  "How far apart maxima that agree may be, in shares of the shorter side [0.07: 15 "
                  "of 224 pixels]")
      .within(0.0, 2.0)
      .type_name("SHARE");
  add_limits(command, flags->limits);
  const std::string files = "Files";
  command
      .add_option("-o,--output-dir", flags->folder,
                  "Folder for the files, made if missing [no files]")
      .type_name("DIR")
      .group(files);
  command.add_flag("--no-pictures", flags->no_pictures, "No *.diff.png").group(files);
  command.add_flag("--force", flags->force, "Replace an earlier run").group(files);
  command.add_flag("--resume", flags->resume, "Go on with an earlier run").group(files);
  command.add_flag("--progress", flags->progress, "Show progress even without a terminal");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
