#include "engine/closest_names.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

namespace camlucida {
namespace {

int edit_distance(const std::string& a, const std::string& b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitution = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substitution, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> closest_names(const std::string& name,
                                       const std::vector<std::string>& candidates, size_t count) {
  std::vector<std::pair<int, std::string>> ranked;
  for (const std::string& candidate : candidates) {
    const bool contains = candidate.find(name) != std::string::npos;
    ranked.emplace_back(contains ? 0 : edit_distance(name, candidate), candidate);
  }
  const size_t shown = std::min(count, ranked.size());
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(shown),
                    ranked.end());
  std::vector<std::string> names;
  for (size_t i = 0; i < shown; ++i) names.push_back(ranked[i].second);
  return names;
}

std::string closest_names_hint(const std::string& name,
                               const std::vector<std::string>& candidates) {
  std::string hint = "closest names:";
  for (const std::string& candidate : closest_names(name, candidates)) {
    hint += " '" + candidate + "'";
  }
  return hint;
}

}  // namespace camlucida
