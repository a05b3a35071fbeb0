#pragma once

#include <functional>
#include <string>
#include <vector>

#include "explain/layers.h"
#include "explain/model.h"

namespace camlucida::metrics {

/// How well one layer explains a picture.
struct LayerScore {
  LayerCandidate layer;
  double insertion = 0;  ///< area under the score while pixels are put in, best first
  double deletion = 0;   ///< the same while they are taken out
  double score = 0;      ///< insertion - deletion; NaN if `problem` is set
  std::string problem;   ///< why the layer has no score, or empty
};

/// Explains `input` ([1, C, H, W], preprocessed) once for every layer that all paths from the
/// picture to the score go through and scores each map by insertion minus deletion of its class
/// (Petsiuk et al. 2018). Best first; layers without a score last. `options` names one method and
/// one class; its layer is ignored. `progress` is told how many layers are done.
///
/// Cost: per layer one explanation and the passes of insertion_auc and deletion_auc.
std::vector<LayerScore> sweep_layers(const Model& model, const Tensor& input,
                                     const ExplainOptions& options,
                                     const ProgressFunction& progress = {});

}  // namespace camlucida::metrics
