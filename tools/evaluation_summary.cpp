#include "tools/evaluation_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "explain/metrics/math/statistics.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

using metrics::Measurement;
using metrics::Sample;

constexpr int kBins = 10;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }
double number_of(const Json& json) { return json.is_number() ? json.get<double>() : NAN; }

/// Index of the record's bin; -1 if it belongs to none.
int bin_of(const Json& record) {
  if (!record.contains("true_class") || record["true_class"].is_null()) return -1;
  if (record["true_class"] != record["predicted"]) return -1;
  const double probability = number_of(record["true_probability"]);
  if (!(probability >= 0)) return -1;
  return std::min(static_cast<int>(probability * kBins), kBins - 1);
}

std::string bin_name(int bin) { return fmt::format("{:.1f}-{:.1f}", bin / 10.0, (bin + 1) / 10.0); }

std::map<std::string, double> mean_details(const std::vector<Measurement>& measurements) {
  std::map<std::string, std::vector<double>> values;
  for (const Measurement& measurement : measurements) {
    if (!measurement.failure.empty()) continue;
    for (const auto& [name, value] : measurement.details) values[name].push_back(value);
  }
  std::map<std::string, double> means;
  for (const auto& [name, all] : values) means[name] = metrics::summarise(all).mean;
  return means;
}

SummaryRow row_of(const std::string& bin, const std::vector<const Json*>& records,
                  const std::string& method, const MetricChoice& choice) {
  SummaryRow row{.bin = bin, .method = method, .metric = choice.metric->name};
  std::vector<Measurement> measurements;
  std::vector<int64_t> classes;
  for (const Json* record : records) {
    const Json& results = (*record)["results"];
    if (!results.contains(method) || !results[method]["metrics"].contains(row.metric)) continue;
    measurements.push_back(measurement_of(results[method]["metrics"][row.metric]));
    classes.push_back((*record)["class"].get<int64_t>());
  }
  std::vector<Sample> samples;
  std::vector<double> values;
  for (size_t i = 0; i < measurements.size(); ++i) {
    samples.push_back({classes[i], &measurements[i]});
    values.push_back(measurements[i].failure.empty() ? measurements[i].value : NAN);
  }
  const metrics::Summary summary = metrics::summarise(values);
  Settings settings(choice.metric->name, "", choice.given);
  row.value = metrics::combine_samples(*choice.metric, samples, settings);
  row.count = summary.count;
  row.failed = static_cast<int64_t>(values.size()) - summary.count;
  row.mean = summary.mean;
  row.median = summary.median;
  row.standard_error = summary.standard_error;
  if (choice.metric->mean_details) row.details = mean_details(measurements);
  return row;
}

/// Unweighted mean of the bins' figures, as the published tables have it.
SummaryRow mean_of_bins(const std::vector<SummaryRow>& rows, const std::string& method,
                        const std::string& metric) {
  SummaryRow mean{.bin = "mean", .method = method, .metric = metric};
  std::vector<double> values;
  for (const SummaryRow& row : rows) {
    if (row.bin == "all" || row.method != method || row.metric != metric) continue;
    values.push_back(row.value);
    mean.failed += row.failed;
  }
  const metrics::Summary summary = metrics::summarise(values);
  mean.count = summary.count;
  mean.value = mean.mean = summary.mean;
  mean.median = summary.median;
  mean.standard_error = summary.standard_error;
  return mean;
}

const char* arrow(metrics::Better better) {
  switch (better) {
    case metrics::Better::kHigher:
      return " \u2191";
    case metrics::Better::kLower:
      return " \u2193";
    case metrics::Better::kNeither:
      break;
  }
  return "";
}

std::string cell(double value) {
  if (!std::isfinite(value)) return "-";
  const int digits = std::abs(value) >= 10 ? 2 : 4;
  return fmt::format("{:.{}f}", value, digits);
}

std::string cell(const SummaryRow& row) {
  if (!std::isfinite(row.value)) return "-";
  std::string text = cell(row.value);
  if (row.failed > 0) text += fmt::format(" ({} of {})", row.count, row.count + row.failed);
  return text;
}

