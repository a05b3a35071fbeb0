#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/cuda/dnn.h"
#include "engine/kernel.h"

namespace camlucida {

/// plan_dnn_conv, or what stands for it in tests.
using PlanDnnConv =
    std::function<std::shared_ptr<const DnnConv>(Gpu&, const DnnConvProblem&, std::string&)>;

/// The kernels, forward and backward, that hand convolutions to `plan`: they bring the weights into
/// its form, widen pictures of few channels, and do what it leaves of an epilogue.
std::vector<KernelDef> conv_dnn_kernels(const PlanDnnConv& plan);

}  // namespace camlucida
