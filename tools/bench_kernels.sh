#!/usr/bin/env bash
# Runs every kernel benchmark program of a build folder.  usage: tools/bench_kernels.sh build/release [flags of Google Benchmark]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${1:?usage: tools/bench_kernels.sh BUILD_FOLDER [flags]}
shift
found=0
for program in "$build"/*_benchmark; do
  [ -x "$program" ] || continue
  found=1
  echo "== ${program##*/}"
  "$program" --benchmark_counters_tabular=true "$@"
done
[ $found = 1 ] || { echo "bench: error: no *_benchmark program in $build: run make every-target" >&2; exit 2; }
