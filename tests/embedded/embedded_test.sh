#!/usr/bin/env bash
# The example program of examples/embedded: static, without protobuf and JSON, and it writes the very
# overlay that `camlucida explain` writes. Then: the project can be configured without both.
# usage: embedded_test.sh EMBEDDED CAMLUCIDA CMAKE PROJECT_FOLDER
set -euo pipefail
embedded=$1 camlucida=$2 cmake=$3 project=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*" >&2; exit 1; }

model=$work/shapes.clm picture=$project/tests/shapes/examples/star.png
"$camlucida" convert "$project/tests/shapes/shapes.onnx" "$model"
"$embedded" "$model" "$picture" "$work/overlay.png" | tee "$work/ranking"
head -n 1 "$work/ranking" | grep -q "star" || fail "the picture is not recognised"
"$camlucida" explain --model "$model" "$picture" --format png --output-dir "$work/maps" --quiet
cmp "$work/overlay.png" "$work"/maps/*.png

code=0
"$embedded" "$project/tests/shapes/shapes.onnx" "$picture" "$work/none.png" 2> "$work/refusal" ||
  code=$?
cat "$work/refusal"
((code == 4)) || fail "exit code $code for an ONNX model"
[[ $(wc -l < "$work/refusal") == 1 ]] || fail "the refusal is not one line"
grep -q "reads .clm only; convert it" "$work/refusal" || fail "the refusal does not say what to do"
[[ ! -e $work/none.png ]] || fail "a refused model left a file behind"

if ldd "$embedded" > /dev/null 2>&1; then fail "the program needs shared libraries"; fi
# Names of types outlive stripping.
if grep -aqE '8nlohmann|8protobuf' "$embedded"; then fail "it holds protobuf or JSON"; fi
stat --printf='%s bytes\n' "$embedded"

"$cmake" -S "$project" -B "$work/off" -DCAMLUCIDA_IMPORT=OFF \
  -DCMAKE_DISABLE_FIND_PACKAGE_Protobuf=ON -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON \
  > "$work/configure" || { cat "$work/configure"; exit 1; }
