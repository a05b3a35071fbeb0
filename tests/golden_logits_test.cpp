#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "engine/session.h"
#include "explain/model.h"
#include "tests/golden.h"

/// Every model of the zoo against the outputs of its reference: computed in double for float
/// models, by ONNX Runtime for the quantised one, whose every code must be the same.
namespace camlucida::test {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr double kTolerance = 1e-4;  // of the largest golden output

std::vector<std::string> models() {
  std::vector<std::string> names;
  const auto shared = shared_dir();
  if (!shared) return {"none"};
  for (const auto& entry : fs::directory_iterator(*shared / "golden" / "logits")) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".json") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

class GoldenLogits : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    REQUIRE_SHARED(shared);
    folder_ = shared / "golden" / "logits";
    zoo_ = shared / "zoo";
    index_ = read_json(folder_ / (GetParam() + ".json"));
  }

  fs::path folder_;
  fs::path zoo_;
  Json index_;
};

TEST_P(GoldenLogits, AgreeFromTheSameTensor) {
  const Model model = Model::load(zoo_ / GetParam() / "model.onnx", {.gpu = golden_gpu()});
  const std::vector<ValueId>& outputs = model.bound().outputs();
  int compared = 0;
  for (size_t item = 0; item < index_["items"].size(); ++item) {
    if (!index_["items"][item].contains("input")) continue;
    const Tensor input = read_npy(folder_ / index_["items"][item]["input"].get<std::string>());
    Session session(Plan::compile(model.graph(), {{model.input_name(), input.shape()}}, {},
                                  {.gpu = model.options().gpu}));
    session.forward(input);
    for (const Json& file : index_["files"]) {
      const Tensor golden = read_npy(folder_ / file["file"].get<std::string>());
      if (static_cast<int64_t>(item) >= golden.shape()[0]) continue;
      // Files are named after outputs where there are several; pooled copies repeat the first.
      const std::string name = file["output"].get<std::string>();
      const ValueId output = outputs.size() > 1 ? model.bound().require(name) : outputs[0];
      std::vector<double> mine = session.output(model.bound().value(output).name).to_doubles();
      const int64_t row = golden.count() / golden.shape()[0];
      if (static_cast<int64_t>(mine.size()) != row) {
        const int64_t pixels = static_cast<int64_t>(mine.size()) / row;
        for (int64_t c = 0; c < row; ++c) {
          double sum = 0;
          for (int64_t p = 0; p < pixels; ++p) sum += mine[static_cast<size_t>(c * pixels + p)];
          mine[static_cast<size_t>(c)] = sum / static_cast<double>(pixels);
        }
        mine.resize(static_cast<size_t>(row));
      }
      const std::vector<double> all = golden.to_doubles();
      const auto first = all.begin() + static_cast<long>(item) * row;
      const double deviation = relative_deviation(mine, {first, first + row});
      EXPECT_LE(deviation, kTolerance) << file["file"] << " item " << item;
      std::printf("[ MEASURED ] %s item %zu: %.1e of %.0e allowed\n",
                  file["file"].get<std::string>().c_str(), item, deviation, kTolerance);
      ++compared;
    }
  }
  EXPECT_GE(compared, 3);
}

TEST_P(GoldenLogits, TopClassAgreesFromThePicture) {
  if (index_["output_kind"] != "logits") GTEST_SKIP() << "no classes";
  const Model model = Model::load(zoo_ / GetParam() / "model.onnx", {.gpu = golden_gpu()});
  for (const Json& item : index_["items"]) {
    if (item.contains("tile")) GTEST_SKIP() << "pictures are tiles of a sheet";
    const Image image = Image::load(zoo_ / item["image"].get<std::string>());
    const Prediction prediction = model.predict(image);
    EXPECT_EQ(prediction.ranking[0].index, item["top5"][0]["index"].get<int64_t>())
        << item["image"];
  }
}

std::string test_name(const ::testing::TestParamInfo<std::string>& parameter) {
  return parameter.param;
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenLogits, ::testing::ValuesIn(models()), test_name);

}  // namespace
}  // namespace camlucida::test
