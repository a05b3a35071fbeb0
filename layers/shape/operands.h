#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "engine/kernel.h"
#include "engine/layer.h"

namespace camlucida::shape {

/// The inputs of a node as shape inference, reference functions and kernels all see them, so that
/// one function can work out for all three what the node does (which slice, which padding).
/// Refers to the context it is made from.
class Operands {
 public:
  explicit Operands(const InferContext& context) : infer_(&context) {}
  explicit Operands(const RefContext& context) : reference_(&context) {}
  explicit Operands(const KernelCase& kernel_case) : case_(&kernel_case) {}

  const Attributes& attributes() const {
    if (infer_ != nullptr) return infer_->attributes;
    return reference_ != nullptr ? reference_->attributes : case_->node.attributes;
  }
  int output_count() const {
    if (infer_ != nullptr) return infer_->output_count;
    if (case_ != nullptr) return static_cast<int>(case_->outputs.size());
    return static_cast<int>(std::max(reference_->outputs.size(), reference_->grad_outputs.size()));
  }
  bool has(int i) const {
    if (infer_ != nullptr) return infer_->has(i);
    return reference_ != nullptr ? reference_->has(i) : case_->has(static_cast<size_t>(i));
  }
  const Shape& shape(int i) const {
    if (infer_ != nullptr) return infer_->shape(i);
    return reference_ != nullptr ? reference_->inputs[static_cast<size_t>(i)].shape
                                 : case_->in(static_cast<size_t>(i));
  }
  /// The values of input i can be read: it is constant, or this is a run of the reference.
  bool known(int i) const {
    if (infer_ != nullptr) return infer_->constant(i) != nullptr;
    return reference_ != nullptr ? reference_->has(i)
                                 : case_->constant(static_cast<size_t>(i)) != nullptr;
  }
  /// Values of input i. Throws Error(kUnsupported) naming `what` if they are not known yet.
  std::vector<double> doubles(int i, const char* what) const {
    if (!known(i)) {
      if (!has(i)) throw Error(ErrorKind::kModel, std::string(what) + " is missing");
      throw Error(ErrorKind::kUnsupported, std::string(what) + " is computed from the input data",
                  "only shapes that follow from the input shape are supported");
    }
    if (reference_ != nullptr) {
      const RefTensor& tensor = reference_->inputs[static_cast<size_t>(i)];
      return {tensor.data, tensor.data + tensor.count()};
    }
    return (infer_ != nullptr ? infer_->constant(i) : case_->constant(static_cast<size_t>(i)))
        ->to_doubles();
  }
  std::vector<int64_t> ints(int i, const char* what) const {
    const std::vector<double> values = doubles(i, what);
    std::vector<int64_t> result(values.size());
    from_double(DType::kInt64, values.data(), result.data(), static_cast<int64_t>(values.size()));
    return result;
  }
  std::vector<int64_t> ints_or(int i, const char* what, std::vector<int64_t> fallback) const {
    return has(i) ? ints(i, what) : std::move(fallback);
  }

 private:
  const InferContext* infer_ = nullptr;
  const RefContext* reference_ = nullptr;
  const KernelCase* case_ = nullptr;
};

}  // namespace camlucida::shape
