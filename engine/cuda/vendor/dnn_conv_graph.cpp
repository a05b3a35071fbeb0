#include "engine/cuda/vendor/dnn_conv_graph.h"

#include "engine/error.h"

namespace camlucida {
namespace {

constexpr int64_t kFirstVirtual = 100;

cudnnDataType_t dnn_type(DType type) {
  switch (type) {
    case DType::kFloat32:
      return CUDNN_DATA_FLOAT;
    case DType::kFloat16:
      return CUDNN_DATA_HALF;
    case DType::kBFloat16:
      return CUDNN_DATA_BFLOAT16;
    default:
      throw Error(ErrorKind::kInternal,
                  "a convolution of type " + std::string(name_of(type)) + " was given to cuDNN");
  }
}

/// The last `axes` of three, behind `leading`.
std::vector<int64_t> extents(std::initializer_list<int64_t> leading,
                             const DnnConvProblem::Extents& spatial, int axes) {
  std::vector<int64_t> result(leading);
  result.insert(result.end(), spatial.end() - axes, spatial.end());
  return result;
}

/// Appends the operations one after the other, each reading what the one before has made.
class Builder {
 public:
  Builder(const DnnConvProblem& problem, const DnnEpilogue& epilogue)
      : problem_(problem),
        epilogue_(epilogue),
        axes_(problem.spatial_axes()),
        type_(dnn_type(problem.type)),
        graph_(std::make_unique<DnnGraph>()) {}

  std::unique_ptr<DnnGraph> build(const DnnDevice& device) {
    const auto& p = problem_;
    const auto x = extents({p.batch, p.in_channels}, p.input, axes_);
    const auto y = extents({p.batch, p.out_channels}, p.output, axes_);
    result_extents_ = p.backward ? x : y;
    operations_left_ = 1 + static_cast<int>(epilogue_.bias) + static_cast<int>(epilogue_.addend) +
                       static_cast<int>(epilogue_.activation != DnnActivation::kIdentity) +
                       static_cast<int>(epilogue_.mask);
    add_convolution(tensor(kDnnInput, p.backward ? y : x));
    // The addend before the bias: this is the order for which cuDNN has kernels ready.
    if (epilogue_.addend && epilogue_.addend_first) add_addend();
    if (epilogue_.bias) {
      std::vector<int64_t> per_channel(result_extents_.size(), 1);
      per_channel[1] = p.out_channels;
      add_sum(
          graph_->keep(dnn_tensor(kDnnBias, dnn_type(epilogue_.bias_type(p.type)), per_channel)));
    }
    if (epilogue_.activation != DnnActivation::kIdentity) add_activation();
    if (epilogue_.addend && !epilogue_.addend_first) add_addend();
    if (epilogue_.mask) add_mask();
    graph_->finalize(device);
    return std::move(graph_);
  }

 private:
  const DnnDescriptor& tensor(int64_t uid, const std::vector<int64_t>& shape) {
    return graph_->keep(dnn_tensor(uid, type_, shape));
  }

  /// Where the next operation writes: the output if it is the last, else a virtual tensor.
  const DnnDescriptor& next_result() {
    if (--operations_left_ == 0) return tensor(kDnnOutput, result_extents_);
    return graph_->keep(dnn_tensor(next_virtual_++, CUDNN_DATA_FLOAT, result_extents_, true));
  }

