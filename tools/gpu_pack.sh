#!/usr/bin/env bash
# Makes a folder, and an archive of it, that a machine with an NVIDIA GPU but without the packages of
# the build can run tools/gpu_check.sh from: the program and all tests of the GPU backend for one GPU
# architecture, the shared libraries they are linked to but for glibc's, scripts and small networks.
# That machine needs Python and glibc as new as here; what belongs to cuDNN 9, cuBLAS 13 and cuSOLVER
# 12 is skipped where they are missing (those of the toolkit serve, or what pip installs for PyTorch).
#
# usage: gpu_pack.sh OUTDIR [--architecture 90] [--zoo DIR [--networks A,B,...]] [--limit 40]
#
#   --zoo       folder with zoo/ and golden/: networks and golden outputs to take along
#   --networks  which of them [resnet20_cifar10,squeezenet1_1]
#   --limit     fails if the archive OUTDIR.tar.xz is larger, in MiB
#
# On the other machine: tar xf OUTDIR.tar.xz && OUTDIR/gpu_check.sh --out results
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

out="" zoo="" limit=40 architecture=90 networks=resnet20_cifar10,squeezenet1_1
while (($# > 0)); do
  case $1 in
    --architecture) architecture=${2:?}; shift 2 ;;
    --zoo) zoo=$(cd "${2:?}" && pwd); shift 2 ;;
    --networks) networks=${2:?}; shift 2 ;;
    --limit) limit=${2:?}; shift 2 ;;
    -*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
    *) out=$1; shift ;;
  esac
done
[[ -n $out ]] || { echo "gpu_pack: OUTDIR is missing; see --help" >&2; exit 2; }
[[ ! -e $out ]] || { echo "gpu_pack: $out exists; name a new folder" >&2; exit 2; }
out=$(realpath -m "$out")

cd "$root"
cmake --preset gpu-pack -DCMAKE_CUDA_ARCHITECTURES="$architecture-real" > /dev/null
cmake --build --preset gpu-pack --parallel "$(nproc)"
build=build-gpu-pack/bin
mkdir -p "$out/lib"
for program in camlucida gpu_tests; do
  strip -s -o "$out/$program" "$build/$program"
  # What the loader finds here, without glibc's parts.
  while read -r name _ path _; do
    case $name in
      linux-vdso* | */ld-linux* | libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so*) ;;
      *) strip -s -o "$out/lib/$name" "$path" ;;
    esac
  done < <(ldd "$build/$program")
done

cp tools/gpu_check.sh tools/gpu_check.py tools/gpu_report.py tools/map_agreement.py \
  bench/peers/{gpu,explain,export_models}.py "$out"
mkdir -p "$out/model_zoo"
cp -r model_zoo/public "$out/model_zoo"
mkdir -p "$out/model_zoo/menagerie"
cp -r model_zoo/menagerie/{classifier,embedding,shortcut,examples} "$out/model_zoo/menagerie"
if [[ -n $zoo ]]; then
  mkdir -p "$out/shared/golden/"{maps,logits} "$out/shared/zoo"
  (
    cd "$zoo"
    for network in ${networks//,/ }; do
      files=(zoo/labels "zoo/$network")
      [[ ! -d golden/maps/$network ]] || files+=("golden/maps/$network")
      # The outputs, and the tensors and pictures that they belong to.
      index=golden/logits/$network.json
      if [[ -e $index ]]; then
        files+=("$index")
        mapfile -t -O "${#files[@]}" files < <(python3 -c '
import json, sys
index = json.load(open(sys.argv[1]))
for file in index["files"]:
    print("golden/logits/" + file["file"])
for item in index["items"]:
    if "input" in item:
        print("golden/logits/" + item["input"])
    print("zoo/" + item["image"])' "$index")
      fi
      cp -r --parents --no-preserve=mode "${files[@]}" "$out/shared"
    done
  )
fi

tar -C "$(dirname "$out")" -cf - "$(basename "$out")" | xz -T0 -3 > "$out.tar.xz"
size=$(du -sm "$out.tar.xz" | cut -f1)
echo "$out.tar.xz: $size MiB, at most $limit; unpacked $(du -sm "$out" | cut -f1)"
((size <= limit)) || { du -ah "$out" | sort -h | tail -n 8 >&2; exit 1; }
