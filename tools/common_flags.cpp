#include "tools/common_flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <atomic>
#include <charconv>
#include <memory>

#include "tools/device.h"
#include "tools/messages.h"
#include "tools/zoo_catalogue.h"

namespace camlucida::cli {
namespace {

/// A positive number of pixels; false if `text` is none.
bool parse_extent(const std::string& text, int& value) {
  const char* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && last == end && value > 0;
}

ChannelOrder parse_channels(const std::string& text) {
  if (text == "rgb") return ChannelOrder::kRgb;
  if (text == "bgr") return ChannelOrder::kBgr;
  return ChannelOrder::kGray;
}

/// `recipe` with what the flags say put over it.
Preprocessing changed(Preprocessing recipe, const ModelFlags& flags) {
  if (!flags.size.empty()) {
    if (flags.size == "none") {
      recipe.resize = ResizeOp::kKeep;
    } else {
      const Size size = parse_size(flags.size, "--size");
      recipe.resize = size.square ? ResizeOp::kShortSide : ResizeOp::kExact;
      recipe.short_side = size.height;
      recipe.resize_height = size.height;
      recipe.resize_width = size.width;
      // Scaled to an exact size there is nothing left to cut off, unless somebody says so.
      if (!size.square) recipe.crop_height = recipe.crop_width = 0;
    }
  }
  if (!flags.crop.empty()) {
    const Size crop = flags.crop == "none" ? Size{} : parse_size(flags.crop, "--crop");
    recipe.crop_height = crop.height;
    recipe.crop_width = crop.width;
  }
  if (!flags.channels.empty()) {
    recipe.channel_order = parse_channels(flags.channels);
    const auto fit = [&](std::vector<double>& values) {
      if (recipe.channels() == 1 && values.size() == 3) {
        values = {(values[0] + values[1] + values[2]) / 3};
      }
    };
    fit(recipe.mean);
    fit(recipe.std);
  }
  if (!flags.mean.empty()) recipe.mean = flags.mean;
  if (!flags.std.empty()) recipe.std = flags.std;
  if (flags.scale) recipe.scale = *flags.scale;
  recipe.check();
  return recipe;
}

/// "104, 117, 123"
std::string text_of(const std::vector<double>& values) {
  return fmt::format("{:.6g}", fmt::join(values, ", "));
}

/// Says what is assumed about the preprocessing where nobody stated it.
void report_recipe(const Model& model) {
  const Preprocessing& recipe = model.preprocessing();
  const std::string& source = model.preprocessing_source();
  const std::string extent = fmt::format("{} x {}", recipe.crop_height, recipe.crop_width);
  if (source == "ImageNet") {
    report_notice("no manifest and no preprocessing flags: assuming the usual ImageNet recipe (" +
                  extent + (recipe.channels() == 1 ? " gray" : " RGB") +
                  ", ImageNet mean and deviation); see --preprocess, --size, --mean");
  } else if (source == "prototxt" || source == "Caffe") {
    const std::string assumed =
        source == "Caffe" ? "no manifest, no preprocessing flags and no transform_param: assuming "
                            "the customs of Caffe"
                          : "preprocessing taken from the prototxt";
    const std::string mean = "mean " + text_of(recipe.mean);
    const std::string missing = model.missing_mean_file();
    report_notice(fmt::format(
        "{} ({}{}, bytes, {}, deviation {}){}; see --preprocess, --size, --mean", assumed, extent,
        recipe.channels() == 1 ? " gray" : " BGR", mean, text_of(recipe.std),
        missing.empty()
            ? ""
            : "; its mean file '" + missing + "' is not beside it, the mean is assumed"));
  }
}

}  // namespace

bool ModelFlags::change_recipe() const {
  return !size.empty() || !crop.empty() || !channels.empty() || !mean.empty() || !std.empty() ||
         scale.has_value();
}

void add_model_flags(const Command& command, ModelFlags& flags, ModelArgument kind) {
  const char* model_name = kind == ModelArgument::kPositional ? "-m,--model,MODEL" : "-m,--model";
  if (kind != ModelArgument::kNone) {
    command
        .add_option(model_name, flags.model,
                    "Model file (.onnx, .prototxt, .clm), or a name of `zoo list`")
        .required()
        .type_name("FILE");
    command
        .add_option(
            "--weights", flags.weights,
            "Weights (.caffemodel) of a .prototxt [of the same name, or the only ones beside "
            "it]")
        .type_name("FILE");
  }
  const std::string preprocessing = "Preprocessing";
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help).group(preprocessing);
  };
  add("--preprocess", flags.manifest, "Manifest to use instead of manifest.json beside the model")
      .type_name("FILE");
  add("--size", flags.size, "Scale the shorter side to N, or to HxW exactly, or none")
      .type_name("N|HxW");
  add("--crop", flags.crop, "Then cut N x N (or HxW) out of the centre, or none")
      .type_name("N|HxW");
  add("--mean", flags.mean, "Mean per channel, in the network's channel order")
      .separated_by(',')
      .one_word()
      .type_name("M,...");
  add("--std", flags.std, "Deviation per channel: y = (byte * scale - mean) / std")
      .separated_by(',')
      .one_word()
      .type_name("S,...");
  add("--scale", flags.scale, "Factor on the bytes, for instance 0.00392156862745098 (1/255)")
      .type_name("F");
  add("--channels", flags.channels, "rgb, bgr or gray")
      .one_of({"rgb", "bgr", "gray"})
      .type_name("ORDER");
  command.add_option("--labels", flags.labels, "Class names, one per line").type_name("FILE");
  command.add_option("--output", flags.output, "Model output that holds the scores")
      .type_name("NAME");
  command
      .add_option("--device", flags.device,
                  "cpu, cuda or cuda:N (a GPU), or emulated: the GPU's plan and own kernels on the "
                  "processor, slow, for tests [cpu]")
      .type_name("DEVICE");
  command
      .add_option("--precision", flags.precision,
                  "Of a GPU: fp32, tf32, fp16 or bf16; sums and gradients stay float32 [fp32]")
      .type_name("NAME");
  command
      .add_option("--threads", flags.threads,
                  "Threads of the processor, 0 = all cores [0]; results do not depend on it")
      .within(0, 1024)
      .type_name("N");
}

