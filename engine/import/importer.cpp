#include "engine/import/importer.h"

#include "engine/import/onnx.h"

namespace camlucida {

Graph import_model(const std::filesystem::path& path) { return import_onnx(path); }

}  // namespace camlucida
