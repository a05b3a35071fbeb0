#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "explain/ifa/analysis_file.h"
#include "explain/ifa/selection.h"
#include "tools/common_flags.h"
#include "tools/evaluation_data.h"
#include "tools/messages.h"
#include "tools/progress.h"

/// What `analyse` does: gathers the feature distribution of a data set and measures how consistent
/// its maps are.
namespace camlucida::cli {

struct AnalyseFlags {
  ModelFlags model;
  OutputFlags output;
  std::vector<std::string> data;
  std::string file;  ///< of the analysis
  std::string method = "gradcam";
  std::string layer;            ///< empty = automatic
  std::string labels = "auto";  ///< auto | index | folder | answer
  std::vector<std::string>
      classes;  ///< whose consistency is measured; empty = the commonest answer
  std::string select = "diff_top";
  double ratio = 0.3;
  bool force = false, resume = false, progress = false;
};

/// One run over one data set.
class AnalyseRun {
 public:
  /// Throws Error(kUsage) for flags that make no sense, before any picture is read.
  explicit AnalyseRun(const AnalyseFlags& flags);

  /// Exit code of the program.
  int run();

 private:
  std::optional<int64_t> label_of(const EvaluationItem& item) const;
  IfaFile start() const;
  void gather(Progress& progress);
  void add(const EvaluationItem& item, const LoadedInput& loaded, Progress& progress);
  Explanation explain(const LoadedInput& loaded, const std::string& target,
                      std::map<std::string, std::string> settings, int64_t* predicted,
                      Progress& progress) const;
  std::vector<int64_t> consistency_classes() const;
  void measure_consistency(Progress& progress);
  void measure_class(int64_t class_index, Progress& progress);
  Json report() const;
  void print_report() const;

  const AnalyseFlags& flags_;
  Model model_;
  std::string method_;
  std::vector<EvaluationItem> items_;
  std::vector<const EvaluationItem*> analysed_;  // in the order of items_, also by earlier runs
  IfaFile file_;
  Failures failures_;
  Json failed_ = Json::array();
  size_t labelled_ = 0;
  size_t done_ = 0;
  size_t resumed_ = 0;
  size_t repeated_ = 0;  // pictures that DATA holds more than once
};

}  // namespace camlucida::cli
