#!/usr/bin/env bash
# Everything there is to see on a machine with an NVIDIA GPU, in under 8 minutes: layers, methods and
# golden maps against the processor, the same run twice, compute-sanitizer, and benchmarks against
# PyTorch. Writes OUT/gpu_check.json, OUT/gpu_check.md (tables) and OUT/gpu_check.log, anew after
# every part, so that what was measured is kept whatever happens.
#
# usage: gpu_check.sh [--binaries DIR] [--out DIR] [--zoo DIR] [--device cuda:0] [--parts A,B,...]
#                     [--methods A,B,...] [--minutes 8] [--cache DIR] [--dry-run]
#                     [-- ARGUMENTS OF bench/peers/gpu.py]
#
#   --binaries  folder with camlucida and the tests, as tools/gpu_pack.sh makes it; default: the
#               folder of this script if it is such a one, else the project is built here (CMake, nvcc
#               and the packages of docs/gpu.md) in build-cuda, which counts as part of the time
#   --zoo       folder with networks and golden outputs, for the golden maps
#   --device    emulated: what can be had without a GPU
#   --parts     of facts, layers, methods, golden, determinism, sanitizer, bench; the last one gets
#               all the time that is left. Two runs of four minutes do the work of one of eight.
#   --methods   whose maps are compared, as for `camlucida explain --method` [all; all-gradient if the
#               device is emulated, which is slow]
#   --cache     folder for the results of tuning, to go on with those of an earlier run [fresh]
#
# Exit status: 0 all parts passed; 1 a part failed; 2 wrong usage or no build; 4 nothing failed, but
# a part was left out or did not get to its end; 77 there is no GPU.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
started=$SECONDS minutes=8 binaries="" build=yes
arguments=()
while (($# > 0)); do
  case $1 in
    --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --binaries) binaries=${2:?--binaries needs a folder}; shift 2 ;;
    --minutes) minutes=${2:?--minutes needs a number}; shift 2 ;;
    --) break ;;
    --dry-run) build=no; arguments+=("$1"); shift ;;
    *) arguments+=("$1"); shift ;;
  esac
done

if [[ -z $binaries && -x $here/camlucida ]]; then binaries=$here; fi
if [[ -z $binaries ]]; then
  binaries=$here/../build-cuda/bin
  if [[ $build == yes ]]; then
    targets=(camlucida_program)
    for test in "$here"/../tests/{gpu_*,dnn_*,golden_logits,golden_maps}_test.cpp; do
      [[ ! -e $test ]] || targets+=("$(basename "$test" .cpp)")
    done
    log=$(mktemp)
    if ! (
      cd "$here/.."
      cmake --preset cuda -DCMAKE_CUDA_ARCHITECTURES=native
      cmake --build --preset cuda --parallel "$(nproc)" --target "${targets[@]}"
    ) > "$log" 2>&1; then
      tail -n 20 "$log" >&2
      echo "gpu_check: the build failed, log in $log; --binaries takes what gpu_pack.sh made" >&2
      exit 2
    fi
    rm -f "$log"
  fi
fi

# CUDA's libraries: those that pip installed for PyTorch, else those of the toolkit.
libraries=$("$python" - << 'END'
import glob, site, sys
folders = list(sys.path) + site.getsitepackages() + [site.getusersitepackages()]
found = [lib for folder in folders for lib in glob.glob(folder + "/nvidia/*/lib")]
print(":".join(dict.fromkeys(found + glob.glob("/usr/local/cuda/lib64"))))
END
)
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
left=$("$python" -c "print(max($minutes - ($SECONDS - $started) / 60, 0.5))")
exec "$python" "$here/gpu_check.py" --binaries "$binaries" --minutes "$left" \
  "${arguments[@]+"${arguments[@]}"}" "$@"
