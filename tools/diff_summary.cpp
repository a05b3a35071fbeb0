#include "tools/diff_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "engine/error.h"
#include "explain/metrics/math/statistics.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

constexpr size_t kWorstShown = 5;

double number_of(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_number() ? it->get<double>() : NAN;
}

std::string path_of(const Json& record) { return record["input"]["path"].get<std::string>(); }

/// Tables have room for the file only; messages and files name the whole path.
std::string file_of(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

std::string figure(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-";
}

std::string percent(int64_t part, int64_t whole) {
  return fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

DriftFigure figure_of(const std::vector<Json>& records, const std::string& method,
                      const DriftQuantity& quantity) {
  DriftFigure result{.method = method, .quantity = &quantity, .worst = NAN};
  std::vector<double> values;
  for (const Json& record : records) {
    for (const Json& one : record["results"]) {
      const double value = number_of(one, quantity.key);
      if (one["method"] != method || !std::isfinite(value)) continue;
      values.push_back(value);
      const bool worse = quantity.higher_is_better ? value < result.worst : value > result.worst;
      if (values.size() == 1 || worse) {
        result.worst = value;
        result.worst_picture = path_of(record);
      }
    }
  }
  const metrics::Summary summary = metrics::summarise(values);
  result.mean = summary.mean;
  result.median = summary.median;
  return result;
}

void add_predictions(const std::vector<Json>& records, DriftSummary& summary) {
  double sum = 0;
  double largest_loss = -INFINITY;
  for (const Json& record : records) {
    const Json& prediction = record["prediction"];
    if (prediction.is_null()) continue;
    ++summary.predictions;
    const double change = number_of(prediction, "probability_change");
    sum += change;
    if (summary.predictions == 1 || std::abs(change) > std::abs(summary.largest_change)) {
      summary.largest_change = change;
      summary.largest_change_picture = path_of(record);
    }
    if (!prediction["flipped"].get<bool>()) continue;
    ++summary.flipped;
    if (-change > largest_loss) {
      largest_loss = -change;
      summary.flipped_picture = path_of(record);
    }
  }
  summary.probability_change =
      summary.predictions > 0 ? sum / static_cast<double>(summary.predictions) : NAN;
  if (summary.predictions == 0) summary.largest_change = NAN;
}

/// The limits of one run, judged one after the other.
class Judge {
 public:
  Judge(const DriftSummary& summary, const DriftLimits& limits)
      : summary_(summary), limits_(limits) {}

  std::vector<DriftVerdict> run() {
    if (!limits_.max_flips.empty()) judge_flips();
    const bool maps = limits_.min_correlation || limits_.min_overlap || limits_.min_pointing ||
                      limits_.max_difference;
    if (maps || !limits_.max_failed.empty()) judge_failures();
    judge_quantity("--min-correlation", "correlation", limits_.min_correlation);
    judge_quantity("--min-overlap", "overlap", limits_.min_overlap);
    judge_quantity("--min-pointing", "pointing", limits_.min_pointing);
    judge_quantity("--max-difference", "rms_difference", limits_.max_difference);
    return std::move(verdicts_);
  }

 private:
  void judge_flips() {
    const Quota quota = parse_quota(limits_.max_flips, "--max-flips");
    DriftVerdict verdict{.flag = "--max-flips", .limit = quota.text, .method = ""};
    const int64_t total = summary_.predictions;
    verdict.value = static_cast<double>(summary_.flipped);
    verdict.crossed = !quota.allows(summary_.flipped, total);
    verdict.text =
        total == 0
            ? "there is no prediction to compare"
            : fmt::format("{} of {} predictions flipped ({}); the worst is '{}'", summary_.flipped,
                          total, percent(summary_.flipped, total), summary_.flipped_picture);
    verdicts_.push_back(verdict);
  }

  void judge_failures() {
    const bool given = !limits_.max_failed.empty();
    const Quota quota = parse_quota(given ? limits_.max_failed : "0", "--max-failed");
    DriftVerdict verdict{.flag = "--max-failed",
                         .limit = quota.text + (given ? "" : " (set by the other limits)"),
                         .method = ""};
    verdict.value = static_cast<double>(summary_.failed);
    verdict.crossed = !quota.allows(summary_.failed, summary_.maps);
    verdict.text =
        summary_.maps == 0
            ? "there are no maps to compare"
            : fmt::format(
                  "{} of {} pairs of maps cannot be compared; the first is "
                  "'{}': {}",
                  summary_.failed, summary_.maps, summary_.failed_picture, summary_.failure);
    verdicts_.push_back(verdict);
  }

  void judge_quantity(const std::string& flag, const std::string& key,
                      const std::optional<double>& limit) {
    if (!limit) return;
    for (const DriftFigure& one : summary_.figures) {
      if (one.quantity->key != key) continue;
      // Each map points at the same place or not: only the share says something.
      const std::string how = key == "pointing" ? "mean" : limits_.judge;
      DriftVerdict verdict{.flag = flag, .limit = fmt::format("{}", *limit), .method = one.method};
      verdict.value = how == "worst" ? one.worst : how == "median" ? one.median : one.mean;
      const double excess =
          one.quantity->higher_is_better ? *limit - verdict.value : verdict.value - *limit;
      verdict.crossed = !(excess <= 0);
      verdict.text =
          std::isfinite(verdict.value)
              ? fmt::format("{}: {} {} is {:.4f}, {:.4f} too {}; the worst is '{}' with {:.4f}",
                            one.method, how, one.quantity->title, verdict.value, excess,
                            one.quantity->higher_is_better ? "low" : "high", one.worst_picture,
                            one.worst)
              : fmt::format("{}: no pair of maps could be compared", one.method);
      verdicts_.push_back(verdict);
    }
  }

  const DriftSummary& summary_;
  const DriftLimits& limits_;
  std::vector<DriftVerdict> verdicts_;
};

/// For a CSV file: quoted where it must be.
std::string field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string field(const Json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return "";
  if (it->is_number_float() && !std::isfinite(it->get<double>())) return "";
  return field(it->is_string() ? it->get<std::string>() : to_text(*it));
}

/// "tabby 0.81" of one side's prediction.
std::string answer_text(const Json& prediction, const char* side) {
  if (prediction.is_null()) return "";
  const Json& one = prediction[side];
  return fmt::format("{} {:.2f}", shortened(one["label"].get<std::string>(), 20),
                     number_of(one, "probability"));
}

void print_worst(const std::vector<Json>& records) {
  struct Pair {
    const Json* record;
    const Json* explanation;
    double correlation;
  };
  std::vector<Pair> pairs;
  for (const Json& record : records) {
    for (const Json& one : record["results"]) {
      const double correlation = number_of(one, "correlation");
      pairs.push_back({&record, &one, std::isfinite(correlation) ? correlation : -INFINITY});
    }
  }
  if (pairs.size() < 2) return;
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Pair& a, const Pair& b) { return a.correlation < b.correlation; });
  pairs.resize(std::min(pairs.size(), kWorstShown));
  Table table({{"least alike"},
               {"A"},
               {"B"},
               {"method"},
               {"target"},
               {"correlation", Table::Align::kRight},
               {"overlap", Table::Align::kRight},
               {""}});
  for (const Pair& pair : pairs) {
    const Json& prediction = (*pair.record)["prediction"];
    const Json& one = *pair.explanation;
    table.add({file_of(path_of(*pair.record)), answer_text(prediction, "a"),
               answer_text(prediction, "b"), one["method"].get<std::string>(),
               one["target"].get<std::string>(), figure(number_of(one, "correlation")),
               figure(number_of(one, "overlap")), field(one, "failure")});
  }
  fmt::print("\n");
  table.print(2);
}

}  // namespace

