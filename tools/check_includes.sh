#!/usr/bin/env bash
# Fails if an #include goes against the direction tools -> explain -> engine <- layers, and
# tools -> model_zoo -> explain.
set -euo pipefail
cd "$(dirname "$0")/.."
wrong=0
for rule in 'engine:layers|explain|tools|model_zoo' 'layers:explain|tools|model_zoo' \
  'explain:layers|tools|model_zoo' 'model_zoo:layers|tools'; do
  room=${rule%%:*} forbidden=${rule#*:}
  if git grep -nE "^ *# *include *[\"<](camlucida/)?($forbidden)/" -- "$room"; then
    echo "$room/ must not include from ${forbidden//|/, }" >&2
    wrong=1
  fi
done
((wrong == 0)) && echo "include direction: ok"
exit "$wrong"
