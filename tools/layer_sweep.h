#pragma once

#include "tools/common_flags.h"
#include "tools/explain_request.h"
#include "tools/inputs.h"

namespace camlucida::cli {

/// `explain --layer-sweep`: ranks the layers of the model by insertion minus deletion of the first
/// method and class asked for, one table (or line of JSON) per input. Writes no files.
/// The exit code of the program.
int run_layer_sweep(const Model& model, const ExplainRequest& request,
                    const std::vector<Input>& inputs, const OutputFlags& output, bool progress);

}  // namespace camlucida::cli
