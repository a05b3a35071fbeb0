#include "tools/inputs.h"

#include <glob.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <map>
#include <set>
#include <sstream>

#include "engine/fs.h"
#include "engine/npy.h"
#include "explain/explainer.h"
#include "explain/target_grammar.h"
#include "tools/json_output.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxListBytes = uint64_t{1} << 28;
constexpr uint64_t kMaxPictureBytes = uint64_t{1} << 31;

std::string extension_of(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

bool is_tensor_file(const fs::path& path) { return extension_of(path) == ".npy"; }

bool is_picture_file(const fs::path& path) {
  const std::string extension = extension_of(path);
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".bmp";
}

/// ".c281", ".margin-281-282": the target in the name of a file that `explain` wrote.
bool names_a_target(const std::string& text) {
  if (text.size() > 2 && text[1] == 'c') {
    return text.find_first_not_of("0123456789", 2) == std::string::npos;
  }
  const size_t dash = text.find('-');
  if (dash == std::string::npos || dash < 2) return false;
  const std::string kind = text.substr(1, dash - 1);
  return kind == "concept" || is_target(kind + ":");
}

/// "cat.gradcam.c281.png", "cat.gradcam.c281.raw.npy", "cat.pair.dog.fam.a.png": files of an
/// earlier run. "cat.mask.png", "cat.parts.png": the truth beside a picture.
bool is_own_output(const fs::path& path) {
  if (path.filename().string().rfind(kEmbeddingsFile, 0) == 0) return true;
  fs::path rest = path.stem();
  if (rest.extension() == ".mask" || rest.extension() == ".parts") return true;
  if (rest.string().find(".pair.") != std::string::npos) {
    if (rest.string().find(".correspondence.") != std::string::npos) return true;
    const std::string end = (is_tensor_file(path) ? rest.stem() : rest).extension().string();
    if (end == ".a" || end.rfind(".b", 0) == 0) return true;
  }
  const fs::path kind = rest.extension();
  if (is_tensor_file(path) || kind == ".diff" || kind == ".truth") rest = rest.stem();
  if (!names_a_target(rest.extension().string())) return false;
  const std::string method = rest.stem().extension().string();
  const auto& methods = ExplainerRegistry::instance().all();
  return std::any_of(methods.begin(), methods.end(), [&](const auto& known) {
    return method == "." + known->name || method.rfind("." + known->name + "@", 0) == 0;
  });
}

/// Collects inputs, each file once.
class Finder {
 public:
  void add(const std::string& argument) {
    std::error_code code;
    if (fs::is_directory(argument, code)) {
      add_folder(argument);
    } else if (!fs::exists(argument, code) && argument.find_first_of("*?[{") != std::string::npos) {
      add_glob(argument);
    } else if (extension_of(argument) == ".txt") {
      add_list(argument);
    } else {
      add_file(argument);
    }
  }

  std::vector<Input> take() { return std::move(inputs_); }

 private:
  /// Whether the file is there shows when it is read.
  void add_file(const fs::path& path) {
    std::error_code code;
    const fs::path canonical = fs::weakly_canonical(path, code);
    if (seen_.insert(code ? path : canonical).second) inputs_.push_back({path, "", std::nullopt});
  }

  void add_problem(const std::string& argument, const std::string& message,
                   const std::string& hint) {
    inputs_.push_back({argument, "", Error(ErrorKind::kInput, message, hint)});
  }

  void add_folder(const fs::path& folder) {
    std::vector<fs::path> found;
    std::error_code code;
    fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied,
                                           code);
    for (; !code && entry != fs::recursive_directory_iterator(); entry.increment(code)) {
      const fs::path& path = entry->path();
      if ((is_picture_file(path) || is_tensor_file(path)) && !is_own_output(path) &&
          entry->is_regular_file(code)) {
        found.push_back(path);
      }
    }
    if (code) {
      add_problem(folder.string(),
                  "cannot read folder '" + folder.string() + "': " + code.message(),
                  "check its permissions");
      return;
    }
    if (found.empty()) {
      add_problem(folder.string(), "no picture in folder '" + folder.string() + "'",
                  "pictures end in .jpg, .jpeg, .png or .bmp, tensors in .npy");
      return;
    }
    std::sort(found.begin(), found.end());
    for (const fs::path& path : found) add_file(path);
  }

  void add_glob(const std::string& pattern) {
    glob_t matches = {};
    const int code = glob(pattern.c_str(), GLOB_BRACE | GLOB_TILDE, nullptr, &matches);
    std::vector<std::string> found;
    for (size_t i = 0; code == 0 && i < matches.gl_pathc; ++i) {
      found.emplace_back(matches.gl_pathv[i]);
    }
    globfree(&matches);
    if (found.empty()) {
      add_problem(pattern, "no file matches '" + pattern + "'", "check the pattern");
      return;
    }
    for (const std::string& path : found) {
      if (fs::is_directory(path)) {
        add_folder(path);
      } else if (!is_own_output(path)) {
        add_file(path);
      }
    }
  }

  void add_list(const fs::path& list) {
    std::vector<uint8_t> bytes;
    try {
      bytes = read_file(list, kMaxListBytes, "list of inputs");
    } catch (const Error& error) {
      inputs_.push_back({list, "", error});
      return;
    }
    std::istringstream lines(std::string(bytes.begin(), bytes.end()));
    size_t count = 0;
    for (std::string line; std::getline(lines, line);) {
      while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) {
        line.pop_back();
      }
      if (line.empty() || line[0] == '#') continue;
      ++count;
      const fs::path path = list.parent_path() / line;
      if (extension_of(path) == ".txt") {
        add_problem(path.string(), "'" + list.string() + "' names another list, '" + line + "'",
                    "name pictures, folders or patterns");
      } else {
        add(path.string());
      }
    }
    if (count == 0) {
      add_problem(list.string(), "the list '" + list.string() + "' is empty",
                  "write one path per line");
    }
  }

  std::vector<Input> inputs_;
  std::set<fs::path> seen_;
};

