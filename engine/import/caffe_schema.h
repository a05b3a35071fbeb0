#pragma once

// The generated classes of engine/import/caffe.proto. Private to the importer and its tests.
#include "engine/import/caffe.pb.h"

namespace camlucida {
namespace caffe = ::camlucida::caffe_schema;
}  // namespace camlucida
