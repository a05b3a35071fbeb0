#pragma once

#include "engine/graph.h"

namespace camlucida {

/// Whether the condition of an `If` holds. `partial` holds all nodes before the `If`.
///
/// Where extents of the graph's inputs are free, the shape arithmetic behind the condition is
/// worked out for two different choices of them. The answer counts only if it was reached through
/// numbers that are the same in both: then it does not depend on the choice. Throws
/// Error(kUnsupported) if the condition depends on input data or on free extents.
bool decide_condition(GraphBuilder partial, ValueId condition);

}  // namespace camlucida
