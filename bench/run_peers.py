"""Our engine beside PEFT on torch and mlx-lm: the same shapes, the same minutes, a fresh process each time, order shuffled in every round.

    python3 bench/run_peers.py [--models smollm2-135m qwen2.5-0.5b] [--rounds 2] [--with-slow] [--out build/bench/peers.json]

Work: B4 x T256, LoRA rank 8 on all linears of the last 16 layers, Adam, 4-bit group-64 weights for ours. Random weights: speed and memory, no quality.
Tokens per second: ours over the whole training loop with data preparation and the first step; the peers' is the median step after warm-up without
data preparation (in their favour). Peak memory is the high-water mark of the process, which the parent reads at its end.
Peers at their best: PEFT in fp32, also under torch.compile; mlx-lm on fp32 dense weights with OpenBLAS preloaded (its own BLAS and its 4-bit kernels are
scalar on x86: --with-slow shows that too).
"""

import argparse
import glob
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVOLORA = ROOT / "build/release/evolora"
MLX_PYTHON = ROOT / "build/python/bin/python"
PEFT_PYTHON = ROOT / "build/peers/bin/python"
WORK = ROOT / "build/bench"
BATCH, TOKENS, LAYERS, RANK = 4, 256, 16, 8
TOKENIZERS = {"smollm2-135m": ROOT / "build/models/smollm2-135m-mlx", "qwen2.5-0.5b": ROOT / "build/models/qwen2.5-tokenizer"}
WORDS = "time river stone window market engine summer letter garden silver morning paper bridge winter number forest kitchen signal copper island".split()


def write_data(folder, rows=64, words=400):
    """train.jsonl whose rows all have far more than TOKENS + 1 tokens: cut to that, every row is full and nothing is padding. No valid.jsonl: no validation."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(0)
    lines = (json.dumps({"text": " ".join(generator.choices(WORDS, k=words))}) for _ in range(rows))
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_child(argv, environment=None):
    """(stdout, peak memory in MB, seconds) of a fresh process; its peak is what the kernel says at its end."""
    log = WORK / "last-child.log"
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as errors:
        child = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True,
                                 env={**os.environ, **(environment or {})}, cwd=ROOT)
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
        raise RuntimeError(f"exit status {child.returncode}: {' '.join(map(str, argv))}\n{output[-500:]}\n{tail}")
    return output, usage.ru_maxrss * 1024 / 1e6, time.monotonic() - started


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


def run_evolora(models, data, steps=8):
    adapter = WORK / "adapter"
    _, peak, _ = run_child([
        EVOLORA, "train", "--model", models / "q4", "--data", data, "--train", "--adapter-path", adapter, "--batch-size", BATCH, "--num-layers", LAYERS,
        "--iters", steps, "--max-seq-length", TOKENS + 1, "--steps-per-report", steps,
    ])
    run = json.loads((adapter / "run.json").read_text(encoding="utf-8"))
    seconds = run["trained_tokens"] / run["tokens_per_second"]  # of the training loop; tokens are counted here as for the peers: targets
    return {"tokens_per_s": steps * BATCH * TOKENS / seconds, "peak_mb": peak, "planned_arena_mb": run["planned_arena_bytes"] / 1e6}


def run_peft(models, compiled):
    extra = ["--compile", "--steps", 8, "--skip", 3] if compiled else []
    output, peak, _ = run_child([PEFT_PYTHON, "-B", ROOT / "bench/peers/peft_train.py", models / "f32", "--batch-size", BATCH, "--tokens", TOKENS,
                                 "--num-layers", LAYERS, "--rank", RANK, *extra])
    return {**last_json(output), "peak_mb": peak}


def run_mlx_lm(models, data, kind):
    blas = sorted(glob.glob("/usr/lib/*/openblas-*/libblas.so.3") + glob.glob("/usr/lib/*/libopenblas.so.0"))
    environment = {"LD_PRELOAD": blas[0]} if blas else {}
    output, peak, _ = run_child([MLX_PYTHON, "-B", ROOT / "bench/peers/mlxlm_train.py", models / kind, data, "--batch-size", BATCH, "--tokens", TOKENS,
                                 "--num-layers", LAYERS, "--rank", RANK, "--steps", 3 if kind == "f32" else 2], environment)
    return {**last_json(output), "peak_mb": peak}


def contestants(models, data, with_slow):
    names = {
        "evolora 4-bit": lambda: run_evolora(models, data),
        "PEFT fp32": lambda: run_peft(models, False),
        "PEFT fp32, torch.compile": lambda: run_peft(models, True),
        "mlx-lm fp32, OpenBLAS": lambda: run_mlx_lm(models, data, "f32"),
    }
    if with_slow:
        names["mlx-lm 4-bit"] = lambda: run_mlx_lm(models, data, "q4")
    return names


def measure(shape, rounds, with_slow):
    tokenizer = TOKENIZERS[shape]
    subprocess.run([ROOT / "tools/models.sh", tokenizer.name], check=True)
    subprocess.run([MLX_PYTHON, "-B", ROOT / "bench/peers/make_model.py", shape, WORK / "models", tokenizer], check=True)
    names = contestants(WORK / "models" / shape, WORK / "data", with_slow)
    results = {name: [] for name in names}
    for number in range(rounds):
        order = list(names)
        random.Random(f"{shape} {number}").shuffle(order)
        for name in order:
            results[name].append(names[name]())
            print(f"  round {number + 1}: {name}: {results[name][-1]['tokens_per_s']:.1f} tokens/s, {results[name][-1]['peak_mb']:.0f} MB", file=sys.stderr, flush=True)
    return results


def table(shape, results):
    """A Markdown table; ratios are medians of the ratios inside each round."""
    ours = results["evolora 4-bit"]
    lines = [f"{shape}, B{BATCH} x T{TOKENS}, last {LAYERS} layers, rank {RANK}, {len(ours)} rounds, {os.cpu_count()} CPUs", "",
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
    parser.add_argument("--with-slow", action="store_true", help="also mlx-lm on 4-bit weights (minutes per step on a CPU)")
    parser.add_argument("--out", default=str(WORK / "peers.json"))
    arguments = parser.parse_args()
    write_data(WORK / "data")
    everything = {}
    for shape in arguments.models:
        print(f"bench: {shape}, {arguments.rounds} rounds", file=sys.stderr)
        everything[shape] = measure(shape, arguments.rounds, arguments.with_slow)
        print(table(shape, everything[shape]), flush=True)
        print()
    pathlib.Path(arguments.out).write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    print(f"bench: all figures are in {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
