#pragma once

#include <filesystem>

#include "engine/graph.h"

/// The door between the engine and the readers of other programs' files. In a build with
/// CAMLUCIDA_IMPORT=OFF, which has none of them, no_import.cpp stands behind it and refuses in one
/// line; such a build needs neither protobuf nor a JSON library.
namespace camlucida {

/// Reads a model that is not a .clm. Throws Error as import_onnx does; without import always
/// Error(kUnsupported).
Graph import_model(const std::filesystem::path& path);

}  // namespace camlucida
