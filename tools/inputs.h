#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/error.h"
#include "engine/image/image.h"
#include "engine/tensor.h"
#include "explain/model.h"

/// INPUT arguments: pictures, tensors, folders, globs and lists of these.
namespace camlucida::cli {

/// How the names of files with stored embeddings begin; they are no inputs.
constexpr const char* kEmbeddingsFile = "pair.embeddings.";

/// One picture or tensor of a run, or an argument that led to none.
struct Input {
  std::filesystem::path path;
  /// Output files are called NAME.*: the stem of the file, unless two inputs of the run have the
  /// same, see unique_names.
  std::string name;
  std::optional<Error> problem;  ///< why the argument gave nothing (missing, empty folder)
};

/// Resolves the arguments in order. A folder is searched with its sub-folders for pictures and
/// tensors, sorted by path; what earlier runs wrote is left out. The lines of a .txt list
/// are files, folders or globs, relative to the folder of the list; empty lines and lines that
/// start with # are skipped. The same file is taken once.
std::vector<Input> find_inputs(const std::vector<std::string>& arguments);

/// Names under which the files of a run are told apart: the stem ("cat"), with the extension where
/// stems coincide in one folder ("cat.jpg", "cat.png"), with the names of as many folders as needed
/// where they coincide between folders ("siamese__cat", "persian__cat").
std::vector<std::string> unique_names(const std::vector<std::filesystem::path>& paths);

struct LoadedInput {
  std::variant<Image, Tensor> data;
  std::string sha256;  ///< of the file
  int width = 0;       ///< of the picture, or of the tensor
  int height = 0;

  bool is_tensor() const { return std::holds_alternative<Tensor>(data); }
  const Image& image() const { return std::get<Image>(data); }
  const Tensor& tensor() const { return std::get<Tensor>(data); }
};

/// Reads the picture or tensor. A tensor must fit the picture input of `model`. Throws
/// Error(kInput).
LoadedInput load_input(const Input& input, const Model& model);

}  // namespace camlucida::cli
