#pragma once

#include "tools/common_flags.h"
#include "tools/inputs.h"
#include "tools/json_output.h"
#include "tools/messages.h"

/// What `predict` and `explain` say about a run over many inputs.
namespace camlucida::cli {

/// Table of class, label, logit and probability.
void print_ranking(const Prediction& prediction);

/// {"input": {"path"}, "error": {"message", "exit_code"}}: the line that stands for a failed input.
Json failure_json(const Error& error, const Input& input);

/// Prints the summary of a run over more than one input (standard output; with --json or after
/// failures standard error) and returns the exit code: 130 after Ctrl-C, else that of the first
/// failure. `verb` is "explained" or "predicted".
int finish(const Failures& failures, size_t done, size_t skipped, size_t total, const char* verb,
           const OutputFlags& output);

}  // namespace camlucida::cli
