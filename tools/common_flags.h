#pragma once

#include <optional>
#include <string>
#include <vector>

#include "explain/model.h"
#include "tools/command.h"

/// Flags that several sub-commands share.
namespace camlucida::cli {

/// Which model, and how its inputs and outputs are to be understood.
struct ModelFlags {
  std::string model;
  std::string weights;   ///< of a Caffe network; empty = beside it
  std::string manifest;  ///< --preprocess
  std::string size, crop, channels;
  std::vector<double> mean, std;
  std::optional<double> scale;
  std::string labels;
  std::string output;
  std::string device = "cpu";
  std::string precision = "fp32";
  int threads = 0;         ///< 0 = all cores
  int batch_size = 0;      ///< 0 = 8 on the processor, 128 on a GPU
  std::string max_memory;  ///< empty = physical memory decides

  bool change_recipe() const;  ///< any of size ... scale was given
};

/// How the program talks.
struct OutputFlags {
  bool json = false;
  bool quiet = false;
};

enum class ModelArgument {
  kOption,
  kPositional,
  kNone,  ///< the command has its own
};

void add_model_flags(const Command& command, ModelFlags& flags, ModelArgument kind);
/// --json and --quiet.
void add_output_flags(const Command& command, OutputFlags& flags);
/// INPUT... and -i, which add to the same list. Neither is required: see require_inputs.
void add_input_arguments(const Command& command, std::vector<std::string>& inputs);
/// Throws Error(kUsage) if there are none.
void require_inputs(const std::vector<std::string>& inputs);

/// --batch-size and --max-memory.
void add_batch_flags(const Command& command, ModelFlags& flags);
/// Bytes of "512M" or "2G" (powers of 1024); Error(kUsage) naming `flag`.
size_t parse_bytes(const std::string& text, const std::string& flag);

/// Height and width of "224" or "224x200" (height first); Error(kUsage) naming `flag`.
struct Size {
  int height = 0;
  int width = 0;
  bool square = false;  ///< one number was given
};
Size parse_size(const std::string& text, const std::string& flag);

/// The model with its flags applied. Prints a notice if the preprocessing is only assumed, unless
/// `output.quiet`. Throws what Model::load throws, Error(kUsage) for flags that make no sense.
Model load_model(const ModelFlags& flags, const OutputFlags& output);

}  // namespace camlucida::cli