/// The last `depth` folders of `path` and its file name, joined by "__".
std::string tail_name(const fs::path& path, size_t depth, bool with_extension) {
  std::error_code code;
  const fs::path whole = fs::absolute(path, code).lexically_normal();
  std::vector<std::string> parts;
  for (const fs::path& part : whole.parent_path()) {
    if (part.string() != "/") parts.push_back(part.string());
  }
  std::string name;
  for (size_t i = parts.size() - std::min(depth, parts.size()); i < parts.size(); ++i) {
    name += parts[i] + "__";
  }
  return name + (with_extension ? whole.filename() : whole.stem()).string();
}

bool all_different(const std::vector<std::string>& names) {
  return std::set<std::string>(names.begin(), names.end()).size() == names.size();
}

}  // namespace

std::vector<Input> find_inputs(const std::vector<std::string>& arguments) {
  Finder finder;
  for (const std::string& argument : arguments) finder.add(argument);
  std::vector<Input> inputs = finder.take();
  std::vector<fs::path> paths;
  for (const Input& input : inputs) paths.push_back(input.path);
  const std::vector<std::string> names = unique_names(paths);
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i].name = names[i];
  return inputs;
}

std::vector<std::string> unique_names(const std::vector<fs::path>& paths) {
  std::map<std::string, std::vector<size_t>> groups;
  for (size_t i = 0; i < paths.size(); ++i) groups[paths[i].stem().string()].push_back(i);
  std::vector<std::string> names(paths.size());
  for (const auto& [stem, members] : groups) {
    size_t depth = 0;
    bool with_extension = false;
    std::vector<std::string> candidates(members.size(), stem);
    while (members.size() > 1 && !all_different(candidates) && depth < 64) {
      // First the extension, then one folder more each time, with and without the extension.
      if (with_extension) ++depth;
      with_extension = !with_extension;
      for (size_t i = 0; i < members.size(); ++i) {
        candidates[i] = tail_name(paths[members[i]], depth, with_extension);
      }
    }
    for (size_t i = 0; i < members.size(); ++i) names[members[i]] = candidates[i];
  }
  // A file may by chance be called what another one was renamed to.
  std::set<std::string> used;
  for (std::string& name : names) {
    const std::string wanted = name;
    for (int i = 2; !used.insert(name).second; ++i) name = wanted + "~" + std::to_string(i);
  }
  return names;
}

LoadedInput load_input(const Input& input, const Model& model) {
  if (input.problem) throw *input.problem;
  LoadedInput loaded;
  if (is_tensor_file(input.path)) {
    Tensor tensor = read_npy_float32(input.path);
    const Shape expected =
        model.graph().value(model.graph().require(model.input_name())).desc.shape;
    const Shape& shape = tensor.shape();
    bool fits = shape.rank() == 4 && expected.rank() == 4 && shape[0] == 1 && shape.count() > 0;
    for (int axis = 1; fits && axis < 4; ++axis) {
      fits = expected[axis] == Shape::kUnknown || expected[axis] == shape[axis];
    }
    if (!fits) {
      Shape wanted = expected;
      if (wanted.rank() > 0) wanted[0] = 1;
      throw Error(ErrorKind::kInput,
                  "tensor '" + input.path.string() + "' is " + shape.to_string() +
                      ", the network takes float32 " + wanted.to_string() + " (NCHW)",
                  "save one preprocessed picture per file");
    }
    loaded.height = static_cast<int>(shape[2]);
    loaded.width = static_cast<int>(shape[3]);
    loaded.sha256 = sha256_file(input.path);
    loaded.data = std::move(tensor);
    return loaded;
  }
  const std::vector<uint8_t> bytes = read_file(input.path, kMaxPictureBytes, "picture");
  Image image = Image::decode(bytes, input.path.string());
  loaded.sha256 = sha256(bytes);
  loaded.width = image.width();
  loaded.height = image.height();
  loaded.data = std::make_shared<const Image>(std::move(image));
  return loaded;
}

void prepare_input(LoadedInput& loaded, const Model& model) {
  if (loaded.is_tensor()) {
    loaded.prepared = {loaded.tensor(), Placement::identity(loaded.width, loaded.height)};
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  loaded.prepared = model.prepare(loaded.image());
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  loaded.preprocess_ms = took.count();
}

int reading_threads(const Model& model) {
  constexpr int kMost = 16;
  const int threads = effective_threads(model.options().threads);
  return std::clamp(model.options().gpu ? threads : threads / 4, 1, kMost);
}

}  // namespace camlucida::cli
