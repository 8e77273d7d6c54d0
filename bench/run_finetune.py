"""A whole fine-tuning run, wall clock from command to adapter, ours beside PEFT and mlx-lm: imports, loading, tokenising, training and writing all count.

    python3 bench/run_finetune.py [--data examples/json_extraction] [--samples 100] [--epochs 2] [--models smollm2-135m qwen2.5-0.5b] [--rounds 1] [--bf16] [--with-slow]

Work: so many samples of DATA's train.jsonl (records with prompt and completion, or messages), prompts masked, B4, LoRA rank 8 on all linears of the last 16 layers, Adam.
Ours trains on 4-bit group-64 weights; PEFT (eager and under torch.compile) and mlx-lm (OpenBLAS preloaded) on the same weights expanded to fp32, their fastest way on a
CPU. Ours and PEFT learn the same with the same optimizer, so their losses can be compared; both begin with random adapters of their own. mlx-lm learns what its own mask
says, has an Adam without bias correction, and drops a last partial batch. So that it ends, only some of its steps run and the rest is
extrapolated from their mean: its figure is marked "about". --bf16 adds lower arithmetic on both sides: our recipe bf16 and PEFT with its base in bf16, compared with
each other. --with-slow adds stock mlx-lm on 4-bit weights, extrapolated by tokens from one step of one row of 64, which takes minutes.
"""

import argparse
import json
import math
import os
import pathlib
import random
import statistics
import sys

from children import MLX_PYTHON, PEFT_PYTHON, ROOT, TOKENIZERS, WORK, first_samples, last_json, make_models, run_child, train_evolora
from openblas import openblas_environment

BATCH, LAYERS, RANK, RATE, LONGEST = 4, 16, 8, 1e-4, 1024
STOCK_TOKENS = 64
OURS, OURS_BF16 = "evolora 4-bit", "evolora 4-bit, bf16 arithmetic"


def run_evolora(models, data, arguments, recipe):
    config = WORK / "finetune.yaml"
    config.write_text("optimizer_config: {adam: {bias_correction: true}}\n", encoding="utf-8")  # torch's Adam; mlx-lm's own has none
    run = train_evolora(models / "q4", data, ["--config", config, "--epochs", arguments.epochs, "--batch-size", BATCH, "--num-layers", LAYERS, "--learning-rate", RATE, "--mask-prompt",
                                              "--max-seq-length", LONGEST, "--steps-per-report", math.ceil(arguments.samples / BATCH)], recipe)
    return {"wall_s": run["wall_s"], "peak_mb": run["peak_mb"], "tokens": run["trained_tokens"], "tokens_per_s": run["tokens_per_second"], "training_s": run["training_seconds"], "predicted_s": run["predicted_seconds"],
            "loss": run["train_losses"][-1]["loss"]}


def run_peft(models, data, arguments, *flags):
    output, peak, seconds = run_child([PEFT_PYTHON, "-B", ROOT / "bench/peers/peft_finetune.py", models / "f32", data, "--epochs", arguments.epochs, "--batch-size", BATCH,
                                       "--num-layers", LAYERS, "--rank", RANK, "--learning-rate", RATE, *flags])
    line = last_json(output)
    return {"wall_s": seconds, "peak_mb": peak, "training_s": line["training_s"], "loss": line["train_loss_last_epoch"]}


def run_mlx_lm(models, data, arguments, kind, steps):
    output, peak, seconds = run_child([MLX_PYTHON, "-B", ROOT / "bench/peers/mlxlm_train.py", models / kind, data, "--batch-size", BATCH, "--tokens", LONGEST, "--num-layers", LAYERS,
                                       "--rank", RANK, "--learning-rate", RATE, "--mask-prompt", "--steps", steps], openblas_environment() if kind == "f32" else None)
    line = last_json(output)
    total = math.floor(arguments.samples / BATCH) * arguments.epochs
    return {"wall_s": seconds - line["steps_s"] + total * line["mean_step_s"], "peak_mb": peak, "training_s": total * line["mean_step_s"], "loss": line["loss"], "extrapolated_from_steps": steps}


def run_stock_mlx_lm(models, data):
    """One short step, for a whole run would take a day: seconds to start and seconds a token, from which the table makes the whole."""
    output, peak, seconds = run_child([MLX_PYTHON, "-B", ROOT / "bench/peers/mlxlm_train.py", models / "q4", data, "--batch-size", 1, "--tokens", STOCK_TOKENS, "--num-layers", LAYERS,
                                       "--rank", RANK, "--learning-rate", RATE, "--steps", 1, "--skip", 0])
    line = last_json(output)
    if not STOCK_TOKENS - 1 <= line["tokens_per_step"] <= STOCK_TOKENS:  # learned ones, and the whole row is learned
        raise RuntimeError(f"expected a sample of {STOCK_TOKENS} tokens or more first, got {line['tokens_per_step']}")
    return {"measured_s": seconds, "start_s": seconds - line["steps_s"], "s_per_token": line["steps_s"] / STOCK_TOKENS, "extrapolated_from_steps": 1}


