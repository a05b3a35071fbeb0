#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "explain/model.h"

/// The library's answers as JSON, keys in a fixed order. Numbers that are not finite become null.
namespace camlucida::cli {

using Json = nlohmann::ordered_json;

Json to_json(const Shape& shape);
Json to_json(const Preprocessing& recipe);
/// Class, label, logit, probability.
Json to_json(const ClassScore& score);
/// One entry per class of the ranking.
Json to_json(const Prediction& prediction);
/// Everything but the files.
Json to_json(const Explanation& explanation);
/// Parameters of a method: values that read as numbers become numbers.
Json to_json(const std::map<std::string, std::string>& parameters);

/// {"name", "version", "device", "precision", "simd", "threads"}
Json engine_json(const Model& model);
/// {"path", "sha256", "name", "score", "score_reason"}; of a Caffe model also "weights"
Json model_json(const Model& model, const std::string& sha256);

/// On one line with a line break, invalid UTF-8 (file names) replaced.
void print_json(const Json& json);
std::string to_text(const Json& json, int indent = -1);

/// Threads a run with --threads `asked` has.
int effective_threads(int asked);

}  // namespace camlucida::cli
