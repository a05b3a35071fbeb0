#pragma once

#include "explain/explainer.h"
#include "explain/model.h"

namespace camlucida {

/// Whether the map means something, and if not why and what to do (one sentence in `advice`).
Status judge(const ExplainerDef& method, Evidence& evidence, size_t target,
             const RawStatistics& statistics, std::string* advice);

}  // namespace camlucida