def add_whole_seconds(results):
    """To runs of which a token was measured: what all the tokens of our run beside it would take."""
    for runs in results.values():
        for run, ours in zip(runs, results[OURS]):
            if "s_per_token" in run:
                run["wall_s"] = run["start_s"] + run["s_per_token"] * ours["tokens"]


def contestants(models, data, arguments):
    names = {
        OURS: lambda: run_evolora(models, data, arguments, None),
        "PEFT fp32": lambda: run_peft(models, data, arguments),
        "PEFT fp32, torch.compile": lambda: run_peft(models, data, arguments, "--compile"),
        "mlx-lm fp32, OpenBLAS": lambda: run_mlx_lm(models, data, arguments, "f32", arguments.mlx_steps),
    }

    def with_recipe(path):
        return lambda: run_evolora(models, data, arguments, json.loads(pathlib.Path(path).read_text(encoding="utf-8")))

    if arguments.bf16:
        names[OURS_BF16] = with_recipe(ROOT / "bench/recipes/bf16.json")
        names["PEFT bf16"] = lambda: run_peft(models, data, arguments, "--bf16")
        names["PEFT bf16, torch.compile"] = lambda: run_peft(models, data, arguments, "--bf16", "--compile")
    for path in arguments.recipes:
        names[f"evolora, {pathlib.Path(path).stem}"] = with_recipe(path)
    if arguments.with_slow:
        names["mlx-lm 4-bit, stock"] = lambda: run_stock_mlx_lm(models, data)
    return names


def table(shape, arguments, results):
    def ours(name):  # of the same arithmetic
        return results[OURS_BF16 if name.startswith("PEFT bf16") else OURS]

    lines = [f"{shape}, {arguments.samples} samples of {pathlib.Path(arguments.data).name}, {arguments.epochs} epochs, B{BATCH}, prompts masked, {arguments.rounds} rounds, {os.cpu_count()} CPUs", "",
             "| | whole run s | ours is faster by | peak MB | training loss of the last epoch |", "|---|---|---|---|---|"]
    for name, runs in results.items():
        about = "about " if "extrapolated_from_steps" in runs[0] else ""
        seconds = ", ".join(f"{r['wall_s']:.0f}" for r in runs)
        ratio = "" if name == OURS else f"{about}{statistics.median(r['wall_s'] / o['wall_s'] for o, r in zip(ours(name), runs)):.1f} x"
        loss = "" if about else f"{statistics.median(r['loss'] for r in runs):.4f}"
        peak = "" if "s_per_token" in runs[0] else f"{statistics.median(r['peak_mb'] for r in runs):.0f}"
        lines.append(f"| {name} | {about}{seconds} | {ratio} | {peak} | {loss} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(ROOT / "examples/json_extraction"))
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--models", nargs="+", choices=list(TOKENIZERS), default=list(TOKENIZERS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--mlx-steps", type=int, default=6, help="steps of mlx-lm that really run")
    parser.add_argument("--recipes", nargs="*", default=[], help="recipe files: each is one more contestant")
    parser.add_argument("--only", nargs="*", help="contestants to run, by name")
    parser.add_argument("--bf16", action="store_true", help="also in bf16: ours and PEFT")
    parser.add_argument("--with-slow", action="store_true", help="also stock mlx-lm on 4-bit weights, one short step (minutes)")
    parser.add_argument("--out", default=str(WORK / "finetune.json"))
    arguments = parser.parse_args()
    data = first_samples(arguments.data, WORK / "samples", arguments.samples)
    everything = {}
    for shape in arguments.models:
        names = contestants(make_models(shape), data, arguments)
        if arguments.only:
            names = {name: run for name, run in names.items() if name in arguments.only or name in (OURS, OURS_BF16)}
        results = {name: [] for name in names}
        for number in range(arguments.rounds):
            order = list(names)
            random.Random(f"{shape} {number}").shuffle(order)
            for name in order:
                run = names[name]()
                results[name].append(run)
                text = f"{run['wall_s']:.1f} s, {run['peak_mb']:.0f} MB" if "wall_s" in run else f"{run['measured_s']:.1f} s for a start and one short step"
                print(f"  round {number + 1}: {name}: {text}", file=sys.stderr, flush=True)
        add_whole_seconds(results)
        everything[shape] = results
        print(table(shape, arguments, results), flush=True)
        print()
    pathlib.Path(arguments.out).write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    print(f"bench: all figures are in {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
