#pragma once

#include "explain/explainer.h"
#include "explain/model.h"

namespace camlucida {

/// Whether the map means something, and if not why and what to do (one sentence in `advice`).
/// `map`: what the method gave for this target at the first layer.
Status judge(const ExplainerDef& method, Evidence& evidence, size_t target, const RawMap& map,
             const RawStatistics& statistics, std::string* advice);

}  // namespace camlucida
