#include "tools/file_flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tools/explain_request.h"

namespace camlucida::cli {

void add_file_flags(const Command& command, FileFlags& flags, const std::string& resume) {
  const auto group = [](Flag option) { return option.group("Files"); };
  group(command.add_option("-o,--output-dir", flags.folder,
                           "Folder for the files, made if missing [.]"))
      .type_name("DIR");
  group(command.add_option("--format", flags.formats,
                           "Which files, of png,raw,map,parts,truth,json [png,raw,map,json]"))
      .type_name("F,...");
  group(command.add_option(
            "--colormap", flags.colormap,
            fmt::format("Colours of the overlay [jet]: {}", fmt::join(colormap_names(), ", "))))
      .type_name("NAME");
  group(command.add_option("--alpha", flags.alpha,
                           "Weight of the colours, the picture has the rest [0.5]"))
      .within(0.0, 1.0)
      .type_name("0..1");
  group(command.add_flag("--force", flags.force, "Replace files of an earlier run"));
  group(command.add_flag("--resume", flags.resume, resume));
}

FileOptions file_options(const FileFlags& flags, Normalisation normalisation) {
  FileOptions options;
  options.folder = flags.folder;
  options.normalisation = normalisation;
  options.colormap = colormap_of(flags.colormap);
  options.alpha = flags.alpha;
  options.overlay = options.raw = options.map = options.json = false;
  for (const std::string& format : split_list(flags.formats)) {
    if (format == "png") {
      options.overlay = true;
    } else if (format == "raw") {
      options.raw = true;
    } else if (format == "map") {
      options.map = true;
    } else if (format == "parts") {
      options.parts = true;
    } else if (format == "truth") {
      options.truth = true;
    } else if (format == "json") {
      options.json = true;
    } else {
      throw Error(ErrorKind::kUsage, "--format " + format + " does not exist",
                  "choose from png, raw, map, parts, truth, json");
    }
  }
  return options;
}

}  // namespace camlucida::cli
