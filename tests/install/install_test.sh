#!/usr/bin/env bash
# Installs a build into an empty folder, builds a program against it the way a user would, runs it.
# usage: install_test.sh CMAKE BUILD_FOLDER CONSUMER_FOLDER PROJECT_FOLDER
set -euo pipefail
cmake=$1 build=$2 consumer=$3 project=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$build" --prefix "$work/prefix" > "$work/install.log"
"$cmake" -S "$consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCMAKE_BUILD_TYPE=Release > "$work/configure.log"
"$cmake" --build "$work/build" > "$work/build.log" || { cat "$work/build.log"; exit 1; }
"$work/build/consumer" "$project/tests/shapes/shapes.onnx" \
  "$project/tests/shapes/examples/star.png" "$work/star.png"
test -s "$work/star.png"
"$work/prefix/bin/camlucida" version
"$work/prefix/bin/camlucida" zoo list --json > "$work/zoo.json"
grep -q "$work/prefix/share/camlucida/model_zoo/menagerie/classifier" "$work/zoo.json"
