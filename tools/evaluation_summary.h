#pragma once

#include <string>
#include <vector>

#include "explain/metrics/metric.h"
#include "tools/json_output.h"

/// From the records of an evaluation to its figures.
namespace camlucida::cli {

struct SummaryRow {
  std::string bin;  ///< "all", "0.9-1.0", or "mean" of the bins
  std::string method;
  std::string metric;
  double value = 0;  ///< figure of the data set: the mean unless the metric says otherwise
  int64_t count = 0;
  int64_t failed = 0;
  double mean = 0;
  double median = 0;
  double standard_error = 0;
  /// Means of the details of MetricDef::mean_details, each over the pictures that have it.
  std::map<std::string, double> details = {};
};

/// How pictures are divided: not at all, or into ten bins of the probability of the true class with
/// misclassified pictures left out (the protocol of Decom-CAM).
enum class Bins { kNone, kAccuracy };

/// What a metric was asked to do, by its canonical name.
struct MetricChoice {
  const metrics::MetricDef* metric = nullptr;
  std::map<std::string, std::string> given;  ///< settings without the metric's name
};

Json to_json(const metrics::Measurement& measurement);
metrics::Measurement measurement_of(const Json& json);

/// What `summarise` needs of a picture's record: figures without parameters, details and curves
/// only of metrics that make something of them. Small enough to be kept for every picture of a
/// large set.
Json reduced(const Json& record);

/// Rows by bin, then method, then metric, in the orders given.
std::vector<SummaryRow> summarise(const std::vector<Json>& records,
                                  const std::vector<std::string>& methods,
                                  const std::vector<MetricChoice>& metrics, Bins bins);

std::string to_csv(const std::vector<SummaryRow>& rows);
Json to_json(const std::vector<SummaryRow>& rows);

/// A table per bin on standard output: methods in rows, metrics in columns, with the better
/// direction; below it the details of metrics that have them, such as parts, beside chance, and the
/// settings of every metric.
void print_summary(const std::vector<SummaryRow>& rows, const std::vector<MetricChoice>& metrics,
                   const Json& settings);

}  // namespace camlucida::cli
