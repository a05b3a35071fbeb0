#pragma once

#include <memory>
#include <vector>

#include "explain/explain_call.h"

namespace camlucida {

/// One picture on its way through an ExplainCall: its scores choose the targets, its evidence is
/// explained, by passes of its own (run_alone) or by shared ones (see, then explain).
///
/// One thread at a time. What was given to the constructor outlives this.
class PictureRun {
 public:
  /// `own`: what to explain instead of the targets of the call; empty: those.
  PictureRun(const ExplainCall& call, const PreparedInput& input, std::vector<Target> own);

  size_t target_count() const { return own_.empty() ? call_.target_count() : own_.size(); }
  /// Ranks classes and chooses the targets by the first scores that come ([1, ...], on the host).
  /// Throws Error(kUsage) for a target that these scores do not have.
  void see(const Tensor& scores);
  const std::vector<Target>& targets() const { return targets_; }

  /// Makes the passes of these requests for this picture alone, and explains.
  void run_alone(const std::vector<size_t>& requests);
  /// Explains the requests of a group by one view of the picture. `evidence`: one per subject.
  void explain(const ExplainCall::Group& group,
               const std::vector<std::unique_ptr<Evidence>>& evidence);

  Timing& timing() { return timing_; }
  /// The answer to all that was explained, with the best `k` classes. Once, at the end.
  Answer answer(std::shared_ptr<const Image> picture, int k);

 private:
  std::vector<Explanation> explain(size_t request,
                                   const std::vector<std::unique_ptr<Evidence>>& evidence);
  Explanation describe(size_t request, const std::vector<std::unique_ptr<Evidence>>& evidence,
                       std::vector<std::vector<RawMap>>& maps, size_t t) const;
  void resolve_targets();
  Tensor scores_of(const Image& image) const;

  const ExplainCall& call_;
  const PreparedInput& input_;
  std::vector<Target> own_;
  std::vector<Settings> settings_;  // by request
  Tensor scores_;                   // undefined: not seen yet
  std::vector<ClassScore> ranking_;
  std::vector<Target> targets_;
  // By request, view and target.
  std::vector<std::vector<std::vector<Explanation>>> explanations_;
  Timing timing_;
};

}  // namespace camlucida
