#!/usr/bin/env bash
# Installs what the tests need (Debian 12; as root or through sudo), builds the release preset and
# runs all tests. Runs again without harm; ends with CTest's summary and its exit status.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install_packages.sh test
cmake --preset release -DCAMLUCIDA_TESTS=ON
cmake --build --preset release --parallel "$(nproc)"
ctest --preset release --parallel "$(nproc)"
