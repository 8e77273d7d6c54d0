"""Our engine over what a user can change: threads, row length, rank, bits, arithmetic. Each row of the table is measured right after the default configuration, and the
ratio is against that neighbour.

    python3 bench/sweep.py [--models smollm2-135m qwen2.5-0.5b] [--only threads rows rank bits arithmetic] [--out build/bench/sweep.json]

Default: 4-bit group-64 weights, B4 x T256, rank 8, all linears of the last 16 layers, every position learned, all CPUs. Of the FMA peak: the step's necessary operations
(cost_model.h; recomputation does not count) per second, against the peak that the same process measured when it started.
"""

import argparse
import json
import os
import pathlib
import sys

from children import TOKENIZERS, WORK, make_bits, make_models, train_evolora, write_full_rows

BATCH, TOKENS, LAYERS, RANK = 4, 256, 16, 8


def run(model, tokens=TOKENS, batch=BATCH, rank=RANK, recipe=None):
    steps = max(2, 6 * TOKENS * BATCH // (tokens * batch))
    data = write_full_rows(WORK / f"rows{tokens}", tokens)
    config = WORK / "sweep.yaml"
    config.write_text(f"lora_parameters: {{rank: {rank}, scale: 20.0, dropout: 0.0}}\n", encoding="utf-8")
    result = train_evolora(model, data, ["--config", config, "--batch-size", batch, "--num-layers", LAYERS, "--iters", steps, "--max-seq-length", tokens + 1, "--steps-per-report", steps],
                           recipe)
    return {"tokens_per_s": steps * batch * tokens / result["training_seconds"], "peak_mb": result["peak_mb"], "arena_mb": result["peak_arena_bytes"] / 1e6,
            "share_of_peak": result["necessary_flops"] / result["training_seconds"] / result["fma_peak_flops"], "recipe": result["recipe"]}


def variants(models, shape):
    """(family, name, what to run)."""
    q4 = models / "q4"
    for threads in (1, 2):
        yield "threads", f"{threads} threads", lambda n=threads: run(q4, recipe={"threads": n})
    for tokens, batch in ((64, 16), (128, 8), (512, 2), (1024, 1), (2048, 1), (8192, 1)):
        yield "rows", f"B{batch} x T{tokens}", lambda t=tokens, b=batch: run(q4, tokens=t, batch=b)
    for rank in (16, 64):
        yield "rank", f"rank {rank}", lambda r=rank: run(q4, rank=r)
    for bits in (2, 3, 5, 6, 8):
        yield "bits", f"{bits} bits", lambda b=bits: run(make_bits(shape, b))
    yield "bits", "dense fp32", lambda: run(models / "f32")
    for forward, backward in (("bf16", "fp32"), ("bf16", "bf16"), ("int8", "fp32"), ("int8", "bf16")):
        yield "arithmetic", f"forward {forward}, backward {backward}", lambda f=forward, b=backward: run(q4, recipe={"forward_arithmetic": f, "backward_arithmetic": b})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(TOKENIZERS), default=list(TOKENIZERS))
    parser.add_argument("--only", nargs="*", choices=["threads", "rows", "rank", "bits", "arithmetic"])
    parser.add_argument("--out", default=str(WORK / "sweep.json"))
    arguments = parser.parse_args()
    everything = {}
    for shape in arguments.models:
        models = make_models(shape)
        print(f"{shape}, {os.cpu_count()} CPUs\n\n| | tokens/s | against the default beside it | of the FMA peak | peak MB |\n|---|---|---|---|---|")
        for family, name, measure in variants(models, shape):
            if arguments.only and family not in arguments.only:
                continue
            default, variant = run(models / "q4"), measure()
            everything[f"{shape} {name}"] = {"default": default, "variant": variant}
            ratio = variant["tokens_per_s"] / default["tokens_per_s"]
            print(f"| {name} | {variant['tokens_per_s']:.0f} | {ratio:.2f} x | {100 * variant['share_of_peak']:.0f} % | {variant['peak_mb']:.0f} |", flush=True)
        print()
    pathlib.Path(arguments.out).write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    print(f"bench: all figures are in {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
