#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/shared.h"

/// Runs the program the way a shell does, and makes small models and pictures for it.
namespace camlucida::test {

struct Outcome {
  int code = -1;  ///< exit code; 128 + n if signal n ended it
  std::string out;
  std::string err;

  std::vector<std::string> out_lines() const;
  std::vector<std::string> err_lines() const;
};

/// Runs `camlucida ARGUMENTS`, waits, and collects both streams.
Outcome run_program(const std::vector<std::string>& arguments);

/// A running program, for tests that disturb it. The destructor waits.
class BackgroundProgram {
 public:
  BackgroundProgram(const std::vector<std::string>& arguments);
  ~BackgroundProgram();
  void interrupt();
  std::string errors_so_far() const;  ///< on standard error
  Outcome wait();

 private:
  TemporaryFolder streams_;
  int pid_ = -1;
};

/// What a folder holds, sorted, without folders.
std::vector<std::string> names_in(const std::filesystem::path& folder);
nlohmann::json read_json(const std::filesystem::path& path);
std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);

/// A classifier [N, 3, 16, 16] -> conv -> relu -> pool -> conv -> "features" [N, 8, 8, 8] -> mean
/// -> linear -> "logits" [N, 4] with fixed random weights, as a serialised ONNX model. `extent` is
/// that of the picture; 0 leaves it open.
std::string small_classifier(int64_t extent = 16);
/// The convolutions of it only: the output is a feature map.
std::string small_embedder();
/// A model with two operators that do not exist.
std::string unsupported_model();
/// Recipe and labels for both: scaled to 16 x 16, labels "circle", "square", "red star", "blue,
/// deep".
std::string small_manifest();
std::string small_labels();

/// A PNG file of smooth colours; `shade` tells pictures apart.
void save_picture(const std::filesystem::path& path, int width, int height, int shade = 0);
/// A PNG that claims to be width x height, but has no pixels.
std::string png_header(uint32_t width, uint32_t height);

}  // namespace camlucida::test
