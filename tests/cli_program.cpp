#include "tests/cli_program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>

#include "engine/image/image.h"
#include "tests/onnx_model.h"

namespace camlucida::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Starts the program with its streams going to files of `folder`; returns its process id.
int start(const std::vector<std::string>& arguments, const fs::path& folder) {
  std::vector<std::string> words = {CAMLUCIDA_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string out = folder / "out";
  const std::string err = folder / "err";
  const int pid = fork();
  if (pid == 0) {
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
    dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  return pid;
}

Outcome collect(int pid, const fs::path& folder) {
  Outcome outcome;
  int status = 0;
  waitpid(pid, &status, 0);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = read_text(folder / "out");
  outcome.err = read_text(folder / "err");
  return outcome;
}

std::vector<float> weights(size_t count, unsigned seed, float scale) {
  std::vector<float> values(count);
  uint32_t state = seed * 2654435761u + 12345u;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = scale * (static_cast<float>(state >> 8) / 8388608.0f - 1.0f);
  }
  return values;
}

void set_ints_attribute(schema::NodeProto& node, const std::string& name,
                        const std::vector<int64_t>& values) {
  schema::AttributeProto& attribute = add_attribute(node, name, schema::AttributeProto::INTS);
  for (int64_t value : values) attribute.add_ints(value);
}

void add_convolution(OnnxModel& model, const std::string& input, const std::string& output,
                     int64_t channels, unsigned seed) {
  model.floats(output + ".w", {8, channels, 3, 3},
               weights(static_cast<size_t>(72 * channels), seed, 0.5f));
  model.floats(output + ".b", {8}, weights(8, seed + 1, 0.1f));
  schema::NodeProto& node =
      model.node("Conv", {input, output + ".w", output + ".b"}, {output}, "/" + output + "/Conv");
  set_ints_attribute(node, "pads", {1, 1, 1, 1});
}

OnnxModel features(int64_t extent) {
  OnnxModel model;
  model.input("picture", {0, 3, extent, extent});
  add_convolution(model, "picture", "conv1", 3, 1);
  model.node("Relu", {"conv1"}, {"relu1"});
  schema::NodeProto& pool = model.node("MaxPool", {"relu1"}, {"pool"});
  set_ints_attribute(pool, "kernel_shape", {2, 2});
  set_ints_attribute(pool, "strides", {2, 2});
  add_convolution(model, "pool", "conv2", 8, 3);
  model.node("Relu", {"conv2"}, {"features"});
  return model;
}

uint32_t crc_of(const std::string& bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (unsigned char byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string png_chunk(const std::string& type, const std::string& data) {
  return big_endian(static_cast<uint32_t>(data.size())) + type + data +
         big_endian(crc_of(type + data));
}

}  // namespace

std::vector<std::string> Outcome::out_lines() const { return lines_of(out); }
std::vector<std::string> Outcome::err_lines() const { return lines_of(err); }

Outcome run_program(const std::vector<std::string>& arguments) {
  const TemporaryFolder streams;
  return collect(start(arguments, streams.path()), streams.path());
}

BackgroundProgram::BackgroundProgram(const std::vector<std::string>& arguments)
    : pid_(start(arguments, streams_.path())) {}

BackgroundProgram::~BackgroundProgram() {
  if (pid_ > 0) wait();
}

std::string BackgroundProgram::errors_so_far() const { return read_text(streams_ / "err"); }

void BackgroundProgram::interrupt() { kill(pid_, SIGINT); }

Outcome BackgroundProgram::wait() {
  const int pid = pid_;
  pid_ = -1;
  return collect(pid, streams_.path());
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  if (!fs::is_directory(folder)) return names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

nlohmann::json read_json(const fs::path& path) {
  return nlohmann::json::parse(read_text(path), nullptr, false);
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string small_classifier(int64_t extent) {
  OnnxModel model = features(extent);
  model.node("GlobalAveragePool", {"features"}, {"mean"});
  model.node("Flatten", {"mean"}, {"flat"});
  model.floats("fc.w", {8, 4}, weights(32, 5, 1.0f));
  model.floats("fc.b", {4}, weights(4, 6, 0.1f));
  model.node("Gemm", {"flat", "fc.w", "fc.b"}, {"logits"});
  model.output("logits");
  return model.bytes();
}

std::string small_embedder() {
  OnnxModel model = features(16);
  model.output("features");
  return model.bytes();
}

std::string unsupported_model() {
  OnnxModel model;
  model.input("picture", {1, 3, 16, 16});
  model.node("Frobnicate", {"picture"}, {"a"}, "first");
  model.node("Defenestrate", {"a"}, {"b"}, "second");
  model.output("b");
  return model.bytes();
}

std::string small_manifest() {
  return R"({"schema": 1, "name": "small", "labels": "labels.txt",
    "preprocessing": {"channel_order": "RGB", "scale": 0.00392156862745098, "mean": [0.5, 0.5, 0.5],
      "std": [0.25, 0.25, 0.25], "crop": null,
      "resize": {"op": "exact", "size": [16, 16], "filter": "pil_bilinear"}},
    "taps": {"body": "features"}})";
}

std::string small_labels() { return "circle\nsquare\nred star\nblue, deep\n"; }

void save_picture(const fs::path& path, int width, int height, int shade) {
  Image image(width, height, 3);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      uint8_t* pixel = image.row(y) + 3 * x;
      pixel[0] = static_cast<uint8_t>(x * 255 / width);
      pixel[1] = static_cast<uint8_t>(y * 255 / height);
      pixel[2] = static_cast<uint8_t>((x * y + 40 * shade) % 256);
    }
  }
  image.save_png(path);
}

std::string png_header(uint32_t width, uint32_t height) {
  const std::string header =
      big_endian(width) + big_endian(height) + std::string("\x08\x02\0\0\0", 5);
  return std::string("\x89PNG\r\n\x1a\n") + png_chunk("IHDR", header) + png_chunk("IDAT", "") +
         png_chunk("IEND", "");
}

}  // namespace camlucida::test
