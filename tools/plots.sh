#!/usr/bin/env bash
# Puts the plot library of reports (Observable Plot on D3, both ISC-licensed) into build/plots, from their npm packages, pinned by version and by the
# SHA-256 of every file that is used. Needs npm. Quick when they are there already; exit status 2 if they cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=build/plots
# package@version, file in the package, name here, SHA-256
files='d3@7.9.2 dist/d3.min.js d3.min.js 912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1
d3@7.9.2 LICENSE d3.LICENSE 2a6d2d5f32ba0b755ddbc1c833f766e30cdbe6ebe9a6d4e3e24427721f0b63d3
@observablehq/plot@0.6.17 dist/plot.umd.min.js plot.umd.min.js 4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb
@observablehq/plot@0.6.17 LICENSE plot.LICENSE 4b295e011e0e046170041b5b46f1349393aeceb95797793a55bd21dbb543363a'

check() {  # FOLDER: are all files there with their digests?
  while read -r _ _ name digest; do echo "$digest  $1/$name"; done <<<"$files" | sha256sum --check --status 2>/dev/null
}

fail() { echo "plots: error: $*" >&2; exit 2; }

if check "$target"; then exit 0; fi
command -v npm >/dev/null 2>&1 || fail "npm is missing: install Node.js with npm"
work=$(mktemp -d build/plots-XXXXXX)
trap 'rm -rf "$work"' EXIT
for package in $(cut -d ' ' -f 1 <<<"$files" | uniq); do
  folder=$work/${package//\//+}
  mkdir -p "$folder"
  npm pack --silent --pack-destination "$folder" "$package" >/dev/null || fail "npm pack $package failed"
  tar -xzf "$folder"/*.tgz -C "$folder"
done
mkdir -p "$work/ready"
while read -r package path name _; do cp "$work/${package//\//+}/package/$path" "$work/ready/$name"; done <<<"$files"
check "$work/ready" || fail "the packages' files are not the ones that are pinned in tools/plots.sh"
rm -rf "$target"
mv "$work/ready" "$target"
