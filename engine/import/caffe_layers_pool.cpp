// Pooling and local normalisation.
#include "engine/error.h"
#include "engine/import/caffe_layers.h"

namespace camlucida {
namespace {

/// Output extents round up unless the layer says otherwise, and a last window that would start in
/// the end padding is dropped; averages divide by the part of the window inside the padded map.
/// Both are the rules of the engine's pools in ceil mode with padding counted.
void pooling(CaffeLayer& layer) {
  const caffe::PoolingParameter& p = layer.definition().pooling_param();
  const bool average = p.pool() == caffe::PoolingParameter::AVE;
  if (p.pool() == caffe::PoolingParameter::STOCHASTIC) {
    throw caffe_unsupported("stochastic pooling", "pool: MAX or AVE");
  }
  if (layer.tops() > 1 && layer.is_read(1)) {
    throw caffe_unsupported("its mask of maxima is used", "one top");
  }
  if (p.global_pooling()) {
    return layer.finish(average ? "GlobalAveragePool" : "GlobalMaxPool", {layer.bottom(0)});
  }
  const auto pair = [](bool has_one, int64_t one, bool has_h, int64_t h, bool has_w, int64_t w) {
    if (has_one) return std::vector<int64_t>{one, one};
    return std::vector<int64_t>{has_h ? h : one, has_w ? w : one};
  };
  const std::vector<int64_t> kernel = pair(p.has_kernel_size(), p.kernel_size(), p.has_kernel_h(),
                                           p.kernel_h(), p.has_kernel_w(), p.kernel_w());
  const std::vector<int64_t> stride = pair(p.has_stride(), p.stride(), p.has_stride_h(),
                                           p.stride_h(), p.has_stride_w(), p.stride_w());
  const std::vector<int64_t> pad =
      pair(p.has_pad(), p.pad(), p.has_pad_h(), p.pad_h(), p.has_pad_w(), p.pad_w());
  for (size_t axis = 0; axis < 2; ++axis) {
    if (kernel[axis] < 1) throw caffe_malformed("kernel_size is missing or below 1");
    if (pad[axis] >= kernel[axis]) {
      throw caffe_malformed("pad " + std::to_string(pad[axis]) + " is not below kernel_size " +
                            std::to_string(kernel[axis]));
    }
  }
  const bool ceil =
      p.has_round_mode() ? p.round_mode() == caffe::PoolingParameter::CEIL : p.ceil_mode();
  CaffeLayer::Attributes attributes = {
      {"kernel_shape", kernel},
      {"strides", stride},
      {"pads", std::vector<int64_t>{pad[0], pad[1], pad[0], pad[1]}},
      {"ceil_mode", int64_t{ceil}}};
  if (average) attributes["count_include_pad"] = int64_t{1};
  layer.finish(average ? "AveragePool" : "MaxPool", {layer.bottom(0)}, attributes);
}

void lrn(CaffeLayer& layer) {
  const caffe::LRNParameter& p = layer.definition().lrn_param();
  const int64_t size = p.local_size();
  if (size < 1 || size % 2 == 0) {
    throw caffe_malformed("local_size " + std::to_string(size) + " is not odd");
  }
  const ValueId x = layer.bottom(0);
  if (p.norm_region() == caffe::LRNParameter::ACROSS_CHANNELS) {
    return layer.finish("LRN", {x},
                        {{"size", size},
                         {"alpha", double{p.alpha()}},
                         {"beta", double{p.beta()}},
                         {"bias", double{p.k()}}});
  }
  // x * (1 + alpha * mean of the squares around)^-beta
  const int64_t pad = (size - 1) / 2;
  const ValueId squares = layer.step("Mul", {x, x});
  const ValueId mean = layer.step("AveragePool", {squares},
                                  {{"kernel_shape", std::vector<int64_t>{size, size}},
                                   {"pads", std::vector<int64_t>{pad, pad, pad, pad}},
                                   {"count_include_pad", int64_t{1}}});
  const auto scalar = [&](const char* what, float value) {
    return layer.constant(what, Tensor::scalar(value));
  };
  const ValueId scaled = layer.step("Mul", {mean, scalar("alpha", p.alpha())});
  const ValueId shifted = layer.step("Add", {scaled, scalar("one", 1)});
  const ValueId factor = layer.step("Pow", {shifted, scalar("exponent", -p.beta())});
  layer.finish("Mul", {x, factor});
}

/// (x - mean) / (deviation + eps) of every map, or of every picture.
void mvn(CaffeLayer& layer) {
  const caffe::MVNParameter& p = layer.definition().mvn_param();
  const std::vector<int64_t> axes =
      p.across_channels() ? std::vector<int64_t>{1, 2, 3} : std::vector<int64_t>{2, 3};
  const ValueId x = layer.bottom(0);
  if (layer.rank(x) != 4) throw caffe_unsupported("a bottom that is no map", "four axes");
  if (!p.normalize_variance()) {
    const ValueId mean =
        layer.step("ReduceMean", {x, layer.constant("axes", Tensor::from_ints(axes))},
                   {{"keepdims", int64_t{1}}});
    return layer.finish("Sub", {x, mean});
  }
  if (p.eps() != caffe::MVNParameter().eps()) {
    throw caffe_unsupported("eps " + std::to_string(p.eps()), "eps: 1e-9");
  }
  layer.finish("MeanVarianceNormalization", {x}, {{"axes", axes}});
}

}  // namespace

std::vector<CaffeOperator> caffe_pool_operators() {
  return {
      {"Pooling", 1, 1, pooling},
      {"LRN", 1, 1, lrn},
      {"MVN", 1, 1, mvn},
  };
}

}  // namespace camlucida
