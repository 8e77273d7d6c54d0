"""Peak memory of our training by recipe, predicted and measured: the default, the smallest that --memory-limit finds, and everything saved in fp32.

    python3 bench/memory.py [--models qwen2.5-0.5b smollm2-135m] [--tokens 512] [--out build/bench/memory.json]

Work: one step of 4 samples, random text, rank 8 on all linears of the last 16 layers, 4-bit group-64 weights. Peak: the process's high-water mark, read by the parent.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

from children import EVOLORA, TOKENIZERS, WORK, make_models, train_evolora, write_full_rows

FASTEST = {"saved_activations": "fp32", "recompute": "nothing", "head_rows_per_chunk": 256, "micro_batch_tokens": 0}


def least_megabytes(model, data, flags):
    """What the planner says when nothing fits."""
    refused = subprocess.run([EVOLORA, "train", "--model", model, "--data", data, "--train", "--adapter-path", WORK / "adapter", "--memory-limit", "1MB", *map(str, flags)],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    found = re.search(r"it needs ([0-9]+) MB", refused.stderr)
    if not found:
        raise RuntimeError(f"no least memory in: {refused.stderr.strip()}")
    return float(found.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(TOKENIZERS), default=list(reversed(TOKENIZERS)))
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--out", default=str(WORK / "memory.json"))
    arguments = parser.parse_args()
    data = write_full_rows(WORK / f"rows{arguments.tokens}", arguments.tokens)
    flags = ["--batch-size", 4, "--num-layers", 16, "--iters", 1, "--max-seq-length", arguments.tokens + 1]
    everything = {}
    print("| recipe | predicted MB | measured peak MB | arena planned = used |\n|---|---|---|---|")
    for shape in arguments.models:
        model = make_models(shape) / "q4"
        limit = ["--memory-limit", f"{least_megabytes(model, data, flags) + 1:.0f}MB"]
        for name, more, recipe in (("default", [], None), ("smallest", limit, None), ("everything in fp32", [], FASTEST)):
            run = train_evolora(model, data, [*flags, *more], recipe)
            everything[f"{shape} {name}"] = run
            exact = run["planned_arena_bytes"] == run["peak_arena_bytes"]
            print(f"| {shape}, {name} | {run['expected_peak_rss_bytes'] / 1e6:.0f} | {run['peak_mb']:.0f} | {'yes' if exact else 'no'} |", flush=True)
    pathlib.Path(arguments.out).write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    print(f"bench: all figures are in {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
