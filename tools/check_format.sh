#!/usr/bin/env bash
# Fails if a source file is not formatted as .clang-format says (clang-format 14).
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files -z '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 --no-run-if-empty \
  clang-format --dry-run --Werror
echo "format: ok"
