#include "engine/precision.h"

#include "engine/error.h"

namespace camlucida {

std::string_view name_of(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return "fp32";
    case Precision::kTf32:
      return "tf32";
    case Precision::kFp16:
      return "fp16";
    case Precision::kBf16:
      return "bf16";
  }
  return "unknown";
}

Precision precision_named(const std::string& name) {
  for (const Precision precision :
       {Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16}) {
    if (name == name_of(precision)) return precision;
  }
  throw Error(ErrorKind::kUsage, "unknown precision '" + name + "'",
              "choose fp32, tf32, fp16 or bf16");
}

}  // namespace camlucida
