#pragma once

#include <algorithm>
#include <vector>

#include "engine/cpu/thread_pool.h"
#include "layers/shape/rearrange.h"

namespace camlucida::shape {

/// A Rearrangement prepared for copying: neighbouring axes that form one regular walk are merged,
/// and the result is cut into patches that are copied with two nested loops.
class Walk {
 public:
  /// rows x length elements: result[to + r * to_row + i] = source[from + r * from_row + i * step].
  /// from == kOutside: one row of fill.
  struct Patch {
    int64_t to;
    int64_t from;
    int64_t rows;
    int64_t to_row;
    int64_t from_row;
    int64_t length;
    int64_t step;
  };

  explicit Walk(const Rearrangement& map);

  /// No source element is taken twice.
  bool takes_once() const;
  /// Elements of the result that come from the source.
  int64_t taken() const;
  /// Time per byte against one contiguous copy, roughly.
  double slowness() const;

  /// Cuts of the work, for run().
  struct Pieces {
    int64_t count;
    int64_t per_row;  ///< pieces that a row is cut into; a piece of 0 is a whole outermost index
  };
  /// Pieces whose results lie apart.
  Pieces pieces() const;
  /// Pieces whose sources lie apart: the indices of the outermost axis, or all as one.
  Pieces independent_pieces() const;

  /// Calls body(patch) for all of the result, shared out among the threads by pieces.
  template <class Body>
  void run(ThreadPool& pool, Pieces pieces, const Body& body) const {
    if (empty_) return;
    pool.run(pieces.count, [&](int64_t begin, int64_t end, int) {
      if (pieces.per_row > 0) {
        visit(begin, end, pieces.per_row, body);
      } else {
        // Whole outermost indices (or everything, if there is one piece) in pieces of pieces().
        const Pieces fine = this->pieces();
        visit(begin * (fine.count / pieces.count), end * (fine.count / pieces.count), fine.per_row,
              body);
      }
    });
  }

 private:
  struct Axis {
    int64_t count = 1;
    int64_t start = 0;                // source offset of index 0
    int64_t stride = 0;               // source offset of a step, if regular
    std::vector<int64_t> table = {};  // source offsets if not regular; kOutside allowed
    int64_t to_stride = 0;            // result offset of a step

    bool regular() const { return table.empty(); }
    int64_t offset(int64_t i) const {
      return regular() ? start + i * stride : table[static_cast<size_t>(i)];
    }
  };
  /// Part of the innermost axis with a constant step.
  struct Segment {
    int64_t begin;
    int64_t end;
    int64_t from;
    int64_t step;
  };

  static constexpr int64_t kTile = 16;         // rows and columns of a transposed patch
  static constexpr int64_t kRunPiece = 16384;  // elements of a row copied as one piece

  static Axis make_axis(std::vector<int64_t> offsets);
  void merge(std::vector<Axis> axes);
  void choose_columns();
  void cut_inner();
  void lengthen_short_runs();

  /// Pieces [begin, end): each is a tile strip or a stretch of one row of the result.
  template <class Body>
  void visit(int64_t begin, int64_t end, int64_t per_row, const Body& body) const {
    for (int64_t piece = begin; piece < end; ++piece) {
      int64_t rest = piece / per_row;
      int64_t to = 0;
      int64_t from = 0;
      for (size_t k = outer_.size(); k-- > 0;) {
        const Axis& axis = outer_[k];
        const int64_t i = rest % axis.count;
        rest /= axis.count;
        to += i * axis.to_stride;
        const int64_t offset = axis.offset(i);
        from = offset == Rearrangement::kOutside || from == Rearrangement::kOutside
                   ? Rearrangement::kOutside
                   : from + offset;
      }
      const int64_t part = piece % per_row;
      if (columns_.count > 0) {
        visit_strip(part, to, from, body);
      } else {
        visit_row(part, to, from, body);
      }
    }
  }

  template <class Body>
  void visit_row(int64_t part, int64_t to, int64_t from, const Body& body) const {
    const int64_t low = part * kRunPiece;
    const int64_t high = std::min(low + kRunPiece, inner_count_);
    if (from == Rearrangement::kOutside) {
      body(Patch{to + low, from, 1, 0, 0, high - low, 0});
      return;
    }
    for (const Segment& segment : inner_) {
      const int64_t begin = std::max(segment.begin, low);
      const int64_t end = std::min(segment.end, high);
      if (begin >= end) continue;
      const bool outside = segment.from == Rearrangement::kOutside;
      const int64_t source = outside ? Rearrangement::kOutside
                                     : from + segment.from + (begin - segment.begin) * segment.step;
      body(Patch{to + begin, source, 1, 0, 0, end - begin, segment.step});
    }
  }

  /// A strip of kTile columns (along which the source is contiguous) times the inner axis.
  template <class Body>
  void visit_strip(int64_t part, int64_t to, int64_t from, const Body& body) const {
    const int64_t column = part * kTile;
    const int64_t rows = std::min(kTile, columns_.count - column);
    to += column * columns_.to_stride;
    for (int64_t begin = 0; begin < inner_count_; begin += kTile) {
      const int64_t length = std::min(kTile, inner_count_ - begin);
      if (from == Rearrangement::kOutside) {
        for (int64_t r = 0; r < rows; ++r) {
          body(Patch{to + r * columns_.to_stride + begin, from, 1, 0, 0, length, 0});
        }
        continue;
      }
      const int64_t step = inner_[0].step;
      body(Patch{to + begin, from + columns_.offset(column) + inner_[0].from + begin * step, rows,
                 columns_.to_stride, columns_.stride, length, step});
    }
  }

  bool empty_ = false;          // nothing to do
  std::vector<Axis> outer_;     // all axes but the innermost and the columns, outermost first
  Axis columns_{.count = 0};    // of a transposition; count 0: there is none
  std::vector<Segment> inner_;  // the innermost axis
  int64_t inner_count_ = 1;
  bool takes_once_ = true;
  int64_t taken_ = 1;
  bool outermost_apart_ = false;  // different outermost indices read different elements
};

}  // namespace camlucida::shape
