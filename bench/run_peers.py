"""Training steps of our engine beside PEFT on torch and mlx-lm: the same shapes, the same minutes, a fresh process each time, order shuffled in every round.

    python3 bench/run_peers.py [--models smollm2-135m qwen2.5-0.5b] [--rounds 2] [--tokens 256] [--with-slow] [--out build/bench/peers.json]

Work: B4 x T256, LoRA rank 8 on all linears of the last 16 layers, Adam, 4-bit group-64 weights for ours; every position is learned. Losses are not compared here.
Tokens per second: ours over the whole training loop with data preparation and the first step; the peers' is the median step after warm-up without
data preparation (in their favour). Peak memory is the high-water mark of the process, which the parent reads at its end.
Peers at their best: PEFT in fp32 on all CPUs, also under torch.compile; mlx-lm on fp32 dense weights with OpenBLAS preloaded (its own BLAS and its 4-bit
kernels are scalar on x86: --with-slow shows that too).
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import sys

from children import MLX_PYTHON, PEFT_PYTHON, ROOT, TOKENIZERS, WORK, last_json, make_models, run_child, train_evolora, write_full_rows
from openblas import openblas_environment

BATCH, LAYERS, RANK = 4, 16, 8


def run_evolora(models, data, tokens, recipe=None, extra=()):
    steps = max(3, 2048 // tokens)
    run = train_evolora(models / "q4", data, ["--batch-size", BATCH, "--num-layers", LAYERS, "--iters", steps, "--max-seq-length", tokens + 1,
                                              "--steps-per-report", steps, *extra], recipe)
    return {
        "tokens_per_s": steps * BATCH * tokens / run["training_seconds"],  # of the training loop; tokens are counted as for the peers: targets
        "peak_mb": run["peak_mb"],
        "share_of_peak": run["necessary_flops"] / run["training_seconds"] / run["fma_peak_flops"] if run.get("fma_peak_flops") else None,
        "planned_arena_mb": run["planned_arena_bytes"] / 1e6,
        "arena_mb": run["peak_arena_bytes"] / 1e6,
        "expected_peak_mb": run["expected_peak_rss_bytes"] / 1e6,
    }


def run_peft(models, tokens, compiled):
    extra = ["--compile", "--steps", 8, "--skip", 3] if compiled else []
    output, peak, _ = run_child([PEFT_PYTHON, "-B", ROOT / "bench/peers/peft_train.py", models / "f32", "--batch-size", BATCH, "--tokens", tokens,
                                 "--num-layers", LAYERS, "--rank", RANK, *extra])
    return {**last_json(output), "peak_mb": peak}


def run_mlx_lm(models, data, tokens, kind):
    output, peak, _ = run_child([MLX_PYTHON, "-B", ROOT / "bench/peers/mlxlm_train.py", models / kind, data, "--batch-size", BATCH, "--tokens", tokens,
                                 "--num-layers", LAYERS, "--rank", RANK, "--steps", 3 if kind == "f32" else 2], openblas_environment())
    return {**last_json(output), "peak_mb": peak}


def contestants(models, tokens, with_slow):
    data = write_full_rows(WORK / f"rows{tokens}", tokens)
    names = {
        "evolora 4-bit": lambda: run_evolora(models, data, tokens),
        "PEFT fp32": lambda: run_peft(models, tokens, False),
        "PEFT fp32, torch.compile": lambda: run_peft(models, tokens, True),
        "mlx-lm fp32, OpenBLAS": lambda: run_mlx_lm(models, data, tokens, "f32"),
    }
    if with_slow:
        names["mlx-lm 4-bit"] = lambda: run_mlx_lm(models, data, tokens, "q4")
    return names


def measure(shape, arguments):
    names = contestants(make_models(shape), arguments.tokens, arguments.with_slow)
    results = {name: [] for name in names}
    for number in range(arguments.rounds):
        order = list(names)
        random.Random(f"{shape} {number}").shuffle(order)
        for name in order:
            results[name].append(names[name]())
            print(f"  round {number + 1}: {name}: {results[name][-1]['tokens_per_s']:.1f} tokens/s, {results[name][-1]['peak_mb']:.0f} MB", file=sys.stderr, flush=True)
    return results


def table(shape, tokens, results):
    """A Markdown table; ratios are medians of the ratios inside each round."""
    ours = results["evolora 4-bit"]
    shares = [r["share_of_peak"] for r in ours if r["share_of_peak"]]
    share = f", our necessary operations reach {100 * statistics.median(shares):.0f} % of the FMA peak" if shares else ""
    lines = [f"{shape}, B{BATCH} x T{tokens}, last {LAYERS} layers, rank {RANK}, {len(ours)} rounds, {os.cpu_count()} CPUs{share}", "",
             "| | tokens/s (each round) | ours is faster by | peak MB | ours of its memory |", "|---|---|---|---|---|"]
    for name, runs in results.items():
        speed = ", ".join(f"{r['tokens_per_s']:.0f}" if r["tokens_per_s"] >= 20 else f"{r['tokens_per_s']:.1f}" for r in runs)
        peak = statistics.median(r["peak_mb"] for r in runs)
        faster = statistics.median(o["tokens_per_s"] / r["tokens_per_s"] for o, r in zip(ours, runs))
        memory = statistics.median(o["peak_mb"] / r["peak_mb"] for o, r in zip(ours, runs))
        ratios = ("", "") if runs is ours else (f"{faster:.2f} x", f"{100 * memory:.0f} %")
        lines.append(f"| {name} | {speed} | {ratios[0]} | {peak:.0f} | {ratios[1]} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(TOKENIZERS), default=list(TOKENIZERS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=256, help="tokens of each of the four rows")
    parser.add_argument("--with-slow", action="store_true", help="also mlx-lm on 4-bit weights (minutes per step on a CPU)")
    parser.add_argument("--out", default=str(WORK / "peers.json"))
    arguments = parser.parse_args()
    everything = {}
    for shape in arguments.models:
        print(f"bench: {shape}, {arguments.rounds} rounds", file=sys.stderr)
        everything[shape] = measure(shape, arguments)
        print(table(shape, arguments.tokens, everything[shape]), flush=True)
        print()
    pathlib.Path(arguments.out).write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    print(f"bench: all figures are in {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
