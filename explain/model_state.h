#pragma once

#include "explain/linear_head.h"
#include "explain/model.h"

namespace camlucida {

/// Subject::replay_rows: a GPU needs many variants to be busy.
inline int replay_rows(const ModelOptions& options) { return options.gpu != nullptr ? 64 : 4; }

/// What a Model holds. Written once, in Model::load; the pool guards itself.
struct ModelState {
  std::filesystem::path path;
  std::filesystem::path weights;  ///< of a Caffe network
  std::string name;
  ModelOptions options;
  Graph graph;
  Graph bound;
  std::string input;
  std::string score;
  std::string score_reason;
  Preprocessing preprocessing;
  std::string preprocessing_source;
  std::string missing_mean_file;
  Labels labels;
  std::optional<Manifest> manifest;
  std::optional<SessionPool> pool;
  std::optional<HeadCache> heads;  ///< of `bound`
};

}  // namespace camlucida
