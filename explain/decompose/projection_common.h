#pragma once

#include <string>

#include "explain/explainer.h"
#include "explain/linalg/principal_components.h"

/// What the methods that show the first principal component of a layer share.
namespace camlucida::decompose {

/// ExplainerDef::host_part of these methods (engine/cuda/solver.h: kLeastDeviceEigenOrder).
inline constexpr const char* kEigenHostPart =
    "eigenvectors, where the smaller of pixels and channels is below 192";

/// The score of the first principal component of `layer` [1, C, h, w] as a raw map [h, w], with its
/// loading ("loading" [C]) and the share of the variance it explains. A layer without components
/// (constant, all zero, a single pixel when centred) gives zeros and a remark.
RawMap project(const Tensor& layer, const PrincipalOptions& options);

/// Weighted activations W [1, C, h, w] (of Grad-CAM: alpha_k A_k) as their projection on their
/// first principal component instead of their sum over channels: less noise, but the sign and the
/// scale of the sum are lost. Centred, largest score positive. Raw map [h, w].
Tensor eigen_smooth(const Tensor& weighted);

/// The layer times its gradient, element by element; with `magnitude` the gradient's absolute
/// value. Both [1, C, h, w]. Throws Error(kUsage) if their shapes differ.
Tensor times_gradient(const Tensor& layer, const Tensor& gradient, bool magnitude);

/// The method that projects times_gradient of the target layer, for every target. Reads the
/// settings "centre" and "sign".
std::vector<RawMap> project_gradients(Evidence& evidence, Settings& settings, bool magnitude);

/// Setting "sign": u_max unless asked otherwise.
SignRule sign_setting(Settings& settings);

/// "3 values that are no finite numbers count as 0", or nothing for none.
std::string nonfinite_remark(int64_t count);

}  // namespace camlucida::decompose