void add_output_flags(const Command& command, OutputFlags& flags) {
  command.add_flag("--json", flags.json, "Machine-readable output on standard output");
  command.add_flag("-q,--quiet", flags.quiet, "Print nothing but errors");
}

void add_input_arguments(const Command& command, std::vector<std::string>& inputs) {
  command
      .add_option("INPUT", inputs,
                  "Picture (.jpg .png .bmp), folder, 'glob', .txt list, or .npy tensor "
                  "(float32 NCHW, already preprocessed)")
      .type_name("");
  // A second way to say the same, for those who are used to it.
  command
      .add_option(
          "-i,--image", [&inputs](const std::string& input) { inputs.push_back(input); },
          "An INPUT; repeatable")
      .type_name("FILE");
}

void require_inputs(const std::vector<std::string>& inputs) {
  if (!inputs.empty()) return;
  throw Error(ErrorKind::kUsage, "INPUT is missing",
              "name a picture, folder, 'glob', .txt list or .npy tensor");
}

void add_batch_flags(const Command& command, ModelFlags& flags) {
  command
      .add_option(
          "--batch-size", flags.batch_size,
          "Pictures, or variants of a picture, that one pass takes at most [8, on a GPU 128]")
      .within(1, 65536)
      .type_name("N");
  command
      .add_option("--max-memory", flags.max_memory,
                  "Limit for the activations of one pass, such as 512M or 2G; batches shrink to "
                  "fit [physical memory]")
      .type_name("BYTES");
}

size_t parse_bytes(const std::string& text, const std::string& flag) {
  size_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const std::string unit(stop, end);
  const size_t shift = unit == "K"    ? 10
                       : unit == "M"  ? 20
                       : unit == "G"  ? 30
                       : unit.empty() ? 0
                                      : 64;
  if (error != std::errc() || value == 0 || shift == 64 || value > SIZE_MAX >> shift) {
    throw Error(ErrorKind::kUsage, flag + " " + text + " is not a size of memory",
                "give bytes, or a number with K, M or G, such as 512M");
  }
  return value << shift;
}

Size parse_size(const std::string& text, const std::string& flag) {
  Size size;
  const size_t times = text.find('x');
  const bool valid = times == std::string::npos
                         ? parse_extent(text, size.height)
                         : parse_extent(text.substr(0, times), size.height) &&
                               parse_extent(text.substr(times + 1), size.width);
  if (!valid) {
    throw Error(ErrorKind::kUsage, flag + " " + text + " is not a size",
                "give a number of pixels, HEIGHTxWIDTH or none");
  }
  size.square = times == std::string::npos;
  if (size.square) size.width = size.height;
  return size;
}

Model load_model(const ModelFlags& flags, const OutputFlags& output) {
  const std::string path = resolve_model(flags.model);
  ModelOptions options;
  options.weights = flags.weights;
  options.manifest = flags.manifest;
  options.labels = flags.labels;
  options.output = flags.output;
  options.threads = flags.threads;
  DeviceChoice device = choose_device(flags.device, flags.precision, flags.threads);
  options.gpu = std::move(device.gpu);
  options.precision = device.precision;
  options.max_batch = flags.batch_size;
  if (!output.quiet) {
    // From whichever thread runs out of memory first.
    options.notice = [said = std::make_shared<std::atomic<bool>>(false)](const std::string& line) {
      if (!said->exchange(true)) report_notice(line);
    };
  }
  if (!flags.max_memory.empty()) options.max_memory = parse_bytes(flags.max_memory, "--max-memory");
  if (flags.change_recipe()) {
    // The flags change single fields of a recipe that is known only once the model is.
    const Preprocessing base = Model::load(path, options).preprocessing();
    options.preprocessing = changed(base, flags);
  }
  Model model = Model::load(path, options);
  if (!output.quiet) {
    report_recipe(model);
    report_shortcomings(options.gpu.get());
  }
  return model;
}

}  // namespace camlucida::cli