const std::vector<DriftQuantity>& drift_quantities() {
  static const std::vector<DriftQuantity> quantities = {
      {"correlation", "rank correlation", true},   {"overlap", "overlap of the top", true},
      {"pointing", "pointing agreement", true},    {"peak_distance", "distance of maxima", false},
      {"rms_difference", "rms difference", false}, {"max_difference", "largest difference", false},
  };
  return quantities;
}

DriftSummary summarise_drift(const std::vector<Json>& records,
                             const std::vector<std::string>& methods) {
  DriftSummary summary;
  summary.methods = methods;
  for (const std::string& method : methods) {
    for (const DriftQuantity& quantity : drift_quantities()) {
      summary.figures.push_back(figure_of(records, method, quantity));
    }
  }
  for (const Json& record : records) {
    for (const Json& one : record["results"]) {
      ++summary.maps;
      if (!one.contains("failure")) continue;
      if (++summary.failed > 1) continue;
      summary.failed_picture = path_of(record);
      summary.failure = one["failure"].get<std::string>();
    }
  }
  add_predictions(records, summary);
  return summary;
}

bool Quota::allows(int64_t count, int64_t total) const {
  if (total == 0) return false;  // nothing was measured
  const auto counted = static_cast<double>(count);
  return counted <= (is_share ? value * static_cast<double>(total) : value);
}

