#pragma once

#include "engine/cuda/pack.h"

/// Transposing without shared memory.
namespace camlucida {

/// Shares a matrix of `rows` x `columns` out among calls, each of which moves a few neighbouring
/// columns of one row, once per matrix of a stack. Columns lie together in one of the two tensors,
/// rows in the other. The 32 threads that a GPU runs in step take neighbouring rows times
/// neighbouring groups of columns, so that they touch whole sectors of 32 bytes in both.
struct Tiles {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t calls = 0;
  int per_call = 1;   // columns of one call
  int row_shift = 5;  // log2 of the rows in step
  Divider row_tiles;
  Divider column_tiles;

  Tiles(int64_t matrices, int64_t row_count, int64_t column_count, int columns_per_call)
      : rows(row_count), columns(column_count), per_call(columns_per_call) {
    if (matrices * rows * columns == 0) return;
    const int64_t groups = (columns + per_call - 1) / per_call;
    while (row_shift > 3 && groups > int64_t{1} << (5 - row_shift)) --row_shift;
    while (row_shift > 0 && rows <= int64_t{1} << (row_shift - 1)) --row_shift;
    const int64_t along = int64_t{1} << row_shift;
    const int64_t across = 32 / along;
    row_tiles = Divider((rows + along - 1) / along);
    column_tiles = Divider((groups + across - 1) / across);
    calls = matrices * row_tiles.divisor * column_tiles.divisor * 32;
  }

  struct Place {
    int64_t matrix;
    int64_t row;
    int64_t column;  // the first
    int count;       // columns to move; <= 0: none
  };
  CAMLUCIDA_PORTABLE Place place(int64_t call) const {
    const int64_t lane = call & 31;
    int64_t rest = call >> 5;
    const int64_t row_tile = row_tiles.split(rest);
    const int64_t column_tile = column_tiles.split(rest);
    const int64_t row = (row_tile << row_shift) + (lane & ((1 << row_shift) - 1));
    const int64_t group = (column_tile << (5 - row_shift)) + (lane >> row_shift);
    const int64_t left = row < rows ? columns - group * per_call : 0;
    return {rest, row, group * per_call, static_cast<int>(left < per_call ? left : per_call)};
  }
};

}  // namespace camlucida
