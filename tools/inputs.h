#pragma once

#include <filesystem>
#include <memory>
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
  std::variant<std::shared_ptr<const Image>, Tensor> data;
  std::string sha256;  ///< of the file
  int width = 0;       ///< of the picture, or of the tensor
  int height = 0;
  std::optional<PreparedInput> prepared;  ///< what the network gets, see prepare_input
  double preprocess_ms = 0;               ///< time it took to make it

  bool is_tensor() const { return std::holds_alternative<Tensor>(data); }
  const std::shared_ptr<const Image>& picture() const {
    return std::get<std::shared_ptr<const Image>>(data);
  }
  const Image& image() const { return *picture(); }
  const Tensor& tensor() const { return std::get<Tensor>(data); }
};

/// Reads the picture or tensor. A tensor must fit the picture input of `model`. Throws
/// Error(kInput). May be called from several threads at once.
LoadedInput load_input(const Input& input, const Model& model);
/// Fills `loaded.prepared`: the picture preprocessed, or the tensor as it is. Throws what
/// Model::prepare throws.
void prepare_input(LoadedInput& loaded, const Model& model);

/// How many threads to read inputs ahead of the network with. A GPU leaves all threads of the run
/// free; on the processor they take turns with the network's.
int reading_threads(const Model& model);

}  // namespace camlucida::cli
