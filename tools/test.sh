#!/usr/bin/env bash
# Installs what the build needs (Debian 12; as root or through sudo), builds the release preset and
# runs all tests. Runs again without harm; ends with CTest's summary and its exit status.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
  ca-certificates ccache clang-format cmake g++ git ninja-build pkg-config
  libcli11-dev libeigen3-dev libfmt-dev libhwy-dev libjpeg-dev libonnx-dev libprotobuf-dev
  libstb-dev nlohmann-json3-dev protobuf-compiler
  libbenchmark-dev libgmock-dev libgtest-dev libonnx-testdata
)
missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [[ $status == "install ok installed" ]] || missing+=("$package")
done
if ((${#missing[@]} > 0)); then
  root=()
  ((EUID == 0)) || root=(sudo)
  "${root[@]}" apt-get update
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
fi

jobs=$(nproc)
cmake --preset release
cmake --build --preset release --parallel "$jobs"
ctest --preset release --parallel "$jobs"
