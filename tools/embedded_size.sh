#!/usr/bin/env bash
# Builds the preset "embedded" and fails if its program is over 4 MB or needs a shared library.
set -euo pipefail
cd "$(dirname "$0")/.."

limit=$((4 * 1000 * 1000))
cmake --preset embedded > /dev/null
cmake --build --preset embedded --target embedded
program=build-embedded/bin/embedded
if ldd "$program" > /dev/null 2>&1; then echo "it needs shared libraries" >&2; exit 1; fi
size=$(stat --printf=%s "$program")
echo "$program: $size bytes, at most $limit"
((size <= limit))
