#pragma once

#include <any>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/image/preprocess.h"
#include "engine/tensor.h"
#include "explain/metrics/math/boxes.h"
#include "explain/metrics/math/confidence.h"
#include "explain/metrics/math/curve.h"
#include "explain/settings.h"

/// The contract of a metric of explanations. A metric is one value of `MetricDef` in one file
/// `explain/metrics/<name>.cpp`, which defines
///
///     void camlucida::metrics::register_<name>(MetricRegistry& registry)
///
/// The build finds the file by itself; files whose name ends in _common hold what several share.
/// A metric sees one final map of one picture at a time and returns a Measurement together with
/// every setting that produced it (Settings::used). Figures over a data set are the mean of the
/// measurements, or what MetricDef::combine makes of them.
namespace camlucida::metrics {

/// Where the object and its parts are, in pixels of the network input.
struct GroundTruth {
  std::vector<Box> boxes;     ///< the parts the network sees
  std::vector<uint8_t> mask;  ///< [H * W], kBackground ..., empty if there is none
  /// [H * W], place in `part_names` + 1 or 0 where there is no part; empty if parts are not known.
  std::vector<uint8_t> parts = {};
  std::vector<std::string> part_names = {};  ///< of the data set: not every picture shows all
  static constexpr uint8_t kBackground = 0;
  static constexpr uint8_t kObject = 1;
  static constexpr uint8_t kUnsure = 2;  ///< counted on neither side
};

/// Values computed once and shared by several metrics, by key.
class Memo {
 public:
  template <class T, class Compute>
  const T& get(const std::string& key, const Compute& compute) {
    std::any& slot = values_[key];
    if (!slot.has_value()) slot = std::any(T(compute()));
    return *std::any_cast<T>(&slot);
  }

 private:
  std::map<std::string, std::any> values_;
};

/// One picture with the class whose explanation is judged; shared by the maps of all methods.
struct PictureCase {
  Tensor input;   ///< [1, C, H, W], preprocessed
  Tensor scores;  ///< [1, classes, ...], logits
  int64_t class_index = 0;
  Preprocessing preprocessing;
  std::optional<GroundTruth> truth;
  Probe probe;          ///< runs the network on variants of `input`
  uint64_t number = 0;  ///< of the picture: the stream of random numbers
  int threads = 1;      ///< for work beside the network, 0 = all cores
  Memo memo = {};

  int height() const { return static_cast<int>(input.shape()[2]); }
  int width() const { return static_cast<int>(input.shape()[3]); }
  int64_t pixels() const { return input.shape()[2] * input.shape()[3]; }
  int64_t classes() const { return scores.count(); }
  double logit() const { return scores.floats()[class_index]; }
  Confidence confidence() const { return metrics::confidence(scores_of(scores), class_index); }
};

/// One map of a picture, and the method behind it for metrics that ask it again.
struct MapCase {
  PictureCase& picture;
  Tensor raw;  ///< [h, w], signed
  Tensor map;  ///< [H, W], final, finite, in [0, 1]
  /// The final map of the same method for another input or class.
  std::function<Tensor(const Tensor& input, int64_t class_index)> explain;
  /// The final map of the same method when the last `stage` of `stages` equal parts of the
  /// network's layers have random weights.
  std::function<Tensor(int stage, int stages)> explain_randomised;
  Memo memo = {};
  std::string method = "the method";  ///< its name, for messages
  Tensor components = {};  ///< [Q, h, w] of methods that find several maps; else undefined
};

/// What a metric says about one map.
struct Measurement {
  double value = std::numeric_limits<double>::quiet_NaN();
  std::map<std::string, double> details;  ///< intermediate figures, by name
  std::vector<double> profile;            ///< a curve, or what `combine` needs
  std::string failure;                    ///< why there is no value; empty if there is one

  static Measurement of(double value) { return {value, {}, {}, ""}; }
  static Measurement failed(std::string why) { return {NAN, {}, {}, std::move(why)}; }
};

/// One map of a data set, for combining.
struct Sample {
  int64_t class_index = 0;
  const Measurement* measurement = nullptr;
};

enum class Better { kHigher, kLower, kNeither };
const char* name_of(Better better);  ///< "higher", "lower", "neither"

/// What must be known about the picture besides the picture.
enum class Truth { kNothing, kBox, kMask, kParts };
const char* name_of(Truth truth);  ///< "nothing", "box", "mask", "mask of parts"

struct MetricDef {
  std::string name;                  ///< canonical: "avg_drop"
  std::vector<std::string> aliases;  ///< compared without case, '-' and '_'
  std::string title;                 ///< "Average drop"
  std::string formula;               ///< one line
  std::string source;                ///< paper, equation
  Better better = Better::kHigher;
  Truth truth = Truth::kNothing;
  std::string passes = "0";  ///< forwards per map, as a formula where it depends on settings
  /// The means of the details belong to the figure of a data set: "part:NAME" of one thing the
  /// value is made of, "chance:NAME" and "chance" of what knowing nothing gives.
  bool mean_details = false;
  /// Throws Error(kUsage) for settings that make no sense; a map that cannot be measured is no
  /// error but Measurement::failed.
  std::function<Measurement(MapCase&, Settings&)> measure;
  /// Figure of a data set from the measurements without failure; empty = mean of their values.
  std::function<double(std::span<const Sample>, Settings&)> combine = {};
};

/// All metrics of this build.
class MetricRegistry {
 public:
  static const MetricRegistry& instance();

  void add(MetricDef metric);  ///< throws Error(kInternal) for a name or alias in use
  const std::vector<std::unique_ptr<const MetricDef>>& all() const { return metrics_; }
  /// By name or alias, ignoring case, '-' and '_'. Throws Error(kUsage) that lists the names.
  const MetricDef& require(const std::string& name) const;

 private:
  std::vector<std::unique_ptr<const MetricDef>> metrics_;
  std::map<std::string, const MetricDef*> by_name_;
};

/// Generated by the build from the files under explain/metrics/.
void register_all_metrics(MetricRegistry& registry);

/// `metric.measure` with what all metrics have in common: a map that is not finite fails, and so
/// does a picture without the ground truth that the metric needs.
Measurement measure_map(const MetricDef& metric, MapCase& map, Settings& settings);

/// Figure of a data set; failed measurements are left out, NaN if none is left.
double combine_samples(const MetricDef& metric, std::span<const Sample> samples,
                       Settings& settings);

}  // namespace camlucida::metrics
