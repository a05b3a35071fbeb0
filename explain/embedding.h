#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor.h"

/// Pictures as vectors: how a tensor of the network becomes an embedding, and how two embeddings
/// are compared.
namespace camlucida {

/// How the pixels of a tensor row [C, h, w] (or [C]) become a vector.
struct Pooling {
  enum class Kind {
    kMean,  ///< x_k = mean_p A_k(p), "GAP": [C]
    kGem,   ///< x_k = (mean_p max(A_k(p), 0)^g)^(1/g), generalised mean: [C]
    kFlat,  ///< x = A, position by position: [C * h * w]
  };
  Kind kind = Kind::kFlat;
  double power = 3;  ///< g of kGem, at least 1; with 1 and A >= 0 it is kMean

  bool operator==(const Pooling&) const = default;
};

/// The embedding of a row of a tensor, x = offset + scale * pool(A). Offset and scale let a picture
/// be one of several in a prototype: with n of them scale is 1 / n and the offset is what the
/// others contribute.
struct Embedding {
  Pooling pooling;
  std::vector<double> offset = {};  ///< empty = zero
  double scale = 1;

  /// Length of the vector that a row of this shape (leading extent: rows) gives.
  int64_t length(const Shape& shape) const;
  std::vector<double> of(const Shape& shape, const float* row) const;

  /// The additive parts of a pooled vector: part_k(p) = the share of pixel p in pool(A)_k, [C * Z],
  /// so that scale * sum_p part_k(p) + offset_k = x_k (kFlat: one part each). kGem: A^g x^(1-g) /
  /// Z.
  std::vector<double> parts(const Shape& shape, const float* row) const;

  /// Adds (d x / d A)^T direction to `seed` ([C * Z]).
  void add_gradient(const Shape& shape, const float* row, std::span<const double> direction,
                    float* seed) const;
};

enum class Measure {
  kCosine,     ///< x.y / (|x| |y|), 0 if one of them is zero
  kEuclidean,  ///< as a similarity: -|x - y|^2
};
const char* name_of(Measure measure);  ///< "cosine", "euclidean"

/// A comparison of a tensor row's embedding with a fixed one.
struct Similarity {
  Measure measure = Measure::kCosine;
  Embedding embedding;
  std::vector<double> reference;  ///< y
};

double dot(std::span<const double> a, std::span<const double> b);
double cosine(std::span<const double> a, std::span<const double> b);
double squared_distance(std::span<const double> a, std::span<const double> b);
double compare(Measure measure, std::span<const double> a, std::span<const double> b);

/// d compare(measure, x, y) / d x; zero where the cosine has none.
std::vector<double> compare_gradient(Measure measure, std::span<const double> x,
                                     std::span<const double> y);

}  // namespace camlucida
