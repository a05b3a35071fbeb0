/// Libraries that are loaded late: found or not, and what is said where one does not serve. The
/// mathematical library of C, which is everywhere, stands for one of CUDA's.
#include <gtest/gtest.h>

#ifndef CAMLUCIDA_HAS_CUDA

TEST(LateLibraries, NeedCuda) { GTEST_SKIP() << "this build has no CUDA support"; }

#else

#include <algorithm>
#include <cmath>
#include <fstream>

#include "engine/cuda/vendor/blas_library.h"
#include "engine/cuda/vendor/dnn_library.h"
#include "engine/cuda/vendor/solver_library.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

using test::TemporaryFolder;

constexpr const char* kAbsent = "libcamlucida-absent.so.3";

LibrarySource source(LibraryVersion least = {3, 1, 0}) {
  return {"cuMath", "libm.so.6", {}, least, [](const LateLibrary&) {
            return LibraryVersion{3, 1, 4};
          }};
}

struct Functions {
  const LateLibrary& in;
  double (*cosine)(double) = in["cos"];
};

struct MoreFunctions {
  const LateLibrary& in;
  double (*cosine)(double) = in["cos"];
  double (*other)(double) = in["cudnnCosine"];
  double (*third)(double) = in["cudnnThird"];
};

std::string reason_of(const LibrarySource& wanted) {
  const LateFunctions<Functions> library(wanted);
  EXPECT_FALSE(library);
  EXPECT_ERROR(*library, kUnsupported, library.reason());
  return library.reason();
}

TEST(LateLibraries, GiveTheirFunctions) {
  const LateFunctions<Functions> library(source());
  ASSERT_TRUE(library) << library.reason();
  EXPECT_EQ(library.reason(), "");
  EXPECT_EQ((*library).cosine(0.5), std::cos(0.5));
  EXPECT_EQ(library.version(), (LibraryVersion{3, 1, 4}));
  EXPECT_NE((*library).in.path().find("/libm.so.6"), std::string::npos) << (*library).in.path();
}

TEST(LateLibraries, AbsentOnesSayWhereTheyWereLookedFor) {
  LibrarySource wanted = source();
  wanted.file = kAbsent;
  EXPECT_EQ(reason_of(wanted), std::string("cuMath 3 is not here: ") + kAbsent +
                                   ": cannot open shared object file: No such file or directory");
  wanted.folders = {"/nowhere", "", "/nowhere", "/no/where"};
  EXPECT_EQ(reason_of(wanted), std::string("cuMath 3 is not here: ") + kAbsent +
                                   ": cannot open shared object file: No such file or directory; "
                                   "it is not in /nowhere, /no/where");
}

TEST(LateLibraries, AreFoundInTheFirstFolderThatServes) {
  const TemporaryFolder folder;
  const LateLibrary known(source());
  for (const char* name : {"broken", "good"}) std::filesystem::create_directory(folder / name);
  std::ofstream(folder / "broken" / kAbsent) << "no library";
  std::filesystem::create_symlink(known.path(), folder / "good" / kAbsent);

  LibrarySource wanted = source();
  wanted.file = kAbsent;
  wanted.folders = {"/nowhere", folder / "broken"};
  const std::string reason = reason_of(wanted);
  EXPECT_NE(reason.find(folder / "broken"), std::string::npos) << reason;
  EXPECT_NE(reason.find("; it is not in /nowhere"), std::string::npos) << reason;

  wanted.folders.push_back(folder / "good");
  const LateFunctions<Functions> library(wanted);
  ASSERT_TRUE(library) << library.reason();
  EXPECT_EQ((*library).cosine(0), 1);
}

TEST(LateLibraries, MissingFunctionsAreNamed) {
  const LateFunctions<MoreFunctions> library(source());
  EXPECT_FALSE(library);
  const std::string& reason = library.reason();
  EXPECT_EQ(reason.find("cuMath 3 does not serve: "), 0u) << reason;
  EXPECT_NE(reason.find("libm.so.6 has no function cudnnCosine"), std::string::npos) << reason;
}

TEST(LateLibraries, OtherVersionsAreRefused) {
  for (const LibraryVersion& least : {LibraryVersion{3, 0, 0}, {3, 1, 0}, {3, 1, 4}}) {
    const LateFunctions<Functions> library(source(least));
    EXPECT_TRUE(library) << library.reason();
  }
  for (const LibraryVersion& least : {LibraryVersion{3, 1, 5}, {3, 2, 0}, {2, 9, 0}, {4, 0, 0}}) {
    const std::string reason = reason_of(source(least));
    EXPECT_EQ(reason.find("cuMath " + least.to_string() + " or a later " +
                          std::to_string(least.major) + " is needed: /"),
              0u)
        << reason;
    EXPECT_NE(reason.find("libm.so.6 is 3.1.4"), std::string::npos) << reason;
  }
}

TEST(LateLibraries, LackOfTheVersionIsAReasonToo) {
  LibrarySource wanted = source();
  wanted.version = dnn_source().version;
  EXPECT_NE(reason_of(wanted).find("has no function cudnnGetProperty"), std::string::npos);
}

/// Sets a variable of the environment until the end.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~Variable() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(CudaLibraries, AreLookedForInTheToolkitAndCudnnRoot) {
  const Variable root("CUDNN_ROOT", "/my/cudnn");
  const Variable toolkit("CUDA_PATH", "/my/cuda");
  EXPECT_EQ(dnn_source().folders[0], "/my/cudnn/lib");
  for (const LibrarySource& wanted : {dnn_source(), blas_source(), solver_source()}) {
    SCOPED_TRACE(wanted.name);
    const std::vector<std::string> last(wanted.folders.end() - 2, wanted.folders.end());
    EXPECT_EQ(last, (std::vector<std::string>{"/my/cuda/lib64", "/usr/local/cuda/lib64"}));
  }
}

template <class Functions>
void expect_loaded(const LateFunctions<Functions>& library, const LibrarySource& wanted) {
  SCOPED_TRACE(wanted.name);
  if (library) {
    EXPECT_GE(library.version(), wanted.least);
    return;
  }
  std::printf("%s\n", library.reason().c_str());
  for (const std::string& folder : wanted.folders) {
    EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(folder) / wanted.file))
        << "in " << folder << ", but: " << library.reason();
  }
}

TEST(CudaLibraries, AreLoadedWhereTheyAreInstalled) {
  expect_loaded(dnn_library(), dnn_source());
  expect_loaded(blas_library(), blas_source());
  expect_loaded(solver_library(), solver_source());
}

}  // namespace
}  // namespace camlucida

#endif
