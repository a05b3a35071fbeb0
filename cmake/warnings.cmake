# Warnings, sanitizers and precompiled headers for the project's own targets.
function(camlucida_warnings target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX,C>:-Wall;-Wextra;-Wshadow;-Wno-missing-field-initializers>
    $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC 12 takes "text" + std::string for overlapping memory (GCC bug 105651).
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # std::stable_sort of libstdc++ 12 calls what C++17 deprecated.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-deprecated-declarations>)
  endif()
endfunction()

function(camlucida_sanitize target)
  if(CAMLUCIDA_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${CAMLUCIDA_SANITIZE}
                           -fno-omit-frame-pointer -fno-sanitize-recover=all)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
      target_compile_options(${target} PUBLIC
        -fsanitize-ignorelist=${PROJECT_SOURCE_DIR}/cmake/sanitizer_ignorelist.txt)
    endif()
    target_link_options(${target} PUBLIC -fsanitize=${CAMLUCIDA_SANITIZE})
  endif()
endfunction()

# The sanitizers' builds read the commonest headers once per target. Other builds do without, so that
# a file that does not include what it uses shows.
function(camlucida_precompile target)
  if(CAMLUCIDA_SANITIZE)
    target_precompile_headers(${target} PRIVATE
      <algorithm> <array> <cmath> <cstdint> <filesystem> <functional> <map> <memory> <mutex>
      <numeric> <optional> <span> <string> <vector>)
  endif()
endfunction()

# Keeps sources optimised in the sanitizers' builds, which are compiled without optimisation otherwise:
# that halves their time, but loops over tensors would take longer to run than to compile. Such sources
# do without the precompiled header, which is for one level of optimisation only.
function(camlucida_optimise)
  if(CAMLUCIDA_SANITIZE)
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -O1 SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()
