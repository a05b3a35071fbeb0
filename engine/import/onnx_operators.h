#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "engine/graph.h"
#include "engine/registry.h"

namespace camlucida {

/// The newest ai.onnx operator set whose changes over kWrittenAgainst are known to leave the
/// meaning of every implemented operator alone (they add element types and new operators).
constexpr int64_t kNewestOpset = 24;
/// Readers that take every version of an operator up to the newest say so with this number.
constexpr int64_t kWrittenAgainst = 21;

/// "Conv", or "com.example.Conv" outside ai.onnx.
std::string qualified_name(const std::string& domain, const std::string& operation);

/// How this build reads version `opset` of an operator. Throws Error(kUnsupported) with the nearest
/// form there is.
Registry::OnnxEntry find_operator(const Registry& registry, const std::string& domain,
                                  const std::string& operation, int64_t opset);

/// A node as the layer of `entry` reads it from `source`, whose inputs are `given` (kNone: absent).
/// Its outputs are still to be set: `output_count` of them, -1 = as many as the source has.
/// `add_constant` makes a value of an input that the reader adds.
struct ReadNode {
  Node node;
  int output_count = -1;
};
ReadNode read_node(const Registry::OnnxEntry& entry, const NodeSource& source,
                   const std::vector<ValueId>& given,
                   const std::function<ValueId(Tensor)>& add_constant);

/// Everything in a model that this build cannot run, gathered so that it can be told at once.
class Unsupported {
 public:
  /// `error` is of kUnsupported; its hint is the nearest supported form.
  void add(const Error::Place& place, const Error& error);
  bool empty() const { return groups_.empty(); }
  /// Error(kUnsupported) that lists everything; nodes with the same complaint share an entry.
  Error error(const std::string& file) const;

 private:
  struct Group {
    std::vector<std::string> nodes;
    size_t count = 0;
  };
  using Key =
      std::tuple<std::string, int, std::string, std::string>;  // operator, opset, what, hint
  std::vector<Key> order_;
  std::map<Key, Group> groups_;
};

}  // namespace camlucida
