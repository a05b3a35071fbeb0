#!/usr/bin/env bash
# Installs the Debian 12 packages that are missing, as root or through sudo.
# usage: install_packages.sh build|test     (test includes build)
set -euo pipefail

packages=(
  ccache cmake g++ ninja-build pkg-config libcli11-dev libcurl4-openssl-dev
  libeigen3-dev libfmt-dev libhwy-dev libjpeg-dev libonnx-dev
  libprotobuf-dev libstb-dev nlohmann-json3-dev protobuf-compiler
)
if [[ ${1:-build} == test ]]; then
  packages+=(
    clang-19 clang-format git libbenchmark-dev libclang-rt-19-dev libgmock-dev libgtest-dev
    libonnx-testdata
  )
fi
missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [[ $status == "install ok installed" ]] || missing+=("$package")
done
((${#missing[@]} > 0)) || exit 0
root=()
((EUID == 0)) || root=(sudo)
"${root[@]}" apt-get update
"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends "${missing[@]}"
