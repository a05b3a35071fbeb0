#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "explain/metrics/math/agreement.h"
#include "tools/common_flags.h"
#include "tools/diff_summary.h"
#include "tools/evaluation_log.h"
#include "tools/explain_request.h"
#include "tools/inputs.h"
#include "tools/progress.h"
#include "tools/report.h"

namespace camlucida::cli {

struct DiffFlags {
  ModelFlags common;  ///< of both models
  std::string model_a, model_b;
  std::string manifest_a, manifest_b;
  std::vector<std::string> layers_a, layers_b;  ///< empty: request.layers
  OutputFlags output;
  RequestFlags request;
  std::vector<std::string> inputs;
  DriftLimits limits;
  double top_share = 0.2;
  double tolerance = 0.07;  ///< of the shorter side, for maxima that agree
  std::string folder;       ///< empty: no files
  bool no_pictures = false, force = false, resume = false, progress = false;
};

/// One run of `diff`: both models explain the same targets of every picture, and the maps are
/// compared.
class DiffRun {
 public:
  /// Throws Error(kUsage) for requests that one of the models cannot serve, and what load_model
  /// throws.
  explicit DiffRun(const DiffFlags& flags);

  /// The exit code.
  int run();

 private:
  struct Side {
    Side(const DiffFlags& flags, const ModelFlags& model_flags, const RequestFlags& request_flags);

    Json to_json() const;  ///< model and preprocessing

    Model model;
    std::string sha256;
    ExplainRequest request;
  };
  ModelFlags model_flags(const std::string& model, const std::string& manifest) const;
  RequestFlags request_flags_a() const;
  RequestFlags request_flags_b() const;

  Json identity() const;
  void open_log();
  Json compare(const Input& input, Progress& progress);
  Json compare_answers(const Input& input, const LoadedInput& loaded, const Answer& a,
                       const Answer& b) const;
  Json compare_predictions(const Prediction& a, const Prediction& b) const;
  Json compare_explanations(const Input& input, const std::string& method, const Explanation& a,
                            const Explanation& b) const;
  Answer explain_b(const LoadedInput& loaded, const std::vector<std::string>& targets,
                   Progress& progress) const;
  int64_t class_in_b(int64_t index) const;
  std::string target_in_b(const std::string& target) const;
  bool complete(const Json& record) const;

  int finish_run();
  Json report(const DriftSummary& summary, const std::vector<DriftVerdict>& verdicts) const;
  void print(const DriftSummary& summary) const;

  const DiffFlags& flags_;
  Side a_;
  Side b_;
  std::vector<Input> inputs_;
  std::unique_ptr<EvaluationLog> log_;
  std::vector<Json> records_;
  size_t resumed_ = 0;
  Failures failures_;
  Json failed_ = Json::array();
};

}  // namespace camlucida::cli
