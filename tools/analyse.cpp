#include <memory>

#include "tools/analyse_run.h"
#include "tools/program.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida analyse -m resnet50.onnx set/index.json -o cats.ifa.json
  camlucida analyse -m resnet50.onnx photos/ -o cats.ifa.json --method hirescam -t layer4
  camlucida analyse ... -o cats.ifa.json --resume        # go on after Ctrl-C or a crash
  camlucida explain -m resnet50.onnx cat.jpg --method ifa --set ifa.scale=cats.ifa.json

Integrated feature analysis: how strong the maps of a data set are and what every channel of the
layer adds to them, per class, over the pictures that the network gets right. The method ifa then puts
any map on the common scale, from the median of the minima to the 90th percentile of the maxima, and
can keep only the channels that matter (--set ifa.select=diff_top). The true class of a picture comes
from the index, else from its folder if that is named after a class (a number or a label); without
either the network's answer counts as right.

Consistency is measured over the same pictures: for one class, how the sum of its map follows the
score (Pearson's r with logit and probability) and tells whether the network answers with the class
(AUROC). FILE is written when all is done, with two .npy files beside it.)";

}  // namespace

void add_analyse(Program& program) {
  const auto flags = std::make_shared<AnalyseFlags>();
  const Command command =
      program.add("analyse", "Strength of maps and importance of channels over a set of pictures",
                  kExamples, [flags] {
                    if (flags->data.empty()) {
                      throw Error(ErrorKind::kUsage, "DATA is missing",
                                  "name a folder, pictures or an index.json");
                    }
                    return AnalyseRun(*flags).run();
                  });
  command.add_option("DATA", flags->data, "Pictures, folder, 'glob', .txt list or index.json")
      .type_name("");
  command.add_option("-o,--output-file", flags->file, "The analysis, NAME.ifa.json")
      .required()
      .type_name("FILE");
  add_model_flags(command, flags->model, ModelArgument::kOption);
  const std::string group = "What to analyse";
  command
      .add_option("--method", flags->method,
                  "Maps to analyse: a weighted sum of channels such as gradcam, hirescam, "
                  "gradcam++, xgradcam, scorecam [gradcam]")
      .type_name("NAME")
      .group(group);
  command.add_option("-t,--target-layer", flags->layer, "Layer to analyse [automatic]")
      .type_name("NAME")
      .group(group);
  command
      .add_option("--labels-from", flags->labels,
                  "Where the true classes stand: index, folder, auto = either, answer = take the "
                  "network's word [auto]")
      .one_of({"auto", "index", "folder", "answer"})
      .type_name("WHERE")
      .group(group);
  command
      .add_option("-c,--class", flags->classes,
                  "Classes whose consistency is measured, or none [the commonest answer]")
      .one_word()
      .type_name("CLASS,...")
      .group(group);
  command
      .add_option("--select", flags->select,
                  "Channels of a second measurement: top, max, diff_top, reverse_diff_top, none "
                  "[diff_top]")
      .one_of({"top", "max", "diff_top", "reverse_diff_top", "none"})
      .type_name("RULE")
      .group(group);
  command.add_option("--ratio", flags->ratio, "Share of the channels that it keeps [0.3]")
      .within(0.0, 1.0)
      .type_name("0..1")
      .group(group);
  add_batch_flags(command, flags->model);
  command.add_flag("--force", flags->force, "Replace an earlier analysis");
  command.add_flag("--resume", flags->resume, "Go on with an earlier analysis");
  command.add_flag("--progress", flags->progress, "Show progress even without a terminal");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
