#pragma once

/// Put in front of a loop over an array of vectors that shall live in registers. GCC gives such an
/// array registers only if the loop is gone before its early passes look; otherwise every loop over
/// pixels or channels around it begins and ends by moving the array from and to the stack.
#if defined(__CUDACC__)
#pragma nv_diag_suppress 1675  // nvcc hands the pragma on to GCC, with a warning
#endif
#if defined(__CUDA_ARCH__)
#define CAMLUCIDA_UNROLL _Pragma("unroll")
#elif defined(__GNUC__) && !defined(__clang__)
#define CAMLUCIDA_UNROLL _Pragma("GCC unroll 8")
#else
#define CAMLUCIDA_UNROLL
#endif
