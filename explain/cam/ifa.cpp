#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>

#include "engine/image/resample.h"
#include "explain/cam/cam_common.h"
#include "explain/ifa/analysis_file.h"
#include "explain/ifa/selection.h"

/// Integrated feature analysis. Li et al.: "Integrated feature analysis" (IFA), arXiv 2407.01142.
/// The map of another method, put on an intensity scale common to all pictures of a data set
/// instead of its own, and if asked for with only the channels that matter for the class:
///
///     M(p) = sum_k b_k w_k A_k(p)                 b [C] in {0, 1}, w from the base method
///     map  = bilinear((M - low) / (high - low))   or tanh; not rectified, not clipped
///
/// `scale` names an analysis made by `camlucida analyse` for the same network, layer and base
/// method; low is the median of the minima and high the 90th percentile of the maxima of its maps.
/// Without it the scale is that of the picture alone. HiResCAM as base weighs every pixel of a
/// channel on its own, w_k(p).
namespace camlucida {
namespace {

/// Deviation up to which a base map counts as the weighted sum it is said to be.
constexpr double kSameMap = 1e-4;

std::vector<int64_t> parse_channels(const std::string& list) {
  std::vector<int64_t> channels;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at < end) {
    int64_t channel = 0;
    const auto [stop, error] = std::from_chars(at, end, channel);
    if (error != std::errc() || (stop != end && *stop != ',')) {
      throw Error(ErrorKind::kUsage, "parameter ifa.channels cannot be '" + list + "'",
                  "use numbers of channels separated by commas");
    }
    channels.push_back(channel);
    at = stop == end ? end : stop + 1;
  }
  return channels;
}

/// What is asked for, resolved.
struct Request {
  MethodChoice base;
  Settings base_settings;
  std::shared_ptr<const IfaFile> file;  // null: no analysis
  IntensityScale form;
  SelectionRule rule;
};

SelectionRule read_rule(Settings& settings) {
  struct Named {
    const char* name;
    ChannelSelection selection;
  };
  constexpr Named kNamed[] = {
      {"all", ChannelSelection::kAll},       {"top", ChannelSelection::kTop},
      {"max", ChannelSelection::kMax},       {"diff_top", ChannelSelection::kDiffTop},
      {"freq", ChannelSelection::kFrequent}, {"reverse_diff_top", ChannelSelection::kReverseDiff},
      {"index", ChannelSelection::kIndex}};
  SelectionRule rule;
  const std::string select = settings.choice(
      "select", "all", {"all", "top", "max", "diff_top", "reverse_diff_top", "freq", "index"});
  for (const Named& named : kNamed) {
    if (select == named.name) rule.selection = named.selection;
  }
  rule.ratio = settings.number("ratio", rule.ratio, 0.0, 1.0);
  rule.threshold = settings.number("threshold", rule.threshold, -1e30, 1e30);
  rule.channels = parse_channels(settings.text("channels", ""));
  rule.strict = settings.variant() == "official";
  return rule;
}

void check_identity(const IfaIdentity& have, const IfaIdentity& want, const std::string& path) {
  const auto refuse = [&](const std::string& what, const std::string& of, const std::string& here) {
    throw Error(ErrorKind::kUsage,
                "analysis '" + path + "' is of " + what + " '" + of + "', not of '" + here + "'",
                "make one with `camlucida analyse` for this network, layer and method");
  };
  if (have.base != want.base) refuse("base method", have.base, want.base);
  if (have.layer != want.layer) refuse("layer", have.layer, want.layer);
  if (have.score != want.score) refuse("output", have.score, want.score);
  if (have.weights != want.weights || have.channels != want.channels) {
    throw Error(ErrorKind::kUsage,
                "analysis '" + path + "' is of another network (" + have.model + ")",
                "make one with `camlucida analyse` for this network");
  }
}

Request read(const Subject& subject, Settings& settings) {
  Request request{.base = choose_method(settings.text("base", "gradcam")),
                  .base_settings = {},
                  .file = nullptr,
                  .form = {},
                  .rule = read_rule(settings)};
  if (request.base.method->name == "ifa" || !request.base.method->uses_layer) {
    throw Error(ErrorKind::kUsage,
                "parameter ifa.base cannot be '" + request.base.name() +
                    "', which is no weighted sum of the layer's channels",
                "use gradcam, hirescam, gradcam++, xgradcam or scorecam");
  }
  request.base_settings =
      Settings(request.base.method->name, request.base.variant, {}, settings.seed());
  request.form.form = settings.choice("rescale", "norm", {"norm", "tanh"}) == "tanh"
                          ? Rescaling::kTanh
                          : Rescaling::kLinear;
  request.form.remove_negative = settings.flag("remove_minus", false);
  request.form.ratio = settings.number("scale_ratio", 1.0, 1e-6, 1e6);
  const std::string path = settings.text("scale", "");
  if (path.empty()) {
    if (needs_analysis(request.rule.selection)) {
      throw Error(ErrorKind::kUsage, "ifa.select needs an analysis of a data set",
                  "name one with ifa.scale=FILE, made by `camlucida analyse`");
    }
    return request;
  }
  request.file = cached_ifa(path);
  const IfaAnalysis& analysis = request.file->analysis;
  const Graph& graph = *subject.graph;
  check_identity(analysis.identity(),
                 {.weights = weights_digest(graph),
                  .score = subject.score,
                  .layer = subject.layer,
                  .base = request.base.name(),
                  .channels = graph.value(graph.require(subject.layer)).desc.shape[1]},
                 path);
  const IntensityScale scale = analysis.scale();
  request.form.low = scale.low;
  request.form.high = scale.high;
  settings.record("pictures_analysed", static_cast<double>(analysis.pictures().size()));
  return request;
}

Needs needs(const Subject& subject, Settings& settings) {
  Request request = read(subject, settings);
  return request.base.method->needs(subject, request.base_settings);
}

/// w_k A_k(p) of one target: w_k from the base method, or the gradient where it weighs pixels.
class Contributions {
 public:
  Contributions(Evidence& evidence, size_t target, const MethodChoice& base, const RawMap& map)
      : activation_(evidence.activation(evidence.subject().layer)) {
    const auto weights = map.artefacts.find("weights");
    if (base.method->name == "hirescam") {
      gradient_ = evidence.gradient(evidence.subject().layer, target);
    } else if (weights != map.artefacts.end() &&
               weights->second.count() == activation_.shape()[1]) {
      weights_ = weights->second.to_doubles();
    }
    const std::vector<uint8_t> all(static_cast<size_t>(activation_.shape()[1]), 1);
    const bool known = gradient_.defined() || !weights_.empty();
    if (!known || !same(map.raw, sum(all))) {
      throw Error(ErrorKind::kUsage,
                  "the map of " + base.name() + " is no weighted sum of the layer's channels",
                  "use gradcam, hirescam, gradcam++, xgradcam or scorecam as ifa.base");
    }
  }

