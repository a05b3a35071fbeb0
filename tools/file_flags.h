#pragma once

#include <string>

#include "tools/command.h"
#include "tools/output_files.h"

/// Which files a run writes, and where: flags of every command that explains.
namespace camlucida::cli {

struct FileFlags {
  std::string folder = ".";
  std::string formats = "png,raw,map,json";
  std::string colormap = "jet";
  double alpha = 0.5;
  bool force = false, resume = false;
};

/// `resume`: help text of --resume.
void add_file_flags(const Command& command, FileFlags& flags, const std::string& resume);

/// Throws Error(kUsage) for a format or palette that does not exist.
FileOptions file_options(const FileFlags& flags, Normalisation normalisation);

}  // namespace camlucida::cli
