#!/usr/bin/env bash
# Runs every fuzz target of a build folder for some seconds over its corpus, starting from fuzz/seeds.  usage: tools/fuzz.sh build/fuzz [SECONDS_EACH]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${1:?usage: tools/fuzz.sh BUILD_FOLDER [SECONDS_EACH]}
seconds=${2:-60}
for program in "$build"/fuzz_*; do
  [ -x "$program" ] && [ -f "$program" ] || continue
  name=${program##*/fuzz_}
  corpus=$build/corpus/$name
  mkdir -p "$corpus" "$build/crashes"
  echo "== $name, $seconds s"
  # 512 MB and 10 s an input: a reader that needs more for a file of at most 64 KiB trusts a size that the file claims.
  status=0
  "$program" "$corpus" "fuzz/seeds/$name" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=512 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$build/crashes/$name-" >"$build/$name.log" 2>&1 || status=$?
  grep -E '^(SUMMARY|==|stat::(number|average|peak)|Done)' "$build/$name.log" || true
  [ $status = 0 ] || { echo "fuzz: error: $name failed; log $build/$name.log, inputs $build/crashes/$name-*" >&2; exit 1; }
done