  const DnnDescriptor& convolution() {
    const auto& p = problem_;
    DnnConvProblem::Extents pad_end{};
    for (size_t axis = 0; axis < pad_end.size(); ++axis) pad_end[axis] = p.pad_end(axis);
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const auto spatial = [this](const DnnConvProblem::Extents& of) {
      return extents({}, of, axes_);
    };
    DnnDescriptor conv(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    conv.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    conv.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    conv.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, static_cast<int64_t>(axes_));
    conv.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::span<const int64_t>(spatial(p.stride)));
    conv.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::span<const int64_t>(spatial(p.dilation)));
    conv.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::span<const int64_t>(spatial(p.pad_begin)));
    conv.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::span<const int64_t>(spatial(pad_end)));
    conv.finalize();
    return graph_->keep(std::move(conv));
  }

  void add_convolution(const DnnDescriptor& in) {
    const auto& p = problem_;
    const DnnDescriptor& weight =
        tensor(kDnnWeight, extents({p.out_channels, p.in_channels / p.groups}, p.kernel, axes_));
    const DnnDescriptor& conv = convolution();
    const DnnDescriptor& out = next_result();
    if (p.backward) {
      DnnDescriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, conv);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, in);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, weight);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, out);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0f);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0f);
      graph_->add_operation(std::move(operation));
    } else {
      DnnDescriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, conv);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, in);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weight);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, out);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f);
      graph_->add_operation(std::move(operation));
    }
    made_ = &out;
  }

  /// An element-wise operation on what was made last and, if given, a second tensor.
  void add_pointwise(DnnDescriptor function, const DnnDescriptor* second) {
    function.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    function.finalize();
    const DnnDescriptor& out = next_result();
    DnnDescriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, graph_->keep(std::move(function)));
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, *made_);
    if (second != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *second);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out);
    graph_->add_operation(std::move(operation));
    made_ = &out;
  }

  static DnnDescriptor function(cudnnPointwiseMode_t mode) {
    DnnDescriptor descriptor(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    descriptor.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    return descriptor;
  }

  void add_sum(const DnnDescriptor& second) {
    add_pointwise(function(CUDNN_POINTWISE_ADD), &second);
  }

  /// The derivative of a rectifier: positive inputs are where its outputs are positive.
  void add_mask() {
    DnnDescriptor relu = function(CUDNN_POINTWISE_RELU_BWD);
    relu.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.0);
    relu.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    relu.finalize();
    const DnnDescriptor& source =
        graph_->keep(dnn_tensor(kDnnSource, dnn_type(epilogue_.mask_type), result_extents_));
    const DnnDescriptor& out = next_result();
    DnnDescriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, graph_->keep(std::move(relu)));
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, source);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, *made_);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, out);
    graph_->add_operation(std::move(operation));
    made_ = &out;
  }

  void add_addend() { add_sum(tensor(kDnnAddend, result_extents_)); }

  void add_activation() {
    switch (epilogue_.activation) {
      case DnnActivation::kIdentity:
        return;
      case DnnActivation::kRelu: {
        DnnDescriptor relu = function(CUDNN_POINTWISE_RELU_FWD);
        relu.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.0);
        if (epilogue_.has_limit()) {
          relu.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, static_cast<double>(epilogue_.parameter));
        }
        add_pointwise(std::move(relu), nullptr);
        return;
      }
      case DnnActivation::kSigmoid:
        add_pointwise(function(CUDNN_POINTWISE_SIGMOID_FWD), nullptr);
        return;
      case DnnActivation::kTanh:
        add_pointwise(function(CUDNN_POINTWISE_TANH_FWD), nullptr);
        return;
      case DnnActivation::kSwish: {
        DnnDescriptor swish = function(CUDNN_POINTWISE_SWISH_FWD);
        swish.set(CUDNN_ATTR_POINTWISE_SWISH_BETA, static_cast<double>(epilogue_.parameter));
        add_pointwise(std::move(swish), nullptr);
        return;
      }
      case DnnActivation::kGelu:
        add_pointwise(function(CUDNN_POINTWISE_GELU_FWD), nullptr);
        return;
    }
  }

  const DnnConvProblem& problem_;
  const DnnEpilogue& epilogue_;
  int axes_;
  cudnnDataType_t type_;
  std::unique_ptr<DnnGraph> graph_;
  std::vector<int64_t> result_extents_;
  int operations_left_ = 0;
  int64_t next_virtual_ = kFirstVirtual;
  const DnnDescriptor* made_ = nullptr;
};

}  // namespace

std::unique_ptr<DnnGraph> dnn_conv_graph(const DnnConvProblem& problem, const DnnEpilogue& epilogue,
                                         const DnnDevice& device) {
  return Builder(problem, epilogue).build(device);
}

bool dnn_conv_accepts(const DnnConvProblem& problem, const DnnConfig& config) {
  if (config.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) ||
      config.has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) ||
      config.has(CUDNN_NUMERICAL_NOTE_FFT) || config.has(CUDNN_NUMERICAL_NOTE_WINOGRAD)) {
    return false;
  }
  return !problem.is_strict() || (!config.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) &&
                                  !config.has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
}

}  // namespace camlucida
