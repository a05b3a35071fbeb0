#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <set>

#include "engine/fs.h"
#include "engine/labels.h"
#include "engine/manifest.h"
#include "tests/cli_program.h"
#include "tests/http_server.h"
#include "tools/http.h"
#include "tools/zoo_store.h"

/// The zoo: its manifests, downloads from a server of this process that does what servers do, and
/// models used by name.
namespace camlucida {
namespace {

namespace fs = std::filesystem;
using namespace cli;
using test::HttpFile;
using test::HttpServer;
using test::names_in;
using test::Outcome;
using test::run_program;

std::string random_bytes(size_t count) {
  std::string bytes(count, '\0');
  uint32_t state = 7;
  for (char& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

std::string digest(const std::string& text) {
  return sha256({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

/// A zoo of the test's own with one model to download, "net", and a server that has it.
class Zoo : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_download()) GTEST_SKIP() << "SKIPPED: built without libcurl";
    setenv("CAMLUCIDA_MODEL_ZOO", (folder_ / "model_zoo").c_str(), 1);
    setenv("CAMLUCIDA_HOME", (folder_ / "home").c_str(), 1);
    setenv("no_proxy", "*", 1);
    unsetenv("CAMLUCIDA_MIRROR");
    fs::create_directories(folder_ / "model_zoo/public");
    test::write_text(folder_ / "model_zoo/public/labels.txt", test::small_labels());
    announce(test::small_classifier());
  }
  void TearDown() override {
    for (const char* name : {"CAMLUCIDA_MODEL_ZOO", "CAMLUCIDA_HOME", "no_proxy"}) unsetenv(name);
  }

  /// The manifest of "net" for a network with this content, which the server has too.
  void announce(const std::string& content, std::vector<std::string> mirrors = {}) {
    content_ = content;
    nlohmann::json manifest = nlohmann::json::parse(test::small_manifest());
    manifest["name"] = "net";
    manifest["aliases"] = {"friendly"};
    manifest["files"] = {{{"file", "net.onnx"},
                          {"bytes", content.size()},
                          {"sha256", digest(content)},
                          {"url", server_.url() + "/net.onnx"},
                          {"mirrors", mirrors}}};
    test::write_text(folder_ / "model_zoo/public/net.json", manifest.dump());
    server_.put("net.onnx", {.content = content});
  }
  PullResult pull_net() const {
    PullOptions options;
    options.download.retries = 2;
    options.download.first_pause = std::chrono::milliseconds(1);
    return pull(ZooCatalogue::load().require("net"), options);
  }

  fs::path models() const { return folder_ / "home/models/net"; }
  fs::path network() const { return models() / "net.onnx"; }
  fs::path part() const { return models() / "net.onnx.part"; }
  void write_part(const std::string& text) const {
    fs::create_directories(models());
    test::write_text(part(), text);
  }
  void expect_complete() const {
    EXPECT_TRUE(test::read_text(network()) == content_);
    EXPECT_FALSE(fs::exists(part()));
  }
  void expect_nothing() const {
    EXPECT_FALSE(fs::exists(network()));
    EXPECT_FALSE(fs::exists(part()));
    EXPECT_FALSE(fs::exists(models() / "manifest.json"));
  }

  test::TemporaryFolder folder_;
  HttpServer server_;
  std::string content_;
};

TEST_F(Zoo, PulledModelIsUsedByName) {
  const Outcome pulled = run_program({"zoo", "pull", "net"});
  EXPECT_EQ(pulled.code, 0) << pulled.err;
  EXPECT_EQ(pulled.out, "net: " + network().string() + "\n");
  expect_complete();
  EXPECT_EQ(names_in(models()),
            (std::vector<std::string>{".lock", "labels.txt", "manifest.json", "net.onnx"}));

  const fs::path picture = folder_ / "cat.png";
  test::save_picture(picture, 20, 20);
  for (const std::string name : {"net", "friendly", "NET"}) {
    const Outcome predicted = run_program({"predict", "-m", name, picture, "--json"});
    EXPECT_EQ(predicted.code, 0) << predicted.err;
    EXPECT_NE(predicted.out.find("red star"), std::string::npos) << predicted.out;
  }
  const Outcome again = run_program({"zoo", "pull", "net", "--json"});
  EXPECT_EQ(nlohmann::json::parse(again.out)[0]["downloaded"], false);
  EXPECT_EQ(server_.requests().size(), 1u);
}

TEST_F(Zoo, ListSaysWhatIsHere) {
  const auto state = [] {
    return nlohmann::json::parse(run_program({"zoo", "list", "--json"}).out)[0];
  };
  EXPECT_EQ(state()["present"], false);
  EXPECT_EQ(state()["bytes"], content_.size());
  const Outcome table = run_program({"zoo", "list"});
  EXPECT_NE(table.out.find("friendly"), std::string::npos);
  EXPECT_EQ(table.out.find("incomplete"), std::string::npos);
  write_part(content_.substr(0, 10));
  EXPECT_NE(run_program({"zoo", "list"}).out.find("incomplete"), std::string::npos);
  pull_net();
  EXPECT_EQ(state()["present"], true);
}

TEST_F(Zoo, NameWithoutModel) {
  const Outcome missing = run_program({"inspect", "friendly"});
  EXPECT_EQ(missing.code, 4);
  EXPECT_EQ(missing.err_lines().size(), 1u);
  EXPECT_NE(missing.err.find("`camlucida zoo pull net`"), std::string::npos) << missing.err;
  const Outcome unknown = run_program({"inspect", "nett"});
  EXPECT_EQ(unknown.code, 4);
  EXPECT_NE(unknown.err.find("No such file"), std::string::npos) << unknown.err;
  EXPECT_NE(unknown.err.find("'net'"), std::string::npos) << unknown.err;
  EXPECT_EQ(run_program({"zoo", "pull", "nett"}).code, 2);
  EXPECT_EQ(run_program({"zoo", "pull"}).code, 2);
  EXPECT_EQ(run_program({"zoo"}).code, 2);
}

TEST_F(Zoo, FileGoesBeforeName) {
  test::write_text(folder_ / "net", "a file of that name");
  const fs::path before = fs::current_path();
  fs::current_path(folder_.path());
  EXPECT_EQ(resolve_model("net"), "net");
  fs::current_path(before);
}

TEST_F(Zoo, BrokenConnectionGoesOnWhereItEnded) {
  announce(random_bytes(300000));
  server_.put("net.onnx", {.content = content_, .cut = 100000, .cuts = 2});
  EXPECT_EQ(pull_net(), PullResult::kPulled);
  expect_complete();
  EXPECT_EQ(server_.requests(),
            (std::vector<std::string>{"GET /net.onnx", "GET /net.onnx bytes=100000-",
                                      "GET /net.onnx bytes=200000-"}));
}

TEST_F(Zoo, PartOfAnEarlierRunIsUsed) {
  announce(random_bytes(50000));
  write_part(content_.substr(0, 20000));
  pull_net();
  expect_complete();
  EXPECT_EQ(server_.requests(), std::vector<std::string>{"GET /net.onnx bytes=20000-"});
}

TEST_F(Zoo, ServerWithoutRangesSendsAllAgain) {
  announce(random_bytes(50000));
  server_.put("net.onnx", {.content = content_, .ranges = false, .cut = 20000, .cuts = 1});
  pull_net();
  expect_complete();
}

TEST_F(Zoo, ServerThatAlwaysBreaksOffIsGivenUp) {
  server_.put("net.onnx", {.content = content_, .ranges = false, .cut = 100, .cuts = 99});
  EXPECT_ERROR(pull_net(), kResource, "pull again later");
  EXPECT_EQ(server_.requests().size(), 1u + 2);  // the first bytes, then twice in vain
  EXPECT_TRUE(fs::exists(part()));
}

TEST_F(Zoo, DamagedPartIsThrownAway) {
  announce(random_bytes(50000));
  write_part(std::string(20000, 'x'));
  pull_net();
  expect_complete();
  EXPECT_EQ(server_.requests(),
            (std::vector<std::string>{"GET /net.onnx bytes=20000-", "GET /net.onnx"}));
}

TEST_F(Zoo, PartThatIsLongerOrWholeButWrong) {
  write_part(content_ + "more");
  pull_net();
  expect_complete();
  fs::remove(network());
  write_part(std::string(content_.size(), 'x'));
  pull_net();
  expect_complete();
}

TEST_F(Zoo, WrongContentIsRemoved) {
  std::string other = content_;
  other[5] ^= 1;
  server_.put("net.onnx", {.content = other});
  const Outcome outcome = run_program({"zoo", "pull", "net"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
  EXPECT_NE(outcome.err.find("SHA-256"), std::string::npos) << outcome.err;
  expect_nothing();
}

TEST_F(Zoo, AnotherSizeIsRefusedBeforeItIsLoaded) {
  server_.put("net.onnx", {.content = "<html>please log in</html>"});
  EXPECT_ERROR(pull_net(), kResource, "26 bytes instead of");
  expect_nothing();
  write_part(content_.substr(0, 50));
  server_.put("net.onnx", {.content = content_ + "!"});
  EXPECT_ERROR(pull_net(), kResource, "bytes instead of");
  EXPECT_TRUE(test::read_text(part()) == content_.substr(0, 50));
}

TEST_F(Zoo, MoreThanAnnouncedStopsTheDownload) {
  server_.put("net.onnx", {.content = content_ + random_bytes(1 << 20), .says_length = false});
  EXPECT_ERROR(pull_net(), kResource, "sends more than");
  expect_nothing();
}

TEST_F(Zoo, LessThanAnnouncedIsIncomplete) {
  server_.put("net.onnx",
              {.content = content_.substr(0, 40), .ranges = false, .says_length = false});
  EXPECT_ERROR(pull_net(), kResource, "40 of ");
  EXPECT_FALSE(fs::exists(network()));
}

TEST_F(Zoo, AnswersThatAreErrors) {
  server_.put("net.onnx", {.content = "gone", .status = 404});
  EXPECT_ERROR(pull_net(), kResource, "answers 404");
  EXPECT_EQ(server_.requests().size(), 1u);
  expect_nothing();
  server_.put("net.onnx", {.content = "busy", .status = 503});
  EXPECT_ERROR(pull_net(), kResource, "answers 503");
  EXPECT_EQ(server_.requests().size(), 1u + 3);
  expect_nothing();
}

TEST_F(Zoo, RedirectionIsFollowed) {
  server_.put("elsewhere", {.content = content_});
  server_.put("net.onnx", {.redirect = server_.url() + "/elsewhere"});
  pull_net();
  expect_complete();
  server_.put("net.onnx", {.redirect = "file:///etc/passwd"});
  fs::remove(network());
  EXPECT_ERROR(pull_net(), kResource, "rotocol");
}

TEST_F(Zoo, NoServer) {
  const Outcome outcome = run_program({"zoo", "pull", "net", "--mirror", test::closed_address()});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
  EXPECT_NE(outcome.err.find(network().string()), std::string::npos) << outcome.err;
  expect_nothing();
}

TEST_F(Zoo, MirrorsAreTriedInTurn) {
  announce(content_, {test::closed_address() + "/a", server_.url() + "/third"});
  server_.put("net.onnx", {.status = 404});
  server_.put("third", {.content = content_});
  EXPECT_EQ(pull_net(), PullResult::kPulled);
  expect_complete();
}

TEST_F(Zoo, MirrorReplacesTheAddress) {
  server_.put("net.onnx", {.status = 404});
  server_.put("copies/net.onnx", {.content = content_});
  setenv("CAMLUCIDA_MIRROR", (server_.url() + "/copies").c_str(), 1);
  const Outcome outcome = run_program({"zoo", "pull", "net"});
  unsetenv("CAMLUCIDA_MIRROR");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  expect_complete();
}

TEST_F(Zoo, FilePutThereByHand) {
  fs::create_directories(models());
  test::write_text(network(), content_);
  EXPECT_EQ(run_program({"inspect", "net"}).code, 4);
  EXPECT_EQ(pull_net(), PullResult::kPresent);
  EXPECT_EQ(server_.requests().size(), 0u);
  EXPECT_EQ(run_program({"inspect", "net"}).code, 0);
}

TEST_F(Zoo, VerifyFindsDamageAndPullMendsIt) {
  EXPECT_EQ(run_program({"zoo", "verify"}).code, 0);
  EXPECT_EQ(run_program({"zoo", "verify", "net"}).code, 1);
  pull_net();
  EXPECT_EQ(run_program({"zoo", "verify"}).code, 0);
  std::string damaged = content_;
  damaged[9] ^= 1;
  test::write_text(network(), damaged);
  const Outcome outcome = run_program({"zoo", "verify", "--json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(nlohmann::json::parse(outcome.out)[0]["state"], "damaged");
  EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
  EXPECT_EQ(pull_net(), PullResult::kPulled);
  expect_complete();
}

TEST_F(Zoo, TwoPullsAtOnceLoadOnce) {
  announce(random_bytes(3 << 20));
  test::BackgroundProgram first({"zoo", "pull", "net"});
  test::BackgroundProgram second({"zoo", "pull", "net"});
  EXPECT_EQ(first.wait().code, 0);
  EXPECT_EQ(second.wait().code, 0);
  expect_complete();
  EXPECT_EQ(server_.requests().size(), 1u);
}

TEST_F(Zoo, InterruptKeepsThePart) {
  announce(random_bytes(50000));
  server_.put("net.onnx", {.content = content_, .cut = 20000, .cuts = 1, .stall = true});
  test::BackgroundProgram program({"zoo", "pull", "net"});
  for (int i = 0; i < 500; ++i) {
    std::error_code code;
    if (fs::exists(part(), code) && fs::file_size(part(), code) == 20000) break;
    usleep(10000);
  }
  program.interrupt();
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  EXPECT_TRUE(test::read_text(part()) == content_.substr(0, 20000));
  pull_net();
  expect_complete();
  EXPECT_EQ(server_.requests().back(), "GET /net.onnx bytes=20000-");
}

TEST_F(Zoo, NoPlaceForDownloads) {
  test::write_text(folder_ / "home", "a file");
  const Outcome outcome = run_program({"zoo", "pull", "net"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
  EXPECT_NE(outcome.err.find("CAMLUCIDA_HOME"), std::string::npos) << outcome.err;

  const std::string home = std::getenv("HOME") != nullptr ? std::getenv("HOME") : "";
  for (const char* name : {"CAMLUCIDA_HOME", "XDG_CACHE_HOME", "HOME"}) unsetenv(name);
  EXPECT_EQ(state_of(ZooCatalogue::load().require("net")), ZooState::kMissing);
  EXPECT_ERROR(pull_net(), kUsage, "CAMLUCIDA_HOME");
  EXPECT_ERROR(resolve_model("no.onnx"), kModel, "No such file");
  if (!home.empty()) setenv("HOME", home.c_str(), 1);
}

TEST_F(Zoo, ManifestsThatAreWrong) {
  const fs::path path = folder_ / "model_zoo/public/net.json";
  const nlohmann::json right = test::read_json(path);
  const auto expect_refused = [&](const nlohmann::json& manifest, const std::string& part) {
    test::write_text(path, manifest.dump());
    EXPECT_ERROR(ZooCatalogue::load(), kInput, part);
  };
  nlohmann::json wrong = right;
  wrong["name"] = "../net";
  expect_refused(wrong, "name");
  wrong = right;
  wrong["files"][0]["file"] = "../../net.onnx";
  expect_refused(wrong, "../../net.onnx");
  wrong = right;
  wrong["files"][0]["sha256"] = "12";
  expect_refused(wrong, "sha256");
  wrong = right;
  wrong["files"][0]["url"] = "file:///etc/passwd";
  expect_refused(wrong, "http");
  wrong = right;
  wrong["files"][0]["bytes"] = -1;
  expect_refused(wrong, "bytes");
  wrong = right;
  wrong["labels"] = "../../labels.txt";
  expect_refused(wrong, "labels");
  wrong.erase("files");
  expect_refused(wrong, "files");
  expect_refused(nlohmann::json::array(), "object");
  test::write_text(path, "{");
  EXPECT_ERROR(ZooCatalogue::load(), kInput, "object");
}

TEST(ZooOfTheProject, EveryManifestIsComplete) {
  setenv("CAMLUCIDA_HOME", "/nowhere", 1);
  const ZooCatalogue catalogue = ZooCatalogue::load();
  unsetenv("CAMLUCIDA_HOME");
  std::set<std::string> names;
  size_t to_download = 0;
  for (const ZooModel& model : catalogue.models()) {
    SCOPED_TRACE(model.name);
    EXPECT_TRUE(names.insert(model.name).second) << "two models have this name";
    for (const std::string& alias : model.aliases) {
      EXPECT_TRUE(names.insert(alias).second) << "alias " << alias << " is taken";
    }
    const Manifest manifest = Manifest::load(model.manifest);
    EXPECT_EQ(manifest.name, model.name);
    EXPECT_TRUE(manifest.preprocessing.has_value());
    EXPECT_TRUE(manifest.input.has_value());
    EXPECT_FALSE(manifest.outputs.empty());
    EXPECT_FALSE(model.licence.empty());
    if (model.bundled) {
      for (const ZooFile& file : model.files) EXPECT_EQ(verify(model, file), FileState::kOk);
      continue;
    }
    ++to_download;
    EXPECT_EQ(model.manifest.stem(), model.name);
    EXPECT_FALSE(model.topology.empty());
    ASSERT_TRUE(manifest.labels.has_value());
    EXPECT_EQ(Labels::load(*manifest.labels).size(), manifest.outputs[0].shape[1]);
    const Shape& input = manifest.input->example_shape;
    ASSERT_EQ(input.rank(), 4);
    EXPECT_EQ(input[1], manifest.preprocessing->channels());
    for (const ZooFile& file : model.files) {
      for (const std::string& url : file.urls) {
        EXPECT_TRUE(url.starts_with("https://")) << url;
        EXPECT_TRUE(url.ends_with("/" + file.name)) << url;
      }
    }
  }
  EXPECT_GE(to_download, 25u);
  EXPECT_NE(catalogue.find("menagerie-classifier"), nullptr);
  EXPECT_NE(catalogue.find("resnet50"), nullptr);
}

}  // namespace
}  // namespace camlucida
