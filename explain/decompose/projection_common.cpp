#include <algorithm>

#include "engine/error.h"
#include "explain/cam/cam_common.h"
#include "explain/decompose/projection_common.h"

namespace camlucida::decompose {

RawMap project(const Tensor& layer, const PrincipalOptions& options) {
  const PrincipalComponents found =
      principal_components(*layer_matrix(layer, options.centre), options);
  const Shape& shape = layer.shape();
  RawMap map{.raw = Tensor(Shape{shape[2], shape[3]}), .remark = nonfinite_remark(found.nonfinite)};
  Tensor loading(Shape{shape[1]}, DType::kFloat64);
  if (found.count == 0) {
    map.remark = options.centre ? "Every channel of the layer is constant: there is no component."
                                : "The layer is zero everywhere: there is no component.";
  } else {
    from_double(DType::kFloat32, found.scores.data(), map.raw.raw(), found.scores.size());
    std::copy_n(found.loadings.begin(), shape[1], loading.as<double>().begin());
    map.series["explained_variance_ratio"] = {found.explained_variance_ratio[0]};
  }
  map.artefacts["loading"] = loading;
  return map;
}

Tensor eigen_smooth(const Tensor& weighted) { return project(weighted, {}).raw; }

Tensor times_gradient(const Tensor& layer, const Tensor& gradient, bool magnitude) {
  if (layer.shape() != gradient.shape()) {
    throw Error(ErrorKind::kUsage, "a gradient of shape " + gradient.shape().to_string() +
                                       " does not belong to a layer of shape " +
                                       layer.shape().to_string());
  }
  return products(magnitude ? Product::kMagnitude : Product::kPlain, layer, gradient);
}

std::vector<RawMap> project_gradients(Evidence& evidence, Settings& settings, bool magnitude) {
  const PrincipalOptions options{.centre = settings.flag("centre", true),
                                 .sign = sign_setting(settings)};
  const std::string& layer = evidence.subject().layer;
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    maps.push_back(
        project(times_gradient(evidence.activation(layer), evidence.gradient(layer, t), magnitude),
                options));
  }
  return maps;
}

SignRule sign_setting(Settings& settings) {
  return parse_sign_rule(
      settings.choice("sign", "u_max", {"u_max", "v_max", "none", "correlation"}));
}

std::string nonfinite_remark(int64_t count) {
  return count == 0 ? "" : std::to_string(count) + " values that are no finite numbers count as 0.";
}

}  // namespace camlucida::decompose
