#pragma once

#include <string>
#include <vector>

namespace camlucida {

/// The NVIDIA GPUs that the driver shows, by name, in the order of their numbers. Empty if there
/// are none or the driver does not answer; `reason` then says why in a few words.
std::vector<std::string> gpu_names(std::string* reason);

}  // namespace camlucida
