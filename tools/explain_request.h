#pragma once

#include <map>
#include <string>
#include <vector>

#include "tools/command.h"
#include "tools/common_flags.h"
#include "tools/inputs.h"
#include "tools/json_output.h"

/// What is asked of `explain`: methods, layers, classes, settings.
namespace camlucida::cli {

struct RequestFlags {
  std::vector<std::string> methods;  ///< empty: gradcam
  std::vector<std::string> layers;
  std::vector<std::string> classes;   ///< empty: top1, or top3 if the classes belong together
  std::vector<std::string> settings;  ///< "key=value"
  std::string normalise = "minmax";
  int k = 5;
  uint64_t seed = 0;
  bool aug_smooth = false;
  bool eigen_smooth = false;
};

void add_request_flags(const Command& command, RequestFlags& flags);

/// "a,b" → a, b; empty parts are dropped.
std::vector<std::string> split_list(const std::string& list);

/// "METHOD.KEY=VALUE" texts by "METHOD.KEY" with the method's canonical name. Throws Error(kUsage).
std::map<std::string, std::string> parse_settings(const std::vector<std::string>& texts);

/// A request checked against a model, before the first input is read.
class ExplainRequest {
 public:
  /// Resolves `all` and `all-gradient` to the methods that fit (a notice names the others). Throws
  /// Error(kUsage) for a method, layer, class or setting that does not exist.
  ExplainRequest(const RequestFlags& flags, const Model& model, const OutputFlags& output);

  /// What Model::explain and BatchExplainer get. `own_targets`: every picture has targets of its
  /// own instead of the classes of the request.
  ExplainOptions options(ProgressFunction progress, bool own_targets) const;
  /// The answer for one input by itself.
  Answer run(const Model& model, const LoadedInput& input, ProgressFunction progress) const;
  /// An answer with each class once, however often it was named, and the time it took to prepare
  /// `input`.
  static Answer completed(Answer answer, const LoadedInput& input);

  /// For callers that show maps only, see ExplainOptions::artefacts.
  void leave_out_artefacts() { options_.artefacts = false; }
  /// What Model::explain gets, but for the progress.
  const ExplainOptions& options() const { return options_; }
  /// Names of the methods, each with its variant where that is not the default.
  const std::vector<std::string>& methods() const { return methods_; }
  Normalisation normalisation() const { return options_.normalisation; }
  Json to_json() const;

 private:
  void choose_methods(const Model& model, const OutputFlags& output);
  void choose_classes(const Model& model);

  RequestFlags flags_;
  ExplainOptions options_;
  std::vector<std::string> methods_;
  bool joint_ = false;  ///< a method was named whose classes belong together
};

}  // namespace camlucida::cli
