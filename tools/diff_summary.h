#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/json_output.h"

/// From the records of `diff`, one per picture, to its figures, and whether they keep the limits.
///
/// A record: {"input": {"path", ...}, "prediction": {"flipped", "probability_change", ...} or null,
/// "results": [{"method", "correlation", "overlap", "pointing", "peak_distance",
/// "rms_difference", "max_difference"} or {"method", "failure"}, ...]}.
namespace camlucida::cli {

/// What is measured of every pair of maps.
struct DriftQuantity {
  const char* key;    ///< in records, "correlation"
  const char* title;  ///< for people
  bool higher_is_better;
};
const std::vector<DriftQuantity>& drift_quantities();

/// One quantity of one method over all pictures and classes whose maps could be compared; NaN if
/// there are none.
struct DriftFigure {
  std::string method;
  const DriftQuantity* quantity = nullptr;
  double mean = 0;
  double median = 0;
  double worst = 0;
  std::string worst_picture;
};

struct DriftSummary {
  std::vector<std::string> methods;
  std::vector<DriftFigure> figures;  ///< by method, then by quantity
  int64_t maps = 0;                  ///< pairs of maps, of all methods
  int64_t failed = 0;                ///< of them, that could not be compared
  std::string failed_picture;        ///< the first of these
  std::string failure;               ///< and why
  int64_t predictions = 0;           ///< pictures with classes to compare
  int64_t flipped = 0;
  double probability_change = 0;  ///< mean change of the probability of A's class; NaN if none
  double largest_change = 0;      ///< the one with the largest magnitude, signed
  std::string largest_change_picture;
  std::string flipped_picture;  ///< flipped with the largest loss
};

DriftSummary summarise_drift(const std::vector<Json>& records,
                             const std::vector<std::string>& methods);

/// "3" = a number of them, "0.05" or "5%" = a share of all.
struct Quota {
  std::string text;
  double value = 0;
  bool is_share = false;

  bool allows(int64_t count, int64_t total) const;
};
/// Throws Error(kUsage) naming `flag`.
Quota parse_quota(const std::string& text, const std::string& flag);

/// What a run must keep; nothing by default.
struct DriftLimits {
  std::string max_flips, max_failed;  ///< quotas; empty: no limit, but see judge_drift
  std::optional<double> min_correlation, min_overlap, min_pointing, max_difference;
  std::string judge = "mean";  ///< mean, median or worst: what of correlation, overlap, difference
};

/// A limit and how the run stands to it.
struct DriftVerdict {
  std::string flag;    ///< "--min-correlation"
  std::string limit;   ///< "0.9"
  std::string method;  ///< empty: of predictions, or of all methods
  double value = 0;
  bool crossed = false;
  std::string text;  ///< what is wrong, by how much, and the worst picture
};

/// A verdict per limit and method. A limit that nothing could be measured for counts as crossed.
/// Where a limit of maps is set and max_failed is not, no map may fail. Throws Error(kUsage).
std::vector<DriftVerdict> judge_drift(const DriftSummary& summary, const DriftLimits& limits);

Json to_json(const DriftSummary& summary);
Json to_json(const std::vector<DriftVerdict>& verdicts);
/// One line per picture, method and target.
std::string drift_csv(const std::vector<Json>& records);

/// Figures, and the pictures whose maps are least alike, on standard output.
void print_drift(const DriftSummary& summary, const std::vector<Json>& records);

}  // namespace camlucida::cli
