#!/usr/bin/env bash
# The demonstration: fine-tunes SmolLM2-135M-Instruct (4 bit) on examples/json_extraction and shows base and tuned answers side by side. Run by `make demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

evolora=build/release/evolora
model=build/models/smollm2-135m-mlx
adapter=build/demo/adapter
data=examples/json_extraction

started=$SECONDS
tools/models.sh smollm2-135m-mlx
rm -rf build/demo
mkdir -p build/demo
echo
"$evolora" train --config "$data/config.yaml" --model "$model" --data "$data" --adapter-path "$adapter"
echo
"$evolora" generate --model "$model" --adapter-path "$adapter" --prompts-file "$data/prompts.jsonl" --compare-base --max-tokens 80
echo
python3 - "$adapter/run.json" $((SECONDS - started)) <<'PYTHON'
import json, sys

run = json.load(open(sys.argv[1], encoding="utf-8"))
print(f"demo: {sys.argv[2]} s in all (training {run['wall_seconds']:.0f} s at {run['tokens_per_second']:.0f} tokens/s), peak memory {run['peak_rss_bytes'] / 1e6:.0f} MB, "
      f"validation loss {run['val_loss_before']:.3f} -> {run['val_loss']:.3f}")
PYTHON
echo "demo: the adapter is in $adapter; mlx-lm loads it too"
