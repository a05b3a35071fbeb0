#include "engine/import/caffe_layers.h"

#include "engine/error.h"

namespace camlucida {
namespace {

const std::vector<CaffeOperator>& all_operators() {
  static const std::vector<CaffeOperator> kOperators = [] {
    std::vector<CaffeOperator> all;
    for (const auto& family : {caffe_weighted_operators(), caffe_pool_operators(),
                               caffe_math_operators(), caffe_shape_operators()}) {
      all.insert(all.end(), family.begin(), family.end());
    }
    return all;
  }();
  return kOperators;
}

}  // namespace

const CaffeOperator* find_caffe_operator(const std::string& type) {
  for (const CaffeOperator& candidate : all_operators()) {
    if (type == candidate.type) return &candidate;
  }
  return nullptr;
}

std::string caffe_type_of(caffe::LayerV1::Type type) {
  const std::string name = caffe::LayerV1::Type_Name(type);
  static const std::map<std::string, std::string> kSpelledOtherwise = {
      {"ABSVAL", "AbsVal"},
      {"ARGMAX", "ArgMax"},
      {"BNLL", "BNLL"},
      {"RELU", "ReLU"},
      {"HDF5_DATA", "HDF5Data"},
      {"HDF5_OUTPUT", "HDF5Output"},
      {"LRN", "LRN"},
      {"MVN", "MVN"},
      {"SOFTMAX_LOSS", "SoftmaxWithLoss"},
      {"TANH", "TanH"},
  };
  const auto it = kSpelledOtherwise.find(name);
  if (it != kSpelledOtherwise.end()) return it->second;
  std::string result;
  bool capital = true;
  for (const char c : name) {
    if (c == '_') {
      capital = true;
    } else {
      const bool letter = c >= 'A' && c <= 'Z';
      result += capital || !letter ? c : static_cast<char>(c - 'A' + 'a');
      capital = false;
    }
  }
  return result;
}

Error caffe_unsupported(const std::string& what, const std::string& nearest) {
  return Error(ErrorKind::kUnsupported, what, "nearest supported form: " + nearest);
}

Error caffe_malformed(const std::string& what) {
  return Error(ErrorKind::kModel, what, "correct the network's .prototxt");
}

}  // namespace camlucida