  /// sum_k chosen_k w_k A_k(p), [h, w].
  Tensor sum(const std::vector<uint8_t>& chosen) const {
    if (!gradient_.defined()) {
      std::vector<double> weights = weights_;
      for (size_t k = 0; k < weights.size(); ++k) weights[k] *= chosen[k];
      return weighted_sum(activation_, weights);
    }
    const std::vector<double> weights(chosen.begin(), chosen.end());
    return product_sum(Product::kPlain, activation_, gradient_,
                       Tensor::from<double>(Shape{std::ssize(weights)}, weights));
  }

  /// I_k = sum_p w_k A_k(p), [C] float64.
  Tensor importance() const {
    if (gradient_.defined()) return plane_weights(ProductSum{}, activation_, gradient_);
    Tensor importance = plane_weights(PlaneSum{}, activation_, activation_);
    const std::span<double> values = importance.as<double>();
    for (size_t k = 0; k < values.size(); ++k) values[k] *= weights_[k];
    return importance;
  }

 private:
  static bool same(const Tensor& a, const Tensor& b) {
    if (a.shape() != b.shape()) return false;
    const std::vector<double> left = a.to_doubles();
    const std::vector<double> right = b.to_doubles();
    double peak = 0.0;
    double worst = 0.0;
    for (size_t i = 0; i < left.size(); ++i) {
      peak = std::max(peak, std::abs(right[i]));
      worst = std::max(worst, std::abs(left[i] - right[i]));
    }
    return !(worst > kSameMap * peak);
  }

  const Tensor& activation_;
  std::vector<double> weights_;  // empty: weighed by the gradient
  Tensor gradient_;
};

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  Request request = read(evidence.subject(), settings);
  const Shape& input = evidence.input().shape();
  const std::vector<RawMap> base = request.base.method->explain(evidence, request.base_settings);
  std::vector<RawMap> maps;
  for (size_t t = 0; t < base.size(); ++t) {
    const Contributions contributions(evidence, t, request.base, base[t]);
    const Tensor importance = contributions.importance();
    const std::vector<uint8_t> chosen =
        select_channels(request.rule, request.file ? &request.file->analysis : nullptr,
                        evidence.targets()[t].class_index(), importance.count());
    RawMap map{.raw = contributions.sum(chosen)};
    const IntensityScale scale = request.file ? request.form : scale_of(map.raw, request.form);
    map.map = resize_bilinear(rescale(map.raw, scale), static_cast<int>(input[2]),
                              static_cast<int>(input[3]));
    if (!request.file) {
      map.remark = "No analysis was given (ifa.scale): the scale is that of this picture alone.";
    } else if (!request.file->complete) {
      map.remark = "The analysis was interrupted: its scale is that of a part of the pictures.";
    }
    map.artefacts["importance"] = importance;
    const auto weights = base[t].artefacts.find("weights");
    if (weights != base[t].artefacts.end()) map.artefacts["weights"] = weights->second;
    Tensor mask(Shape{importance.count()});
    std::copy(chosen.begin(), chosen.end(), mask.floats());
    map.artefacts["mask"] = mask;
    map.series["scale"] = {scale.low, scale.high};
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_ifa(ExplainerRegistry& registry) {
  registry.add({.name = "ifa",
                .aliases = {"integrated-feature-analysis"},
                .title = "Integrated feature analysis",
                .formula = "(sum_k b_k w_k A_k - low) / (high - low), one scale for a data set",
                .source = "Li et al. 2024 (arXiv 2407.01142)",
                .forwards = "as base",
                .backwards = "as base",
                .variants = {{"paper", ""}, {"official", "select=top keeps one channel fewer"}},
                .tail = Tail::kSigned,
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
