#!/usr/bin/env bash
# From nothing to a first explanation (Debian 12; as root or through sudo): installs what the build
# needs, builds the program, classifies a picture with the network that comes with the project and
# explains it. Runs again without harm.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install_packages.sh build
cmake --preset release -DCAMLUCIDA_TESTS=OFF > /dev/null
cmake --build --preset release --parallel "$(nproc)" --target camlucida_program

out=quickstart zoo=model_zoo/menagerie
program=build-release/bin/camlucida
$program menagerie --seed 10000009 --count 1 --size 512 -o $out --force
$program explain -m $zoo/classifier/model.onnx $out/*-10000009.png --format png,truth,json \
  -o $out --force
printf '\nThe picture, what is in it, and why the network says so:\n'
printf '  %s\n' "$PWD/$out"/*.truth.png
