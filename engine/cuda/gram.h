#pragma once

#include <cstdint>

#include "engine/cuda/gpu.h"

/// Sums of double precision over the pixels or channels of a layer on a GPU: what decompositions of
/// a layer are made of. Kernels of ours, which also run on an emulated GPU. Every sum is taken in a
/// fixed order, so results have the same bits on every run; on an emulated GPU also those of
/// explain/linalg, where the sums are taken in the order of the index. Addresses are on the GPU;
/// calls send work to the stream and do not wait.
namespace camlucida {

/// A layer of one picture [channels, pixels] float32 in plain layout, or some of its channels.
struct LayerChannels {
  const float* layer = nullptr;
  int64_t channels = 0;  ///< rows that are taken
  int64_t pixels = 0;
  const int64_t* chosen = nullptr;  ///< [channels]: row i is channel chosen[i]; null: channel i
  const double* weights = nullptr;  ///< [channels]: factors of the rows; null: 1
};

/// rows [channels, pixels] = weight * layer, with 0 for what is no finite number; with `centre`
/// less the mean over the pixels, which leaves exactly 0 of a constant channel. As channel_matrix,
/// zero_nonfinite and centre_channels in explain/linalg.
/// `nonfinite`, `squares` [channels] or null: how many entries were no finite numbers, and the sum
/// of the squares before the mean is removed.
void channel_rows(Stream& stream, const LayerChannels& from, bool centre, double* rows,
                  double* nonfinite, double* squares);

/// gram [columns, columns] = M^T M of `matrix` M [rows, columns], both triangles: over the rows in
/// ascending order.
void gram_of_columns(Stream& stream, const float* matrix, int64_t rows, int64_t columns,
                     double* gram);
void gram_of_columns(Stream& stream, const double* matrix, int64_t rows, int64_t columns,
                     double* gram);

/// gram [rows, rows] = M M^T, over the columns in ascending order.
void gram_of_rows(Stream& stream, const float* matrix, int64_t rows, int64_t columns, double* gram);
void gram_of_rows(Stream& stream, const double* matrix, int64_t rows, int64_t columns,
                  double* gram);

/// result [count, columns]: sums of the rows of `matrix` [rows, columns] with `factors`
/// [count, rows]. Loadings V = U^T X / s from vectors over pixels, say.
void combine_rows(Stream& stream, const double* factors, int64_t count, const double* matrix,
                  int64_t rows, int64_t columns, double* result);

/// result [count, rows]: products of `vectors` [count, columns] with every row of `matrix`
/// [rows, columns].
void multiply_rows(Stream& stream, const double* vectors, int64_t count, const double* matrix,
                   int64_t rows, int64_t columns, double* result);

/// to [count, size] = the last `count` rows of `from` [rows, size], the last one first.
void reverse_rows(Stream& stream, const double* from, int64_t rows, int64_t size, int64_t count,
                  double* to);

}  // namespace camlucida
