#!/usr/bin/env bash
# House format and static analysis.  quick: clang-format, rustfmt, shell and Python syntax (part of make test)
#   full: quick, then clang-tidy with .clang-tidy over everything (minutes)     format: rewrite files in place
# Exit status 77 (skipped, for CTest): quick found nothing wrong but a tool is missing. Set CLANG_FORMAT or CLANG_TIDY to use others than version 14.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=${1:-quick}
clang_format=${CLANG_FORMAT:-clang-format-14}
clang_tidy=${CLANG_TIDY:-clang-tidy-14}
status=0
skipped=0

mapfile -d '' -t cpp_files < <(find src apps tests fuzz bench -name target -prune -o \( -name '*.cpp' -o -name '*.h' \) -print0 2>/dev/null | sort -z)
mapfile -d '' -t rust_files < <(find src -name target -prune -o -name '*.rs' -print0 | sort -z)

has() { command -v "$1" >/dev/null 2>&1; }
missing() { echo "lint: $1 is not installed: $2 not checked (tools/bootstrap.sh build installs it)"; skipped=1; }

format() {
  has "$clang_format" || { missing "$clang_format" "C++ format"; return; }
  if [ "$mode" = format ]; then
    "$clang_format" -i "${cpp_files[@]}"
  else
    "$clang_format" --dry-run -Werror "${cpp_files[@]}" || { echo "lint: run make format"; status=1; }
  fi
}

rust_format() {
  rustfmt --version >/dev/null 2>&1 || { missing rustfmt "Rust format"; return; }
  local check=(--check)
  [ "$mode" != format ] || check=()
  rustfmt --edition 2021 "${check[@]}" "${rust_files[@]}" || { echo "lint: run make format"; status=1; }
}

syntax() {
  local file
  for file in .ci/run tools/*.sh; do bash -n "$file" || status=1; done
  # compile() instead of py_compile: no __pycache__ in the tree
  python3 - <<'PYTHON' || status=1
import pathlib, sys
bad = 0
for path in sorted(p for folder in ("tests", "tools", "bench", "examples") for p in pathlib.Path(folder).rglob("*.py")):
    try:
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
    except SyntaxError as error:
        print(f"{path}:{error.lineno}: {error.msg}")
        bad = 1
sys.exit(bad)
PYTHON
}

tidy() {
  has "$clang_tidy" || { missing "$clang_tidy" "C++ with clang-tidy"; return; }
  # A build that compiles files together does not say how each is compiled.
  mkdir -p build
  cmake --preset release -B build/lint -DEVOLORA_UNITY=OFF >build/lint.log || { tail -n 5 build/lint.log >&2; exit 2; }
  printf '%s\n' "${cpp_files[@]}" | grep '\.cpp$' | grep -v '^fuzz/' |
    xargs -P "$(nproc)" -n 4 "$clang_tidy" --quiet -p build/lint 2> >(grep -v 'warnings generated\|Suppressed\|Use -header-filter' >&2) || status=1
}

case $mode in
  quick) format; rust_format; syntax ;;
  full) format; rust_format; syntax; tidy ;;
  format) format; rust_format ;;
  *) echo "lint: error: unknown mode '$mode': expected quick, full or format" >&2; exit 2 ;;
esac
[ $status = 0 ] || exit 1
[ $skipped = 0 ] || exit 77
echo "lint: ${#cpp_files[@]} C++ and ${#rust_files[@]} Rust files are in order ($mode)"
