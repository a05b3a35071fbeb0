#pragma once

#include <string>
#include <vector>

namespace camlucida {

/// The names that were probably meant by `name`, best first, at most `count`: those that contain
/// it, then those with the fewest letters to change, add or remove (Levenshtein distance); equals
/// in alphabetical order.
std::vector<std::string> closest_names(const std::string& name,
                                       const std::vector<std::string>& candidates,
                                       size_t count = 3);

/// "closest names: 'a' 'b' 'c'", for the hint of an error.
std::string closest_names_hint(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace camlucida