/// Methods times metrics; whichever are more stand in rows.
void print_bin(std::span<const SummaryRow> rows, const std::vector<MetricChoice>& metrics) {
  const size_t methods = rows.size() / metrics.size();
  const auto title = [&](size_t metric) {
    return metrics[metric].metric->name + arrow(metrics[metric].metric->better);
  };
  const bool methods_down = methods >= metrics.size();
  std::vector<Table::Column> columns = {{methods_down ? "method" : "metric"}};
  for (size_t i = 0; i < (methods_down ? metrics.size() : methods); ++i) {
    columns.push_back(
        {methods_down ? title(i) : rows[i * metrics.size()].method, Table::Align::kRight});
  }
  Table table(columns);
  for (size_t down = 0; down < (methods_down ? methods : metrics.size()); ++down) {
    std::vector<std::string> cells = {methods_down ? rows[down * metrics.size()].method
                                                   : title(down)};
    for (size_t across = 0; across + 1 < columns.size(); ++across) {
      cells.push_back(cell(methods_down ? rows[down * metrics.size() + across]
                                        : rows[across * metrics.size() + down]));
    }
    table.add(cells);
  }
  table.print();
}

/// A table of cells, headings first; turned over if it has more columns than rows.
void print_cells(std::vector<std::vector<std::string>> cells) {
  if (cells[0].size() > cells.size()) {
    std::vector<std::vector<std::string>> turned(cells[0].size());
    for (const std::vector<std::string>& row : cells) {
      for (size_t i = 0; i < row.size(); ++i) turned[i].push_back(row[i]);
    }
    cells = std::move(turned);
  }
  std::vector<Table::Column> columns;
  for (const std::string& title : cells[0]) {
    columns.push_back({title, columns.empty() ? Table::Align::kLeft : Table::Align::kRight});
  }
  Table table(columns);
  for (size_t i = 1; i < cells.size(); ++i) table.add(cells[i]);
  fmt::print("\n");
  table.print();
}

/// The rows of one metric with its details: what a method found on every part, then what chance
/// gives, once for several methods where it is the same.
void print_details(const std::vector<const SummaryRow*>& rows, const MetricChoice& choice) {
  const std::string part = "part:";
  std::set<std::string> names;
  for (const SummaryRow* row : rows) {
    for (const auto& [name, value] : row->details) {
      if (name.rfind(part, 0) == 0) names.insert(name.substr(part.size()));
    }
  }
  if (names.empty()) return;
  const auto line = [&](const SummaryRow& row, const std::string& title, double all,
                        const std::string& prefix) {
    std::vector<std::string> cells = {title, cell(all)};
    for (const std::string& name : names) {
      const auto found = row.details.find(prefix + name);
      cells.push_back(cell(found == row.details.end() ? NAN : found->second));
    }
    return cells;
  };
  std::vector<std::vector<std::string>> cells = {
      {choice.metric->name, std::string("all") + arrow(choice.metric->better)}};
  cells[0].insert(cells[0].end(), names.begin(), names.end());
  std::vector<std::string> chance;
  for (const SummaryRow* row : rows) {
    if (row->count == 0) continue;
    const auto found = row->details.find("chance");
    const std::vector<std::string> own =
        line(*row, "(chance)", found == row->details.end() ? NAN : found->second, "chance:");
    if (!chance.empty() && own != chance) cells.push_back(chance);
    chance = own;
    cells.push_back(line(*row, row->method, row->value, part));
  }
  cells.push_back(chance);
  print_cells(std::move(cells));
}

std::string field(double value) { return std::isfinite(value) ? to_text(value) : ""; }

}  // namespace

Json to_json(const Measurement& measurement) {
  Json json = {{"value", number(measurement.value)}};
  if (!measurement.failure.empty()) json["failure"] = measurement.failure;
  for (const auto& [name, value] : measurement.details) json["details"][name] = number(value);
  if (!measurement.profile.empty()) {
    json["profile"] = Json::array();
    for (double value : measurement.profile) json["profile"].push_back(number(value));
  }
  return json;
}

Measurement measurement_of(const Json& json) {
  Measurement measurement;
  measurement.value = number_of(json["value"]);
  if (json.contains("failure")) measurement.failure = json["failure"].get<std::string>();
  if (json.contains("details")) {
    for (const auto& [name, value] : json["details"].items()) {
      measurement.details[name] = number_of(value);
    }
  }
  if (json.contains("profile")) {
    for (const Json& value : json["profile"]) measurement.profile.push_back(number_of(value));
  }
  return measurement;
}

