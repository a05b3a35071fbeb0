#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <sstream>
#include <thread>

#include "engine/image/image.h"
#include "tests/cli_program.h"
#include "tools/drawn_pictures.h"

/// `camlucida evaluate` on the bundled classifier of shapes: figures, files, resuming, and what it
/// says about data that does not fit.
namespace camlucida {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::names_in;
using test::Outcome;
using test::read_json;
using test::read_text;
using test::run_program;
using test::write_text;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

class CliEvaluate : public ::testing::Test {
 protected:
  static constexpr const char* kLabels[] = {"star", "heart"};

  void SetUp() override {
    // The star and the heart of the examples, with their boxes and masks of the boxes.
    const fs::path examples = fs::path(CAMLUCIDA_SOURCE_DIR) / "tests/shapes/examples";
    fs::create_directories(folder_ / "set/masks");
    json images = json::array();
    const int boxes[][4] = {{104, 69, 311, 276}, {81, 77, 280, 277}};
    for (int i = 0; i < 2; ++i) {
      const std::string name = kLabels[i];
      fs::copy_file(examples / (name + ".png"), folder_ / ("set/" + name + ".png"));
      Image mask(384, 384, 1);
      for (int y = boxes[i][1]; y < boxes[i][3]; ++y) {
        std::fill(mask.row(y) + boxes[i][0], mask.row(y) + boxes[i][2], uint8_t{255});
      }
      mask.save_png(folder_ / ("set/masks/" + name + ".png"));
      images.push_back({{"file", name + ".png"},
                        {"label", name},
                        {"box", boxes[i]},
                        {"mask", "masks/" + name + ".png"}});
    }
    write_index({{"images", images}});
  }

  void write_index(const json& index) const { write_text(index_path(), index.dump()); }
  json index() const { return read_json(index_path()); }
  std::string index_path() const { return folder_ / "set/index.json"; }
  std::string path(const std::string& name) const { return folder_ / name; }
  fs::path out() const { return folder_ / "out"; }
  fs::path log() const { return out() / "evaluation.jsonl"; }

