#pragma once

// The generated classes of the ONNX schema. Private to the importer and its tests.
#include "onnx_schema.pb.h"

namespace camlucida {
namespace schema = ::camlucida::onnx_schema;
}  // namespace camlucida
