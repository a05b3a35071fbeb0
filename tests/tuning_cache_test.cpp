#include "engine/cuda/tuning_cache.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "engine/cuda/gpu.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDevice = "GPU A, driver 1";

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

class TuningCacheFile : public ::testing::Test {
 protected:
  /// As another process would open it.
  TuningCache reopened(const std::string& device = kDevice) const {
    return TuningCache(folder_.path() / "tuning", device);
  }

  test::TemporaryFolder folder_;
};

TEST_F(TuningCacheFile, IsEmptyAtFirst) {
  TuningCache cache = reopened();
  EXPECT_EQ(cache.find("conv"), std::nullopt);
  EXPECT_FALSE(fs::exists(cache.file()));
}

TEST_F(TuningCacheFile, KeepsResults) {
  TuningCache first = reopened();
  first.store("conv 3x3", "engine 1");
  first.store("conv 1x1", "engine 2");
  first.store("conv 3x3", "engine 3");
  EXPECT_EQ(first.find("conv 3x3"), "engine 3");

  TuningCache second = reopened();
  EXPECT_EQ(second.find("conv 3x3"), "engine 3");
  EXPECT_EQ(second.find("conv 1x1"), "engine 2");
  EXPECT_EQ(second.find("conv"), std::nullopt);
  EXPECT_EQ(content(second.file()),
            "camlucida tuning 1\tGPU A, driver 1\nconv 1x1\tengine 2\nconv 3x3\tengine 3\n");
}

TEST_F(TuningCacheFile, KeepsDevicesApart) {
  reopened().store("conv", "engine 1");
  TuningCache other = reopened("GPU A, driver 2");
  EXPECT_EQ(other.find("conv"), std::nullopt);
  other.store("conv", "engine 2");
  EXPECT_EQ(reopened().find("conv"), "engine 1");
  EXPECT_NE(other.file(), reopened().file());
}

TEST_F(TuningCacheFile, SeparatorsInTextsDoNoHarm) {
  reopened().store("conv\t3\nx3", "engine\t1\r\n");
  TuningCache cache = reopened();
  EXPECT_EQ(cache.find("conv 3 x3"), "engine 1  ");
  EXPECT_EQ(cache.find("conv\t3\nx3"), "engine 1  ");
}

TEST_F(TuningCacheFile, AddsToWhatOthersHaveStored) {
  TuningCache first = reopened();
  EXPECT_EQ(first.find("a"), std::nullopt);
  TuningCache second = reopened();
  second.store("a", "by second");
  second.store("b", "by second");
  first.store("b", "by first");
  EXPECT_EQ(first.find("a"), "by second");
  TuningCache third = reopened();
  EXPECT_EQ(third.find("a"), "by second");
  EXPECT_EQ(third.find("b"), "by first");
}

TEST_F(TuningCacheFile, DamagedFilesAreAsGoodAsNone) {
  const fs::path path = reopened().file();
  const std::string header = std::string("camlucida tuning 1\t") + kDevice + "\n";
  for (const std::string& text :
       {std::string(), std::string("\n"), std::string("rubbish"), std::string("a\tb\nconv\tx\n"),
        std::string("camlucida tuning 1\tGPU B\nconv\tx\n"),
        std::string("camlucida tuning 2\t") + kDevice + "\nconv\tx\n", std::string(1000, '\0'),
        header, header + "conv", header + "conv\tcut off"}) {
    write(path, text);
    EXPECT_EQ(reopened().find("conv"), std::nullopt) << text;
  }
  write(path, header + "no separator\n\t\nconv\tengine 1\nlast\tcut");
  TuningCache cache = reopened();
  EXPECT_EQ(cache.find("conv"), "engine 1");
  EXPECT_EQ(cache.find("last"), std::nullopt);

  write(path, "rubbish");
  TuningCache repaired = reopened();
  repaired.store("conv", "engine 2");
  EXPECT_EQ(reopened().find("conv"), "engine 2");
}

TEST_F(TuningCacheFile, FoldersThatCannotBeWritten) {
  write(folder_ / "tuning", "a file");
  TuningCache cache = reopened();
  cache.store("conv", "engine 1");
  EXPECT_EQ(cache.find("conv"), "engine 1");
  EXPECT_EQ(reopened().find("conv"), std::nullopt);

  TuningCache nowhere("", kDevice);
  nowhere.store("conv", "engine 1");
  EXPECT_EQ(nowhere.find("conv"), "engine 1");
  EXPECT_TRUE(nowhere.file().empty());

  TuningCache under_proc("/proc/self/none", kDevice);
  under_proc.store("conv", "engine 1");
  EXPECT_EQ(under_proc.find("conv"), "engine 1");
}

TEST_F(TuningCacheFile, ServesThreads) {
  TuningCache cache = reopened();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&cache, thread] {
      for (int i = 0; i < 10; ++i) {
        const std::string key = std::to_string(thread) + "/" + std::to_string(i);
        cache.store(key, "of " + key);
        EXPECT_EQ(cache.find(key), "of " + key);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  TuningCache again = reopened();
  EXPECT_EQ(again.find("3/9"), "of 3/9");
  EXPECT_EQ(again.find("0/0"), "of 0/0");
}

TEST_F(TuningCacheFile, ServesProcesses) {
  std::vector<pid_t> children;
  for (int child = 0; child < 3; ++child) {
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      TuningCache cache = reopened();
      for (int i = 0; i < 20; ++i) cache.store(std::to_string(i), "of " + std::to_string(child));
      _exit(0);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
  // Results may be lost, but each one is whole, and nothing else is left behind.
  TuningCache cache = reopened();
  for (int i = 0; i < 20; ++i) {
    const std::optional<std::string> result = cache.find(std::to_string(i));
    EXPECT_EQ(result.value_or("of none").rfind("of ", 0), 0u);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(cache.file().parent_path()), {}), 1);
}

/// Sets a variable for the length of a test; null removes it.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Variable() { set(old_ ? old_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const char* value) {
    if (value != nullptr) {
      setenv(name_, value, 1);
    } else {
      unsetenv(name_);
    }
  }

  const char* name_;
  std::optional<std::string> old_;
};

TEST(TuningCacheFolder, FollowsTheEnvironment) {
  const Variable user("HOME", "/home/user");
  const Variable cache("XDG_CACHE_HOME", "/cache");
  const Variable home("CAMLUCIDA_HOME", "/lucida");
  EXPECT_EQ(TuningCache::default_folder(), "/lucida/tuning");
  {
    const Variable relative("CAMLUCIDA_HOME", "lucida");
    EXPECT_EQ(TuningCache::default_folder(), fs::current_path() / "lucida/tuning");
  }
  const Variable no_home("CAMLUCIDA_HOME", nullptr);
  EXPECT_EQ(TuningCache::default_folder(), "/cache/camlucida/tuning");
  const Variable relative_cache("XDG_CACHE_HOME", "cache");
  EXPECT_EQ(TuningCache::default_folder(), "/home/user/.cache/camlucida/tuning");
  const Variable no_user("HOME", nullptr);
  EXPECT_EQ(TuningCache::default_folder(), "");
}

TEST(TuningCacheOfGpu, IsSharedAndLeavesNoFileForAnEmulatedOne) {
  const auto gpu = Gpu::emulated();
  const std::shared_ptr<TuningCache> cache = TuningCache::of(*gpu);
  EXPECT_EQ(cache, TuningCache::of(*Gpu::emulated()));
  EXPECT_TRUE(cache->file().empty());
}

}  // namespace
}  // namespace camlucida