  Outcome evaluate(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {
        "evaluate", "-m", std::string(CAMLUCIDA_SOURCE_DIR) + "/tests/shapes/shapes.onnx", "-o",
        out()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }

  /// One line with `part` on standard error, exit code `code`, no figures.
  void expect_error(const Outcome& outcome, int code, const std::string& part) const {
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(outcome.out, "");
    EXPECT_FALSE(fs::exists(out() / "evaluation.csv"));
  }

  test::TemporaryFolder folder_;
};

TEST_F(CliEvaluate, FiguresAndFiles) {
  const Outcome outcome =
      evaluate({path("set"), "-c", "label", "--method", "gradcam,cam", "--metric",
                "avg_drop,deletion_auc,insertion_auc,pointing_game,energy_in_box,pxap,max_box_acc,"
                "road_combined"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(names_in(out()),
              ElementsAre("evaluation.csv", "evaluation.json", "evaluation.jsonl"));
  EXPECT_THAT(outcome.out, HasSubstr("start blur"));  // settings beside the figures
  EXPECT_THAT(outcome.out, HasSubstr("steps 28"));

  const json report = read_json(out() / "evaluation.json");
  EXPECT_EQ(report["data"]["evaluated"], 2);
  EXPECT_EQ(report["metrics"]["deletion_auc"]["settings"]["fill"], "zero");
  EXPECT_EQ(report["metrics"]["deletion_auc"]["settings"]["step"], 330);  // 96 * 96 / 28
  ASSERT_EQ(report["summary"].size(), 16u);
  std::map<std::string, double> figures;
  for (const json& row : report["summary"]) {
    EXPECT_EQ(row["n"], 2) << row;
    figures[row["method"].get<std::string>() + " " + row["metric"].get<std::string>()] =
        row["value"].get<double>();
  }
  // The network and its maps are good, the objects plain.
  EXPECT_EQ(figures["gradcam pointing_game"], 100);
  EXPECT_GT(figures["gradcam energy_in_box"], 0.6);
  EXPECT_GT(figures["gradcam insertion_auc"], figures["gradcam deletion_auc"] + 0.2);
  EXPECT_GT(figures["gradcam road_combined"], 0);
  EXPECT_LT(figures["gradcam avg_drop"], 100);

  const std::vector<std::string> csv = lines_of(read_text(out() / "evaluation.csv"));
  ASSERT_EQ(csv.size(), 17u);
  EXPECT_EQ(csv[0], "bin,method,metric,value,n,failed,mean,median,std_error,better");
  EXPECT_THAT(csv[1], HasSubstr("all,gradcam,avg_drop,"));

  const std::vector<std::string> lines = lines_of(read_text(log()));
  ASSERT_EQ(lines.size(), 3u);  // head and two pictures
  const json record = json::parse(lines[1]);
  EXPECT_EQ(record["label"], "star");
  EXPECT_EQ(record["true_class"], 3);
  EXPECT_EQ(record["predicted"], 3);
  EXPECT_EQ(record["results"]["cam"]["metrics"]["deletion_auc"]["profile"].size(), 29u);
  EXPECT_EQ(record["settings"]["pointing_game"]["tolerance"], 15);
}

TEST_F(CliEvaluate, EveryMetricHasAValueOrAReason) {
  const Outcome outcome = evaluate({index_path(), "--metric", "all", "--json", "-q"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json report = json::parse(outcome.out);
  EXPECT_GE(report["summary"].size(), 24u);
  for (const json& row : report["summary"]) {
    // Consistency wants three pictures of a class.
    if (row["metric"] == "ifa_consistency") {
      EXPECT_TRUE(row["value"].is_null());
      continue;
    }
    EXPECT_TRUE(row["value"].is_number()) << row;
    EXPECT_EQ(row["failed"], 0) << row;
  }
}

TEST_F(CliEvaluate, ResumesAfterACut) {
  const std::vector<std::string> arguments = {
      path("set"), "--metric", "infidelity,max_sensitivity,deletion_auc", "--seed", "5", "-q"};
  ASSERT_EQ(evaluate(arguments).code, 0);
  const std::string whole = read_text(log());
  const std::string csv = read_text(out() / "evaluation.csv");
  // A line that is no picture's, and a crash in the middle of the second picture's line.
  const std::string stray = "{\"key\": \"stray\"}\n";
  const size_t first = whole.find('\n') + 1;
  const std::string torn = whole.substr(first, whole.size() - first - 40);
  write_text(log(), whole.substr(0, first) + stray + torn);
  std::vector<std::string> again = arguments;
  again.push_back("--resume");
  const Outcome resumed = evaluate(again);
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(read_text(out() / "evaluation.csv"), csv);
  const std::vector<std::string> lines = lines_of(read_text(log()));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[2], lines_of(whole)[1]);  // not measured again: its time is the old one
  for (const std::string& line : lines)
    EXPECT_FALSE(json::parse(line, nullptr, false).is_discarded());

  // Another box is another truth: only that picture is measured again.
  json changed = index();
  changed["images"][1]["box"][0] = 90;
  write_index(changed);
  ASSERT_EQ(evaluate(again).code, 0);
  const std::vector<std::string> after = lines_of(read_text(log()));
  EXPECT_EQ(after[2], lines[2]);
  EXPECT_EQ(after.size(), 5u);
}

TEST_F(CliEvaluate, AnotherRunIsNotMixedIn) {
  ASSERT_EQ(evaluate({path("set"), "--metric", "sparseness", "-q"}).code, 0);
  const std::string before = read_text(log());
  fs::remove(out() / "evaluation.csv");
  expect_error(evaluate({path("set"), "--metric", "sparseness"}), 2, "--resume");
  expect_error(evaluate({path("set"), "--metric", "complexity", "--resume"}), 2, "metrics");
  expect_error(evaluate({path("set"), "--metric", "sparseness", "--method", "cam", "--resume"}), 2,
               "methods");
  EXPECT_EQ(read_text(log()), before);
  EXPECT_EQ(evaluate({path("set"), "--metric", "complexity", "--force", "-q"}).code, 0);
  write_text(log(), "no log at all\n");
  fs::remove(out() / "evaluation.csv");
  expect_error(evaluate({path("set"), "--metric", "complexity", "--resume"}), 3, "evaluation log");
}

TEST_F(CliEvaluate, ResultsDoNotDependOnThreadsOrBatch) {
  const std::vector<std::string> metrics = {
      path("set"), "-q", "--metric",
      "deletion_auc,insertion_auc,road_combined,infidelity,faithfulness_correlation,mprt"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), metrics.begin(), metrics.end());
    more.push_back("--force");
    EXPECT_EQ(evaluate(more).code, 0);
    return read_text(out() / "evaluation.csv");
  };
  const std::string one = with({"--threads", "1", "--batch-size", "1"});
  EXPECT_EQ(with({"--threads", "2", "--batch-size", "8"}), one);
  EXPECT_EQ(with({"--threads", "2", "--batch-size", "3"}), one);
}

TEST_F(CliEvaluate, WrongUsage) {
  expect_error(evaluate(), 2, "DATA");
  expect_error(evaluate({path("set"), "--metric", "luck"}), 2, "deletion_auc");
  expect_error(evaluate({path("set"), "--method", "divination"}), 2, "divination");
  expect_error(evaluate({path("set"), "--set", "deletion_auc.stride=3"}), 2, "stride");
  expect_error(evaluate({path("set"), "--set", "deletion_auc.step=0"}), 2, "deletion_auc.step");
  expect_error(evaluate({path("set"), "--set", "pxap.bins=10"}), 2, "--metric");
  expect_error(evaluate({path("set"), "-c", "top3"}), 2, "one class");
  expect_error(evaluate({path("set"), "-c", "margin:3-4"}), 2, "one class");
  expect_error(evaluate({path("set"), "-c", "99"}), 2, "99");
  expect_error(evaluate({path("set"), "--bins", "size"}), 2, "--bins");
  expect_error(evaluate({path("set/star.png"), "-c", "label"}), 2, "star.png");
  expect_error(evaluate({path("set/star.png"), "--metric", "pointing_game"}), 2, "index.json");
  expect_error(evaluate({path("set/star.png"), "--metric", "pxap"}), 2, "mask");
}

TEST_F(CliEvaluate, WrongIndex) {
  write_text(index_path(), "{\"images\": [");
  expect_error(evaluate({index_path()}), 3, "JSON");
  write_text(index_path(), "{\"pictures\": []}");
  expect_error(evaluate({index_path()}), 3, "images");
  write_index({{"images", json::array()}});
  expect_error(evaluate({index_path()}), 3, "no picture");
  write_index({{"images", {{{"class", 3}}}}});
  expect_error(evaluate({index_path()}), 3, "entry 0");
  write_index({{"images", {{{"file", "star.png"}, {"box", {5, 5, 5, 9}}}}}});
  expect_error(evaluate({index_path()}), 3, "box");
  write_index({{"images", {{{"file", "star.png"}, {"class", "star"}}}}});
  expect_error(evaluate({index_path()}), 3, "class");
  expect_error(evaluate({path("missing.json")}), 3, "missing.json");
}

TEST_F(CliEvaluate, PicturesAndMasksThatCannotBeReadAreSkipped) {
  json broken = index();
  write_text(folder_ / "set/bad.png", "this is no picture");
  Image(10, 10, 1).save_png(folder_ / "set/masks/small.png");
  fs::copy_file(folder_ / "set/star.png", folder_ / "set/star2.png");
  broken["images"].push_back({{"file", "bad.png"}, {"label", "star"}});
  broken["images"].push_back(
      {{"file", "star2.png"}, {"label", "star"}, {"mask", "masks/small.png"}});
  broken["images"].push_back({{"file", "gone.png"}, {"label", "star"}});
  write_index(broken);
  const Outcome outcome = evaluate({index_path(), "--metric", "energy_in_box,complexity"});
  EXPECT_EQ(outcome.code, 3);
  ASSERT_EQ(outcome.err_lines().size(), 4u) << outcome.err;
  EXPECT_THAT(outcome.err_lines()[0], HasSubstr("bad.png"));
  EXPECT_THAT(outcome.err_lines()[1], HasSubstr("10 x 10"));
  EXPECT_THAT(outcome.err_lines()[2], HasSubstr("gone.png"));
  EXPECT_THAT(outcome.err_lines()[3], HasSubstr("2 of 5"));
  const json report = read_json(out() / "evaluation.json");
  EXPECT_EQ(report["data"]["evaluated"], 2);
  EXPECT_EQ(report["failures"].size(), 3u);
}

/// The left and the right half of the star's box.
json with_halves(const fs::path& set, json index) {
  Image parts(384, 384, 1);
  for (int y = 69; y < 276; ++y) {
    std::fill(parts.row(y) + 104, parts.row(y) + 208, uint8_t{1});
    std::fill(parts.row(y) + 208, parts.row(y) + 311, uint8_t{7});
  }
  parts.save_png(set / "star.parts.png");
  index["images"][0]["parts"] = "star.parts.png";
  index["part_values"] = {{"0", "background"}, {"1", "left"}, {"7", "right"}, {"9", "back"}};
  return index;
}

TEST_F(CliEvaluate, PartsHaveFiguresOfTheirOwn) {
  write_index(with_halves(folder_ / "set", index()));
  const Outcome outcome = evaluate({index_path(), "--metric", "part_energy,part_match,pxap",
                                    "--method", "gradcam,decomcam,dff"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("(chance)"));
  EXPECT_THAT(outcome.out, HasSubstr("right"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("back")));
  const json evaluation = read_json(out() / "evaluation.json");
  for (const json& row : evaluation["summary"]) {
    if (row["metric"] == "pxap") {
      EXPECT_FALSE(row.contains("details"));
      continue;
    }
    const bool components = row["method"] != "gradcam";
    const bool measured = row["metric"] == "part_energy" || components;
    EXPECT_EQ(row["n"], measured ? 1 : 0) << row;  // the heart has no parts
    EXPECT_EQ(row["failed"], measured ? 1 : 2) << row;
    if (!measured) continue;
    EXPECT_GT(row["value"], row["details"]["chance"]) << row;
    EXPECT_GT(row["details"]["part:left"], 0) << row;
    if (row["metric"] == "part_energy") {
      EXPECT_NEAR(row["details"]["chance:left"], 104.0 * 207 / 384 / 384, 0.005);
    }
  }
  EXPECT_THAT(read_text(log()), HasSubstr("gradcam has no components"));
  // The details of pictures measured before count as well.
  const std::string before = read_text(out() / "evaluation.json");
  ASSERT_EQ(evaluate({index_path(), "--metric", "part_energy,part_match,pxap", "--method",
                      "gradcam,decomcam,dff", "--resume", "-q"})
                .code,
            0);
  EXPECT_EQ(read_json(out() / "evaluation.json")["summary"], json::parse(before)["summary"]);
}

TEST_F(CliEvaluate, WrongParts) {
  const json plain = index();
  const json good = with_halves(folder_ / "set", plain);
  json bad = good;
  bad.erase("part_values");
  write_index(bad);
  expect_error(evaluate({index_path()}), 3, "part_values");
  bad["part_values"] = {{"256", "left"}};
  write_index(bad);
  expect_error(evaluate({index_path()}), 3, "bytes");
  bad["part_values"] = {{"1", ""}};
  write_index(bad);
  expect_error(evaluate({index_path()}), 3, "names");
  write_index(good);
  expect_error(
      evaluate({index_path(), "--metric", "part_energy", "--set", "part_energy.parts=nose"}), 2,
      "left, right, back");
  write_index(plain);
  expect_error(evaluate({index_path(), "--metric", "part_energy"}), 2, "mask of parts");
  // In a picture of parts: skipped, with the others measured.
  bad = good;
  bad["part_values"].erase("7");
  write_index(bad);
  Outcome outcome = evaluate({index_path(), "--metric", "complexity", "-q", "--force"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("byte 7"));
  Image(10, 10, 1).save_png(folder_ / "set/star.parts.png");
  outcome = evaluate({index_path(), "--metric", "complexity", "-q", "--force"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("10 x 10"));
}

/// The network of shapes with animals for labels: two names share its classes 0 and 1.
std::string labels_of_animals(const test::TemporaryFolder& folder) {
  const fs::path file = folder / "animals.txt";
  write_text(file, "cat, dog\nrabbit, bird\nowl\nfish\nelephant\nturtle\nbutterfly\nfrog\n");
  return file;
}

TEST_F(CliEvaluate, DrawnPicturesNeedNoFilesAndAreKnownToThePixel) {
  const auto drawn = [&](const std::string& data, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {
        "--data",
        data,
        "--labels",
        labels_of_animals(folder_),
        "-c",
        "label",
        "-q",
        "--metric",
        "pointing_game,energy_in_box,pxap,max_box_acc,part_energy,part_pointing"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return evaluate(arguments);
  };
  ASSERT_EQ(drawn("menagerie:3").code, 0);
  EXPECT_THAT(names_in(out()),
              ElementsAre("evaluation.csv", "evaluation.json", "evaluation.jsonl"));
  const json evaluation = read_json(out() / "evaluation.json");
  for (const json& row : evaluation["summary"]) {
    EXPECT_EQ(row["n"], 3) << row;  // boxes, masks and parts of every picture are known
  }
  const std::vector<std::string> lines = lines_of(read_text(log()));
  ASSERT_EQ(drawn("menagerie:5", {"--resume"}).code, 0);
  const std::vector<std::string> more = lines_of(read_text(log()));
  ASSERT_EQ(more.size(), 6u);
  EXPECT_EQ(more[3], lines[3]);
  // A picture is found again by its name.
  const std::string name = json::parse(more[4])["input"]["path"];
  ASSERT_EQ(drawn(name, {"--resume"}).code, 0);
  EXPECT_EQ(lines_of(read_text(log())).size(), 6u);
  EXPECT_EQ(read_json(out() / "evaluation.json")["data"]["evaluated"], 1);
}

TEST_F(CliEvaluate, TheMarkerOfTheShortcutIsAPartOfItsOwn) {
  ASSERT_EQ(evaluate({"menagerie-shortcut:6", "--labels", labels_of_animals(folder_), "--metric",
                      "part_energy", "-q"})
                .code,
            0);
  int marked = 0;
  for (const std::string& line : lines_of(read_text(log()))) {
    const json record = json::parse(line);
    if (!record.contains("results")) continue;
    const json details = record["results"]["gradcam"]["metrics"]["part_energy"]["details"];
    if (!details.contains("part:marker")) continue;
    ++marked;
    EXPECT_NEAR(details["chance:marker"], 0.13 * 0.13 * 3.1416 / 4, 0.005);
  }
  EXPECT_EQ(marked, 3);
  const json row = read_json(out() / "evaluation.json")["summary"][0];
  EXPECT_TRUE(row["details"]["part:marker"].is_number());
}

TEST_F(CliEvaluate, WrongDrawnSets) {
  expect_error(evaluate({"menagerie"}), 2, "no class cat, dog");
  const std::string labels = labels_of_animals(folder_);
  expect_error(evaluate({"--labels", labels, "menagerie:0"}), 2, "count");
  expect_error(evaluate({"--labels", labels, "menagerie:"}), 2, "count");
  expect_error(evaluate({"--labels", labels, "menagerie:99999999999999999999"}), 2, "count");
  expect_error(evaluate({"--labels", labels, "menagerie:5:"}), 2, "seed");
  expect_error(evaluate({"--labels", labels, "menagerie:5:-1"}), 2, "seed");
  expect_error(evaluate({"--labels", labels, "menagerie-shortcut:5:7:9"}), 2, "seed");
}

TEST(DrawnPictures, TheMarkerIsWhereThePictureChanges) {
  cli::DrawnPicture picture{.seed = 5, .options = {.size = 96}, .shortcut = true};
  const cli::Drawing plain = draw(picture);
  picture.options.marker = menagerie::animal_of(5, picture.options);
  const cli::Drawing marked = draw(picture);
  ASSERT_EQ(marked.truth.part_names.back(), "marker");
  const auto code = static_cast<uint8_t>(marked.truth.part_names.size());
  int on = 0, changed_on = 0, changed_off = 0;
  for (size_t p = 0; p < 96 * 96; ++p) {
    bool changed = false;
    for (size_t c = 0; c < 3; ++c) {
      changed |= plain.picture.pixels()[3 * p + c] != marked.picture.pixels()[3 * p + c];
    }
    const bool marker = marked.truth.parts.pixels()[p] == code;
    on += marker;
    changed_on += marker && changed;
    changed_off += !marker && changed;
    EXPECT_NE(plain.truth.parts.pixels()[p], code);
    EXPECT_FALSE(marker && marked.truth.mask.pixels()[p] != 0) << p;  // it hides the animal
  }
  EXPECT_GT(on, 80);
  // Its box is in whole pixels, and its rim covers pixels in part: a ring of 40 on either side.
  EXPECT_GT(changed_on, on - 40);
  EXPECT_LT(changed_off, 40);
}

TEST_F(CliEvaluate, PicturesWithoutTruthAreCountedAsFailedNotAsNumbers) {
  json partly = index();
  partly["images"][1].erase("box");
  partly["images"][1].erase("mask");
  write_index(partly);
  ASSERT_EQ(evaluate({index_path(), "--metric", "energy_in_box", "-q"}).code, 0);
  const json row = read_json(out() / "evaluation.json")["summary"][0];
  EXPECT_EQ(row["n"], 1);
  EXPECT_EQ(row["failed"], 1);
  EXPECT_TRUE(row["value"].is_number());
}

TEST_F(CliEvaluate, BinsOfAccuracyLeaveMisclassifiedPicturesOut) {
  json wrong = index();
  wrong["images"][1]["label"] = "ring";  // it shows a heart
  write_index(wrong);
  ASSERT_EQ(evaluate({index_path(), "--metric", "complexity", "--bins", "accuracy", "-q"}).code, 0);
  const json summary = read_json(out() / "evaluation.json")["summary"];
  std::map<std::string, json> bins;
  for (const json& row : summary) bins[row["bin"].get<std::string>()] = row;
  ASSERT_EQ(bins.size(), 3u);  // all, one bin, mean
  EXPECT_EQ(bins["all"]["n"], 2);
  EXPECT_EQ(bins["0.9-1.0"]["n"], 1);
  EXPECT_EQ(bins["mean"]["value"], bins["0.9-1.0"]["value"]);
}

TEST_F(CliEvaluate, CtrlCStopsAfterThePictureAndSaysHowToGoOn) {
  // The same two pictures many times over, slightly different so that each one counts.
  json many = {{"images", json::array()}};
  for (int i = 0; i < 12; ++i) {
    Image image = Image::load(folder_ / "set/star.png");
    image.row(0)[0] = static_cast<uint8_t>(i);
    const std::string name = "star" + std::to_string(i) + ".png";
    image.save_png(folder_ / ("set/" + name));
    many["images"].push_back({{"file", name}});
  }
  write_index(many);
  const std::vector<std::string> arguments = {
      "evaluate",
      "-m",
      std::string(CAMLUCIDA_SOURCE_DIR) + "/tests/shapes/shapes.onnx",
      "-o",
      out(),
      index_path(),
      "--metric",
      "faithfulness_correlation",
      "-q"};
  test::BackgroundProgram program(arguments);
  for (int wait = 0; wait < 4000 && lines_of(read_text(log())).size() < 3; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  program.interrupt();
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("--resume"));
  EXPECT_FALSE(fs::exists(out() / "evaluation.csv"));
  const size_t done = lines_of(read_text(log())).size();
  EXPECT_GE(done, 3u);
  std::vector<std::string> again = arguments;
  again.push_back("--resume");
  EXPECT_EQ(run_program(again).code, 0);
  EXPECT_EQ(lines_of(read_text(log())).size(), 13u);
}

}  // namespace
}  // namespace camlucida
