# GPU support. Sources named *_cuda.cpp hold kernels: nvcc compiles them where CAMLUCIDA_HAS_CUDA is
# set, the C++ compiler elsewhere (engine/cuda/portable.h), for the emulated GPU that tests run on.
# engine/cuda/vendor holds all that calls CUDA, cuDNN, cuBLAS or cuSOLVER. The CUDA runtime is linked
# in; the other three are loaded by the program when it needs them, so that building takes their
# headers only (engine/cuda/vendor/libraries.cpp).
set(CAMLUCIDA_HAS_CUDA OFF)
if(CAMLUCIDA_CUDA STREQUAL "AUTO" OR (CAMLUCIDA_CUDA AND NOT CAMLUCIDA_CUDA STREQUAL "NONE"))
  include(CheckLanguage)
  check_language(CUDA)
  find_package(CUDAToolkit QUIET)
  find_path(CUDNN_INCLUDE_DIR cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS} $ENV{CUDNN_ROOT}/include)
  find_path(CUBLAS_INCLUDE_DIR cublasLt.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_path(CUSOLVER_INCLUDE_DIR cusolverDn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  # Only to know its folder: a program looks there, too.
  find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9
               HINTS ${CUDAToolkit_LIBRARY_DIR} $ENV{CUDNN_ROOT}/lib)
  set(missing "")
  foreach(part IN ITEMS "CMAKE_CUDA_COMPILER=nvcc" "CUDAToolkit_FOUND=the CUDA toolkit"
                        "CUBLAS_INCLUDE_DIR=cublasLt.h" "CUSOLVER_INCLUDE_DIR=cusolverDn.h"
                        "CUDNN_INCLUDE_DIR=cudnn_graph.h of cuDNN 9.8 or later (CUDNN_ROOT)")
    string(REGEX MATCH "^([^=]*)=(.*)$" part "${part}")
    if(NOT ${CMAKE_MATCH_1})
      list(APPEND missing "${CMAKE_MATCH_2}")
    endif()
  endforeach()
  list(JOIN missing ", " missing)
  if(NOT missing)
    set(CAMLUCIDA_HAS_CUDA ON)
  elseif(NOT CAMLUCIDA_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "CAMLUCIDA_CUDA=ON lacks ${missing}")
  endif()
endif()
if(CAMLUCIDA_HAS_CUDA)
  # Machine code for Ampere and Ada (8.x) and Hopper (9.0), and PTX for what comes after.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
  endif()
  if(CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
  endif()
  enable_language(CUDA)
  # This is for the host alone, where the kernels run on the emulated GPU only. Code for GPUs is
  # optimised all the same.
  string(REPLACE "-O3" "-O1" CMAKE_CUDA_FLAGS_RELEASE "${CMAKE_CUDA_FLAGS_RELEASE}")
  set(CAMLUCIDA_CUDA_INCLUDE_DIRS ${CUDNN_INCLUDE_DIR} ${CUBLAS_INCLUDE_DIR}
                                  ${CUSOLVER_INCLUDE_DIR} ${CUDAToolkit_INCLUDE_DIRS})
  list(REMOVE_DUPLICATES CAMLUCIDA_CUDA_INCLUDE_DIRS)
  # The host compiler's own folders: given to nvcc once more they would hide C's headers.
  list(APPEND CMAKE_CUDA_IMPLICIT_INCLUDE_DIRECTORIES ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
  # CMake 3.25 does not know that nvcc has C++20 since version 12.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
  endif()
endif()
message(STATUS "NVIDIA GPUs: ${CAMLUCIDA_HAS_CUDA}")

# camlucida_split_gpu(<lists>): takes the sources that serve GPUs out of the lists, into gpu_sources
# (with gpu_kernels, those that register kernels) and no_gpu_sources, which stand in for them.
function(camlucida_split_gpu)
  set(gpu "")
  foreach(list IN LISTS ARGN)
    set(part ${${list}})
    list(FILTER part INCLUDE REGEX "/engine/cuda/|_cuda(_common)?\\.cpp$|/no_gpu\\.cpp$")
    set(rest ${${list}})
    if(part)
      list(REMOVE_ITEM rest ${part})
    endif()
    list(APPEND gpu ${part})
    set(${list} ${rest} PARENT_SCOPE)
  endforeach()
  set(no_gpu ${gpu})
  list(FILTER no_gpu INCLUDE REGEX "/no_(gpu|vendor)\\.cpp$")
  list(FILTER gpu EXCLUDE REGEX "/no_gpu\\.cpp$")
  if(CAMLUCIDA_HAS_CUDA)
    list(FILTER gpu EXCLUDE REGEX "/no_vendor\\.cpp$")
  else()
    list(FILTER gpu EXCLUDE REGEX "/vendor/")
  endif()
  set(kernels ${gpu})
  list(FILTER kernels INCLUDE REGEX "/layers/")
  set(gpu_sources ${gpu} PARENT_SCOPE)
  set(no_gpu_sources ${no_gpu} PARENT_SCOPE)
  set(gpu_kernels ${kernels} PARENT_SCOPE)
endfunction()

# Compiles the GPU sources into `target` and links what they call.
function(camlucida_use_gpu target)
  if(CAMLUCIDA_CUDA STREQUAL "NONE")
    target_sources(${target} PRIVATE ${no_gpu_sources})
    return()
  endif()
  target_sources(${target} PRIVATE ${gpu_sources} ${gpu_list})
  if(NOT CAMLUCIDA_HAS_CUDA)
    return()
  endif()
  set(kernels ${gpu_sources})
  list(FILTER kernels INCLUDE REGEX "_cuda(_common)?\\.cpp$")
  set_source_files_properties(${kernels} PROPERTIES LANGUAGE CUDA)
  target_compile_definitions(${target} PRIVATE CAMLUCIDA_HAS_CUDA)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>)
  target_include_directories(${target} SYSTEM PRIVATE ${CAMLUCIDA_CUDA_INCLUDE_DIRS})
  target_link_libraries(${target} PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
  set(cudnn_folder "")
  if(CUDNN_LIBRARY)
    get_filename_component(cudnn_folder ${CUDNN_LIBRARY} DIRECTORY)
  endif()
  set_source_files_properties(${PROJECT_SOURCE_DIR}/engine/cuda/vendor/libraries.cpp
    PROPERTIES COMPILE_DEFINITIONS
    "CAMLUCIDA_CUDNN_FOLDER=\"${cudnn_folder}\";CAMLUCIDA_CUDA_FOLDER=\"${CUDAToolkit_LIBRARY_DIR}\"")
  set_target_properties(${target} PROPERTIES CUDA_RUNTIME_LIBRARY Static)
endfunction()
