#!/usr/bin/env bash
# From nothing to a first explanation (Debian 12; as root or through sudo): installs what the build
# needs, builds the program, classifies a picture with the network that comes with the project and
# explains it. Runs again without harm.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install_packages.sh build
cmake --preset release -DCAMLUCIDA_TESTS=OFF > /dev/null
cmake --build --preset release --parallel "$(nproc)" --target camlucida_program

out=quickstart
shapes=model_zoo/shapes
build-release/bin/camlucida explain -m $shapes/shapes.onnx $shapes/examples/two_objects.png \
  -c star -c heart -o $out --force
printf '\nWhy "star" and why "heart": look at\n'
printf '  %s\n' "$PWD/$out"/two_objects.gradcam.*.png
