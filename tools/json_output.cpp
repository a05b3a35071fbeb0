#include "tools/json_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "engine/build_info.h"
#include "tools/device.h"

namespace camlucida::cli {
namespace {

const char* name_of(ChannelOrder order) {
  switch (order) {
    case ChannelOrder::kRgb:
      return "RGB";
    case ChannelOrder::kBgr:
      return "BGR";
    case ChannelOrder::kGray:
      return "GRAY";
  }
  return "";
}

const char* name_of(Filter filter) {
  switch (filter) {
    case Filter::kNearest:
      return "pil_nearest";
    case Filter::kBilinear:
      return "pil_bilinear";
    case Filter::kBicubic:
      return "pil_bicubic";
    case Filter::kLanczos:
      return "pil_lanczos";
  }
  return "";
}

}  // namespace

Json to_json(const Shape& shape) {
  Json json = Json::array();
  for (int64_t extent : shape) json.push_back(extent == Shape::kUnknown ? Json() : Json(extent));
  return json;
}

// The keys of a manifest's "preprocessing", so that the object can be pasted into one.
Json to_json(const Preprocessing& recipe) {
  Json json;
  json["channel_order"] = name_of(recipe.channel_order);
  json["scale"] = recipe.scale;
  json["mean"] = recipe.mean;
  json["std"] = recipe.std;
  switch (recipe.resize) {
    case ResizeOp::kKeep:
      json["resize"] = nullptr;
      break;
    case ResizeOp::kShortSide:
      json["resize"] = {{"op", "short_side"}, {"size", recipe.short_side}};
      break;
    case ResizeOp::kExact:
      json["resize"] = {{"op", "exact"},
                        {"size", Json::array({recipe.resize_height, recipe.resize_width})}};
      break;
  }
  if (recipe.resize != ResizeOp::kKeep) json["resize"]["filter"] = name_of(recipe.filter);
  if (recipe.crop_height > 0) {
    json["crop"] = {{"op", "center"},
                    {"size", Json::array({recipe.crop_height, recipe.crop_width})}};
  } else {
    json["crop"] = nullptr;
  }
  json["formula"] = "y = (byte * scale - mean) / std";
  return json;
}

Json to_json(const ClassScore& score) {
  return {{"class", score.index},
          {"label", score.label},
          {"logit", score.logit},
          {"probability", score.probability}};
}

Json to_json(const Prediction& prediction) {
  Json json = Json::array();
  for (const ClassScore& score : prediction.ranking) json.push_back(to_json(score));
  return json;
}

Json to_json(const std::map<std::string, std::string>& parameters) {
  Json json = Json::object();
  for (const auto& [key, value] : parameters) {
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    const bool numeric = !value.empty() && *end == '\0' &&
                         std::isdigit(static_cast<unsigned char>(value.back())) != 0;
    if (!numeric) {
      json[key] = value;
    } else if (value.find_first_of(".eExX") == std::string::npos && value.size() < 19) {
      json[key] = std::stoll(value);
    } else {
      json[key] = number;
    }
  }
  return json;
}

Json to_json(const Explanation& explanation) {
  const RawStatistics& raw = explanation.statistics;
  Json json;
  json["method"] = explanation.method;
  json["variant"] = explanation.variant;
  json["class"] = explanation.target.index >= 0 ? Json(explanation.target.index) : Json();
  json["label"] = explanation.target.label;
  json["target"] = explanation.target_text;
  json["score"] = explanation.score;
  json["layer"] = explanation.layer;
  json["layer_shape"] = to_json(explanation.layer_shape);
  json["layer_reason"] = explanation.layer_reason;
  json["status"] = name_of(explanation.status);
  json["advice"] = explanation.advice;
  json["raw"] = {{"min", raw.min},
                 {"max", raw.max},
                 {"mean", raw.mean},
                 {"sum", raw.sum},
                 {"nonfinite", raw.nonfinite}};
  json["parameters"] = to_json(explanation.parameters);
  if (!explanation.series.empty()) json["series"] = explanation.series;
  json["forwards"] = explanation.passes.forwards;
  json["backwards"] = explanation.passes.backwards;
  json["replays"] = explanation.passes.replays;
  return json;
}

Json engine_json(const Model& model) {
  const BuildInfo info = build_info();
  return {{"name", info.name},
          {"version", info.version},
          {"device", device_name(model.options().gpu.get())},
          {"precision", name_of(model.options().precision)},
          {"simd", info.simd},
          {"threads", effective_threads(model.options().threads)}};
}

Json model_json(const Model& model, const std::string& sha256) {
  Json json = {{"path", model.path().string()}, {"sha256", sha256}, {"name", model.name()}};
  if (!model.weights().empty()) json["weights"] = model.weights().string();
  json["score"] = model.score_name();
  if (!model.score_reason().empty()) json["score_reason"] = model.score_reason();
  return json;
}

std::string to_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

void print_json(const Json& json) { fmt::print("{}\n", to_text(json)); }

int effective_threads(int asked) {
  return asked > 0 ? asked : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace camlucida::cli
