#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "engine/native/model_file.h"
#include "tools/common_flags.h"
#include "tools/json_output.h"
#include "tools/program.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida convert resnet50.onnx resnet50.clm
  camlucida convert resnet50.onnx resnet50.half.clm --weights-as float16

A .clm file is mapped into memory when it is loaded: nothing is parsed but a short description, and
processes that use the same file share its weights. Manifest and labels go into it, so that it needs
no file beside it. With float32 weights the converted model computes the same bits. float16 halves
the file, int8 quarters it; both round the weights (the largest error is printed), and the weights
are expanded when the model is loaded.)";

struct Flags {
  ModelFlags model;
  OutputFlags output;
  std::string target;
  std::string storage = "float32";
  bool force = false;
};

WeightStorage storage_of(const std::string& name) {
  if (name == "float16") return WeightStorage::kFloat16;
  return name == "int8" ? WeightStorage::kInt8 : WeightStorage::kFloat32;
}

int run(const Flags& flags) {
  const std::filesystem::path target = flags.target;
  if (target.extension() != ".clm") {
    throw Error(ErrorKind::kUsage, "'" + flags.target + "' does not end in .clm",
                "name the converted model OUT.clm");
  }
  if (std::filesystem::exists(target) && !flags.force) {
    throw Error(ErrorKind::kUsage, "'" + flags.target + "' exists already",
                "use --force to replace it, or another name");
  }
  const Model model = load_model(flags.model, flags.output);
  NativeModel native{model.graph(), model.manifest().value_or(Manifest{}), model.labels()};
  native.manifest.name = model.name();
  native.manifest.preprocessing = model.preprocessing();
  const NativeWriteReport report = write_native(target, native, storage_of(flags.storage));
  if (flags.output.json) {
    print_json({{"file", flags.target},
                {"bytes", report.bytes},
                {"weight_bytes", report.weight_bytes},
                {"tensors", report.tensors},
                {"weights_as", flags.storage},
                {"largest_error", report.largest_error}});
  } else if (!flags.output.quiet) {
    fmt::print("{}: {:.2f} MB, {} tensors as {}\n", flags.target,
               static_cast<double>(report.bytes) / 1e6, report.tensors, flags.storage);
    if (report.largest_error > 0) {
      fmt::print("  largest rounding error of a weight: {:.2g} of the largest in its tensor\n",
                 report.largest_error);
    }
  }
  return 0;
}

}  // namespace

void add_convert(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Command command = program.add("convert", "Any supported model to the native .clm format",
                                      kExamples, [flags] { return run(*flags); });
  add_model_flags(command, flags->model, ModelArgument::kPositional);
  command.add_option("OUT", flags->target, "The file to write, OUT.clm").required().type_name("");
  command.add_option("--weights-as", flags->storage, "How large weights are stored [float32]")
      .one_of({"float32", "float16", "int8"})
      .type_name("TYPE");
  command.add_flag("--force", flags->force, "Replace the file if it exists");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
