#include "engine/error.h"
#include "explain/ifa/analysis_file.h"
#include "explain/similarity/concepts.h"

/// Stands in for the readers of JSON in a build without import (engine/import/importer.h).
namespace camlucida {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path) {
  throw Error(ErrorKind::kUnsupported, "'" + path.string() + "': this build reads no JSON",
              "build Camlucida with CAMLUCIDA_IMPORT=ON");
}

}  // namespace

void save_ifa(const std::filesystem::path& path, const IfaFile&) { refuse(path); }
IfaFile load_ifa(const std::filesystem::path& path) { refuse(path); }
std::shared_ptr<const IfaFile> cached_ifa(const std::filesystem::path& path) { refuse(path); }

std::vector<size_t> arrange_concepts(const std::filesystem::path& tree, std::vector<Concept>&) {
  refuse(tree);
}

}  // namespace camlucida