Quota parse_quota(const std::string& text, const std::string& flag) {
  Quota quota{.text = text};
  const bool percent = !text.empty() && text.back() == '%';
  const char* end = text.data() + text.size() - (percent ? 1 : 0);
  const auto [last, error] = std::from_chars(text.data(), end, quota.value);
  quota.is_share = percent || text.find('.') != std::string::npos;
  if (percent) quota.value /= 100;
  const bool whole = std::floor(quota.value) == quota.value;
  if (error != std::errc() || last != end || !(quota.value >= 0) ||
      (quota.is_share ? quota.value > 1 : !whole)) {
    throw Error(ErrorKind::kUsage, flag + " " + text + " is neither a number nor a share",
                "give a count such as 3, or a share such as 0.05 or 5%");
  }
  return quota;
}

std::vector<DriftVerdict> judge_drift(const DriftSummary& summary, const DriftLimits& limits) {
  return Judge(summary, limits).run();
}

Json to_json(const DriftSummary& summary) {
  Json json;
  json["predictions"] = {{"compared", summary.predictions},
                         {"flipped", summary.flipped},
                         {"worst_flip", summary.flipped_picture},
                         {"mean_probability_change", summary.probability_change},
                         {"largest_probability_change", summary.largest_change},
                         {"largest_probability_change_picture", summary.largest_change_picture}};
  json["maps"] = {{"pairs", summary.maps}, {"failed", summary.failed}};
  json["figures"] = Json::array();
  for (const DriftFigure& one : summary.figures) {
    json["figures"].push_back({{"method", one.method},
                               {"figure", one.quantity->key},
                               {"better", one.quantity->higher_is_better ? "higher" : "lower"},
                               {"mean", one.mean},
                               {"median", one.median},
                               {"worst", one.worst},
                               {"worst_picture", one.worst_picture}});
  }
  return json;
}

Json to_json(const std::vector<DriftVerdict>& verdicts) {
  Json json = Json::array();
  for (const DriftVerdict& verdict : verdicts) {
    json.push_back({{"flag", verdict.flag},
                    {"limit", verdict.limit},
                    {"method", verdict.method},
                    {"value", verdict.value},
                    {"crossed", verdict.crossed}});
    if (verdict.crossed) json.back()["text"] = verdict.text;
  }
  return json;
}

std::string drift_csv(const std::vector<Json>& records) {
  std::string csv =
      "picture,class_a,label_a,probability_a,class_b,label_b,probability_b,flipped,"
      "probability_change,method,target,status_a,status_b";
  for (const DriftQuantity& quantity : drift_quantities()) csv += std::string(",") + quantity.key;
  csv += ",failure\n";
  for (const Json& record : records) {
    std::string head = field(path_of(record));
    const Json& prediction = record["prediction"];
    for (const char* side : {"a", "b"}) {
      for (const char* key : {"class", "label", "probability"}) {
        head += "," + (prediction.is_null() ? "" : field(prediction[side], key));
      }
    }
    head += "," + field(prediction, "flipped") + "," + field(prediction, "probability_change");
    for (const Json& one : record["results"]) {
      csv += head + "," + field(one, "method") + "," + field(one, "target") + "," +
             field(one["a"], "status") + "," + field(one["b"], "status");
      for (const DriftQuantity& quantity : drift_quantities())
        csv += "," + field(one, quantity.key);
      csv += "," + field(one, "failure") + "\n";
    }
  }
  return csv;
}

void print_drift(const DriftSummary& summary, const std::vector<Json>& records) {
  if (summary.predictions > 0) {
    fmt::print("  {} of {} predictions kept, {} flipped", summary.predictions - summary.flipped,
               summary.predictions, summary.flipped);
    if (summary.flipped > 0) fmt::print(" (worst '{}')", file_of(summary.flipped_picture));
    fmt::print("\n  probability of A's class: {:+.4f} on average, {:+.4f} at most ('{}')\n",
               summary.probability_change, summary.largest_change,
               file_of(summary.largest_change_picture));
  }
  if (summary.failed > 0) {
    fmt::print("  {} of {} pairs of maps cannot be compared (first '{}': {})\n", summary.failed,
               summary.maps, file_of(summary.failed_picture), summary.failure);
  }
  using Align = Table::Align;
  Table table({{"method"},
               {"figure"},
               {"mean", Align::kRight},
               {"median", Align::kRight},
               {"worst", Align::kRight},
               {"worst picture"}});
  std::string method;
  for (const DriftFigure& one : summary.figures) {
    const bool share = std::string(one.quantity->key) == "pointing";
    table.add({one.method == method ? "" : one.method, one.quantity->title, figure(one.mean),
               share ? "" : figure(one.median), share ? "" : figure(one.worst),
               share ? "" : file_of(one.worst_picture)});
    method = one.method;
  }
  fmt::print("\n");
  table.print(2);
  print_worst(records);
}

}  // namespace camlucida::cli
