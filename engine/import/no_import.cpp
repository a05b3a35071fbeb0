#include "engine/error.h"
#include "engine/import/importer.h"
#include "engine/manifest.h"

/// Stands in for everything else in this folder in a build without import.
namespace camlucida {
namespace {

[[noreturn]] void refuse_manifest(const std::filesystem::path& path) {
  throw Error(ErrorKind::kUnsupported,
              "cannot read manifest '" + path.string() + "': this build reads no JSON",
              "convert the model with it: `camlucida convert`");
}

}  // namespace

ImportedModel import_model(const std::filesystem::path& path, const std::filesystem::path&) {
  throw Error(ErrorKind::kUnsupported,
              "cannot read '" + path.string() + "': this build reads .clm only",
              "convert it with `camlucida convert`");
}

Manifest Manifest::parse(const std::string&, const std::filesystem::path& path) {
  refuse_manifest(path);
}

Manifest Manifest::load(const std::filesystem::path& path) { refuse_manifest(path); }

}  // namespace camlucida