Json reduced(const Json& record) {
  Json small;
  for (const char* key : {"class", "true_class", "true_probability", "predicted", "ms"}) {
    if (record.contains(key)) small[key] = record[key];
  }
  for (const auto& [method, result] : record["results"].items()) {
    Json& kept = small["results"][method]["metrics"];
    for (const auto& [name, measurement] : result["metrics"].items()) {
      kept[name]["value"] = measurement["value"];
      if (measurement.contains("failure")) kept[name]["failure"] = measurement["failure"];
      const metrics::MetricDef& metric = metrics::MetricRegistry::instance().require(name);
      if (measurement.contains("profile") && metric.combine) {
        kept[name]["profile"] = measurement["profile"];
      }
      if (measurement.contains("details") && metric.mean_details) {
        kept[name]["details"] = measurement["details"];
      }
    }
  }
  return small;
}

std::vector<SummaryRow> summarise(const std::vector<Json>& records,
                                  const std::vector<std::string>& methods,
                                  const std::vector<MetricChoice>& metrics, Bins bins) {
  std::vector<std::pair<std::string, std::vector<const Json*>>> groups = {{"all", {}}};
  for (const Json& record : records) groups[0].second.push_back(&record);
  if (bins == Bins::kAccuracy) {
    for (int bin = 0; bin < kBins; ++bin) {
      std::vector<const Json*> members;
      for (const Json& record : records) {
        if (bin_of(record) == bin) members.push_back(&record);
      }
      if (!members.empty()) groups.emplace_back(bin_name(bin), std::move(members));
    }
  }
  std::vector<SummaryRow> rows;
  for (const auto& [name, members] : groups) {
    for (const std::string& method : methods) {
      for (const MetricChoice& metric : metrics) {
        rows.push_back(row_of(name, members, method, metric));
      }
    }
  }
  if (groups.size() > 1) {
    const std::vector<SummaryRow> of_bins = rows;
    for (const std::string& method : methods) {
      for (const MetricChoice& metric : metrics) {
        rows.push_back(mean_of_bins(of_bins, method, metric.metric->name));
      }
    }
  }
  return rows;
}

std::string to_csv(const std::vector<SummaryRow>& rows) {
  std::string csv = "bin,method,metric,value,n,failed,mean,median,std_error,better\n";
  for (const SummaryRow& row : rows) {
    const auto& metric = metrics::MetricRegistry::instance().require(row.metric);
    csv += fmt::format("{},{},{},{},{},{},{},{},{},{}\n", row.bin, row.method, row.metric,
                       field(row.value), row.count, row.failed, field(row.mean), field(row.median),
                       field(row.standard_error), metrics::name_of(metric.better));
  }
  return csv;
}

Json to_json(const std::vector<SummaryRow>& rows) {
  Json json = Json::array();
  for (const SummaryRow& row : rows) {
    json.push_back({{"bin", row.bin},
                    {"method", row.method},
                    {"metric", row.metric},
                    {"value", number(row.value)},
                    {"n", row.count},
                    {"failed", row.failed},
                    {"mean", number(row.mean)},
                    {"median", number(row.median)},
                    {"std_error", number(row.standard_error)}});
    for (const auto& [name, value] : row.details) json.back()["details"][name] = number(value);
  }
  return json;
}

void print_summary(const std::vector<SummaryRow>& rows, const std::vector<MetricChoice>& metrics,
                   const Json& settings) {
  for (size_t first = 0; first < rows.size();) {
    size_t last = first;
    while (last < rows.size() && rows[last].bin == rows[first].bin) ++last;
    if (rows[first].bin != "all") fmt::print("\nbin {}\n", rows[first].bin);
    print_bin({rows.data() + first, last - first}, metrics);
    first = last;
  }
  for (const MetricChoice& choice : metrics) {
    std::vector<const SummaryRow*> of_metric;
    for (const SummaryRow& row : rows) {
      if (row.bin == "all" && row.metric == choice.metric->name) of_metric.push_back(&row);
    }
    print_details(of_metric, choice);
  }
  fmt::print("\n");
  for (const MetricChoice& choice : metrics) {
    std::string text;
    if (settings.contains(choice.metric->name)) {
      for (const auto& [key, value] : settings[choice.metric->name].items()) {
        text += (text.empty() ? "" : ", ") + key + " " +
                (value.is_string() ? value.get<std::string>() : value.dump());
      }
    }
    fmt::print("{}: {}{}{}\n", choice.metric->name, choice.metric->formula,
               text.empty() ? "" : "; ", text);
  }
}

}  // namespace camlucida::cli
