#include <cstdlib>

#include "engine/cuda/vendor/blas_library.h"
#include "engine/cuda/vendor/dnn_library.h"
#include "engine/cuda/vendor/solver_library.h"

/// Which of CUDA's libraries are wanted, and where they are looked for. The folders in which the
/// build has found them come from cmake/cuda.cmake.
namespace camlucida {
namespace {

/// The folder that an environment variable names, and `part` of it; empty if it is not set.
std::string folder_of(const char* variable, const char* part) {
  const char* folder = std::getenv(variable);
  return folder != nullptr && *folder != '\0' ? std::string(folder) + part : "";
}

std::vector<std::string> toolkit_folders() {
  return {CAMLUCIDA_CUDA_FOLDER, folder_of("CUDA_PATH", "/lib64"), "/usr/local/cuda/lib64"};
}

/// All three have a function of this form.
template <class GetProperty>
LibraryVersion version_by(GetProperty* get) {
  LibraryVersion version;
  get(MAJOR_VERSION, &version.major);
  get(MINOR_VERSION, &version.minor);
  get(PATCH_LEVEL, &version.patch);
  return version;
}

}  // namespace

LibrarySource dnn_source() {
  LibrarySource source{"cuDNN",
                       "libcudnn.so." + std::to_string(CUDNN_MAJOR),
                       {folder_of("CUDNN_ROOT", "/lib"), CAMLUCIDA_CUDNN_FOLDER},
                       {CUDNN_MAJOR, CUDNN_MAJOR == 9 ? 8 : 0, 0},
                       [](const LateLibrary& library) {
                         return version_by<decltype(cudnnGetProperty)>(library["cudnnGetProperty"]);
                       }};
  for (std::string& folder : toolkit_folders()) source.folders.push_back(std::move(folder));
  return source;
}

LibrarySource blas_source() {
  return {"cuBLASLt",
          "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR),
          toolkit_folders(),
          {CUBLAS_VER_MAJOR, 0, 0},
          [](const LateLibrary& library) {
            return version_by<decltype(cublasLtGetProperty)>(library["cublasLtGetProperty"]);
          }};
}

LibrarySource solver_source() {
  return {"cuSOLVER",
          "libcusolver.so." + std::to_string(CUSOLVER_VER_MAJOR),
          toolkit_folders(),
          {CUSOLVER_VER_MAJOR, 0, 0},
          [](const LateLibrary& library) {
            return version_by<decltype(cusolverGetProperty)>(library["cusolverGetProperty"]);
          }};
}

// Never destroyed: handles are given back as late as objects of static lifetime end.

const LateFunctions<DnnFunctions>& dnn_library() {
  static const auto& library = *new LateFunctions<DnnFunctions>(dnn_source());
  return library;
}

const LateFunctions<BlasFunctions>& blas_library() {
  static const auto& library = *new LateFunctions<BlasFunctions>(blas_source());
  return library;
}

const LateFunctions<SolverFunctions>& solver_library() {
  static const auto& library = *new LateFunctions<SolverFunctions>(solver_source());
  return library;
}

}  // namespace camlucida
