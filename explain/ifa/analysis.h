#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/graph.h"
#include "explain/ifa/intensity.h"

namespace camlucida {

/// What an analysis belongs to. Its figures mean nothing for another network, layer or method.
struct IfaIdentity {
  std::string model;         ///< name
  std::string model_sha256;  ///< of the model file; empty if there was none
  std::string weights;       ///< weights_digest of the network
  std::string score;         ///< value name of the scores
  std::string layer;         ///< value name of the target layer
  std::string base;          ///< method and variant, "gradcam"
  int64_t channels = 0;      ///< of the layer
  int64_t classes = 0;

  bool operator==(const IfaIdentity&) const = default;
};

/// A digest of the weights of a network: of samples of every constant with two axes or more, so
/// that two trainings of one architecture differ, whatever the size of the picture.
std::string weights_digest(const Graph& graph);

/// The feature distribution of a data set: how strong maps are, and what every channel adds to
/// them. For a picture with the answer c, a method with M(p) = sum_k w_k A_k(p), neither rectified
/// nor resized, and its importances I_k = sum_p w_k A_k(p):
///
///     range           max_p M(p) and min_p M(p) of every picture
///     overall [C]     mean of I over the correctly classified pictures
///     target [N, C]   the same over those of one class, 0 where a class has none
///     difference      target - overall, 0 where a class has none
///
/// A picture whose true class is not known counts as correctly classified. Figures are added one
/// picture at a time; memory grows with the classes seen times C and a few numbers per picture.
class IfaAnalysis {
 public:
  /// The percentiles that are reported.
  static constexpr std::array<double, 5> kPercentiles = {25, 50, 75, 90, 99};
  static constexpr int64_t kUnknownClass = -1;

  struct Picture {
    uint64_t key = 0;  ///< what tells pictures apart: the first 13 digits of their SHA-256
    int64_t predicted = 0;
    int64_t label = kUnknownClass;
    double low = 0;  ///< range of the map
    double high = 0;

    bool correct() const { return label == kUnknownClass || label == predicted; }
  };

  explicit IfaAnalysis(IfaIdentity identity);
  /// From what an earlier analysis held: its pictures and sums of importances by class.
  IfaAnalysis(IfaIdentity identity, std::vector<Picture> pictures,
              std::map<int64_t, std::vector<double>> sums);

  /// Throws Error(kUsage) if `importance` does not have one value per channel, a class does not
  /// exist, or a value is not finite.
  void add(const Picture& picture, std::span<const double> importance);

  const IfaIdentity& identity() const { return identity_; }
  const std::vector<Picture>& pictures() const { return pictures_; }
  /// Sums of the importances of correctly classified pictures, by class.
  const std::map<int64_t, std::vector<double>>& sums() const { return sums_; }

  int64_t correct() const;
  int64_t correct_of(int64_t class_index) const;

  /// Percentile of the maxima or minima of all pictures, by linear interpolation between ranks
  /// (numpy's default). NaN without pictures.
  double high_percentile(double percent) const;
  double low_percentile(double percent) const;
  /// The scale common to all pictures: from the median of the minima to the 90th percentile of the
  /// maxima.
  IntensityScale scale() const { return {.low = low_percentile(50), .high = high_percentile(90)}; }

  std::vector<double> overall() const;                        ///< [C]
  std::vector<double> target(int64_t class_index) const;      ///< [C]
  std::vector<double> difference(int64_t class_index) const;  ///< [C]

 private:
  void check_class(int64_t class_index) const;

  IfaIdentity identity_;
  std::vector<Picture> pictures_;
  std::map<int64_t, std::vector<double>> sums_;
  std::map<int64_t, int64_t> counts_;  // correct pictures by class
};

}  // namespace camlucida
