"""Writes the small golden files of tests/data/tiny_*_golden: a model, an adapter, a batch, and what mlx-lm computes for them in float32.

    build/python/bin/python tests/oracle/make_golden.py        rewrites tests/data (deterministic up to the rounding of the machine's MLX)

tests/end_to_end/golden_test.cpp compares the engine with them, without Python. Tolerances are computed here (rounding.py, compat_oracle.py) and stored.
"""
import json
import shutil
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np

import mlx_side
from compat_oracle import TEXTS, curve_tolerance, run_mlx_lm, train_curve, val_curve, write_config
from gradient_oracle import Case
from make_models import LLAMA, QWEN2, REPOSITORY, write_model
from numpy_model import Batch
from rounding import GradientTolerance, logits_tolerance

SMALL = dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=272)
GOLDEN = {
    "tiny_llama_golden": (dict(LLAMA, **SMALL, hidden_size=64, intermediate_size=64), mx.float16, dict(bits=4, group_size=32)),
    "tiny_qwen2_golden": (dict(QWEN2, **SMALL, hidden_size=32, intermediate_size=64), mx.bfloat16, None),
}
LENGTHS = (9, 14)
LOGITS = 3  # of the last inputs of the second row: enough to notice, and small
PROMPTS = (3, 6)  # masked tokens of each row
STEPS = 10
TWINS = (1, 2, 3, 4)


def supervised(row, i):
    return i >= PROMPTS[row]


def write_case(folder, case):
    mx.save_safetensors(str(folder / "adapters.safetensors"), {k: mx.array(v) for k, v in case.parameters.items()})
    options = {k: v for k, v in case.options.items() if k != "num_layers"}
    config = dict(fine_tune_type="lora", num_layers=case.options["num_layers"], lora_parameters=options)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))

    model = mlx_side.load_float32(case.folder, case.options, case.parameters)
    logits = mlx_side.logits(model, [row[:-1] for row in case.rows])
    loss, gradients = mlx_side.loss_and_gradients(model, case.rows, supervised)
    tensors = {f"gradient.{k}": v for k, v in gradients.items()} | {"logits": logits[1][-LOGITS:]}
    mx.save_safetensors(str(folder / "expected.safetensors"), {k: mx.array(v) for k, v in tensors.items()})

    batch = Batch.of_rows(case.rows, supervised)
    tolerance = GradientTolerance(case.model, [(batch, 1.0)], [case.adapters()])
    return dict(
        batch=batch.as_json(),
        loss=loss,
        loss_tolerance=2 * tolerance.loss,
        gradient_norm_tolerance={k: 2 * v for k, v in tolerance.norm.items()},
        logits_tolerance=2 * logits_tolerance(case.model, [row[:-1] for row in case.rows], case.adapters())[1],
    )


def write_training(folder, model):
    random = np.random.default_rng(3)
    for name, count in (("train", 9), ("valid", 4)):
        records = [dict(prompt=str(random.choice(TEXTS)), completion=str(random.choice(TEXTS))) for _ in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        config = write_config(temporary / "config.yaml", lora_parameters=dict(rank=4, scale=20.0, dropout=0.0))
        arguments = ["--model", model, "--data", folder, "--train", "--mask-prompt", "--num-layers", -1, "--iters", STEPS, "--batch-size", 2]
        arguments += ["--steps-per-report", 1, "--steps-per-eval", 5, "--val-batches", 1, "--learning-rate", "1e-3", "--optimizer", "adamw", "-c", config]
        base = run_mlx_lm(temporary / "base", arguments)
        twins = [run_mlx_lm(temporary / f"twin-{seed}", arguments, seed) for seed in TWINS]
    return dict(
        train_losses=base.train,
        train_loss_tolerances=curve_tolerance(base, twins, train_curve).tolist(),
        val_losses=val_curve(base).tolist(),
        val_loss_tolerances=curve_tolerance(base, twins, val_curve).tolist(),
    )


def main():
    for seed, (name, (config, dtype, quantization)) in enumerate(GOLDEN.items()):
        folder = REPOSITORY / "tests" / "data" / name
        shutil.rmtree(folder, ignore_errors=True)
        write_model(folder / "model", config, dtype, quantization, {}, seed=100 + seed)
        for part in ("adapter", "data"):
            (folder / part).mkdir()
        expected = write_case(folder / "adapter", Case(folder / "model", LENGTHS, seed=seed, rank=2))
        expected["training"] = write_training(folder / "data", folder / "model")
        (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
        print(folder, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
