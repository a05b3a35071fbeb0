#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

#include "explain/model.h"
#include "tests/golden.h"

/// One folder of golden maps with its model loaded, for the tests of all methods.
namespace camlucida::test {

using Json = nlohmann::json;
namespace fs = std::filesystem;

/// "<model>/<image>" of every single-image folder.
inline std::vector<std::string> golden_folders() {
  const auto shared = shared_dir();
  if (!shared) return {"none/none"};
  std::vector<std::string> folders;
  for (const auto& model : fs::directory_iterator(*shared / "golden" / "maps")) {
    if (!model.is_directory()) continue;
    for (const auto& image : fs::directory_iterator(model)) {
      const std::string name = image.path().filename().string();
      if (name == "fam" || name == "ifa") continue;
      folders.push_back(model.path().filename().string() + "/" + name);
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

/// The same for the first file of a program that asks for `suite`, nothing for the others: what is
/// tested with a suite, in whatever file, is instantiated once.
inline std::vector<std::string> golden_folders_of(const std::string& suite,
                                                  const std::string& file) {
  static std::map<std::string, std::string> files;  // by suite
  return files.emplace(suite, file).first->second == file ? golden_folders()
                                                          : std::vector<std::string>{};
}

/// Names a test after its folder.
inline std::string golden_test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

class GoldenMaps : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    REQUIRE_SHARED(shared);
    folder_ = shared / "golden" / "maps" / GetParam();
    index_ = read_json(folder_ / "index.json");
    const std::string input = index_.value("input_file", "input.npy");
    input_ = read_npy(folder_ / input);
    class_index_ = index_["class_index"].get<int64_t>();
    layer_ = index_["layer"]["onnx_value"].get<std::string>();
    model_.emplace(Model::load(shared / "zoo" / index_["model"].get<std::string>() / "model.onnx",
                               {.gpu = golden_gpu()}));
  }

  /// Deviation from a file of a method's entry over the tolerance that the entry recommends, or
  /// nothing if it has no such file.
  std::optional<double> excess(const std::string& method, const std::string& artefact,
                               const std::vector<double>& mine) {
    const Json& entry = index_["methods"][method];
    if (!entry["files"].contains(artefact)) return {};
    const Tensor golden = read_npy(folder_ / entry["files"][artefact].get<std::string>());
    const std::vector<double> expected = golden.to_doubles();
    const Json& tolerances = entry["tolerance"];
    const Json& tolerance =
        tolerances.contains(artefact) ? tolerances[artefact] : tolerances["grad"];
    double deviation = relative_deviation(mine, expected);
    if (tolerance["measure"] == "max_abs") {
      double peak = 0;
      for (double v : expected) peak = std::max(peak, std::abs(v));
      deviation *= peak;
    }
    ++compared_;
    const double allowed = tolerance["recommended"].get<double>();
    std::printf("[ MEASURED ] %s %s %s: %.1e of %.0e allowed\n", GetParam().c_str(), method.c_str(),
                artefact.c_str(), deviation, allowed);
    return deviation / allowed;
  }

  void compare(const std::string& method, const std::string& artefact,
               const std::vector<double>& mine) {
    const auto over = excess(method, artefact, mine);
    if (over) {
      EXPECT_LE(*over, 1.0) << method << " " << artefact;
    }
  }

  /// The same, but in relative L2 norm where the entry asks for that: exact ties in the pooling
  /// windows of the picture, which send a gradient one way or the other.
  void compare_with_ties(const std::string& method, const std::string& artefact,
                         const std::vector<double>& mine) {
    const Json& entry = index_["methods"][method];
    if (!entry["files"].contains(artefact)) return;
    if (!entry.contains("tolerance_note")) return compare(method, artefact, mine);
    const Tensor golden = read_npy(folder_ / entry["files"][artefact].get<std::string>());
    const double deviation = relative_l2(mine, golden.to_doubles());
    std::printf("[ MEASURED ] %s %s %s: L2 %.1e of %.0e allowed (ties)\n", GetParam().c_str(),
                method.c_str(), artefact.c_str(), deviation, kTies);
    EXPECT_LE(deviation, kTies) << method << " " << artefact;
    ++compared_;
  }
  static constexpr double kTies = 0.02;  // as the entries say

  Explanation explain(const std::string& method, std::map<std::string, std::string> settings = {}) {
    const Answer answer =
        model_->explain(input_, {.method = method,
                                 .layer = layer_,
                                 .target = {.classes = {std::to_string(class_index_)}},
                                 .settings = std::move(settings)});
    return answer.explanations.at(0);
  }

  /// Explains with `method` and compares what the golden entry has of raw map, final map and
  /// channel weights.
  void check_method(const std::string& entry, const std::string& method,
                    std::map<std::string, std::string> settings = {}) {
    if (!index_["methods"].contains(entry)) return;
    SCOPED_TRACE(GetParam() + " " + entry);
    const Explanation explanation = explain(method, std::move(settings));
    compare(entry, "raw", explanation.raw.to_doubles());
    compare(entry, "map", explanation.map.to_doubles());
    if (explanation.artefacts.count("weights") > 0) {
      compare(entry, "weights", explanation.artefacts.at("weights").to_doubles());
    }
  }

  Tensor seed(const Tensor& scores) const { return Target::of_class(class_index_).seed(scores); }

  fs::path folder_;
  Json index_;
  Tensor input_;
  int64_t class_index_ = 0;
  std::string layer_;
  std::optional<Model> model_;
  int compared_ = 0;
};

}  // namespace camlucida::test
