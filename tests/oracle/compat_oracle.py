"""`evolora train --compat mlx-lm` against mlx_lm.lora: adapter initialisation bit for bit, loss curves, and each other's adapter files."""
import json
import os
import re
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import yaml
from mlx.utils import tree_flatten
from mlx_lm import load

import mlx_side
from make_models import MODELS
from numpy_model import PROJECTIONS, UNIT_ROUNDOFF, Adapters, NumpyModel
from rounding import SAFETY, logits_tolerance

HERE = Path(__file__).resolve().parent
STEPS = 30
TWINS = (1, 2)
OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3")  # the wheel's own BLAS does a few GFLOP/s


# ---- initialisation ----


@pytest.mark.parametrize("keys", (None, ["self_attn.q_proj", "self_attn.v_proj"], ["mlp.down_proj", "self_attn.o_proj"]), ids=str)
@pytest.mark.parametrize("layers", (-1, 2))
@pytest.mark.parametrize("name", ("llama-f32", "llama-q4g32-f16-untied", "llama-q8g64-f16", "llama-wide-heads-f32-traditional", "qwen2-q4g32-f16"))
def test_adapters_start_with_the_bits_of_mlx_lm(name, layers, keys, models, probe):
    for seed, rank in ((0, 8), (1, 3), (123456789, 5), (2**32 - 1, 1)):
        options = dict(num_layers=layers, rank=rank, scale=20.0, dropout=0.0, **({"keys": keys} if keys else {}))
        theirs = dict(tree_flatten(mlx_side.load_float32(models[name], options, seed=seed).trainable_parameters()))
        ours, _ = probe.tensors("lora_init", models[name], dict(adapter=options, seed=seed))
        assert set(ours) == set(theirs)
        for k, value in theirs.items():
            assert np.array_equal(np.array(ours[k]).view(np.uint32), np.array(value).view(np.uint32)), (k, seed, rank)


# ---- runs ----


@dataclass
class Run:
    folder: Path  # the adapter folder
    train: list
    val: dict
    tokens_per_batch: float

    def parameters(self):
        return {k: np.array(v, np.float64) for k, v in mx.load(str(self.folder / "adapters.safetensors")).items()}


def read_reports(path):
    train, val, tokens = [], {}, 0
    for line in path.read_text().splitlines():
        report = json.loads(line)
        if report.get("train_loss") is not None:
            train.append(report["train_loss"])
            tokens = report.get("tokens", 0)
        if report.get("val_loss") is not None:
            val[report["step"]] = report["val_loss"]
    return train, val, tokens / max(1, len(train))


def run_mlx_lm(folder, arguments, twin=None, flags=()):
    folder.mkdir(parents=True)
    reports = folder / "reports.jsonl"
    environment = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    if OPENBLAS.exists():
        environment["LD_PRELOAD"] = str(OPENBLAS)
    command = [sys.executable, HERE / "mlx_lm_train.py", reports, *(["--twin", twin] if twin else []), *flags, "--", *arguments, "--adapter-path", folder]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return Run(folder, *read_reports(reports))


def run_mlx_lm_and_twins(folder, arguments, flags=()):
    """-> (run, its twins), side by side: each uses one core and starts slowly."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [pool.submit(run_mlx_lm, folder / (f"twin-{twin}" if twin else "mlx-lm"), arguments, twin, flags) for twin in (None, *TWINS)]
        base, *twins = (run.result() for run in runs)
    return base, twins


def run_evolora(evolora, folder, arguments):
    evolora("train", "--compat", "mlx-lm", *arguments, "--adapter-path", folder)
    return Run(folder, *read_reports(folder / "metrics.jsonl"))


def write_config(path, **keys):
    path.write_text(yaml.safe_dump(keys, sort_keys=False))
    return path


def curve_tolerance(base, twins, of):
    """Largest difference allowed at each point of a curve: what the twins have drifted up to there, plus the rounding of the loss itself, times SAFETY.

    The drift grows with the steps as the training dynamics amplify rounding errors (Adam divides small gradients by small numbers); the twins show by how
    much for this model, data and learning rate, instead of an assumed Lipschitz constant. Running maximum: curves may cross by chance.
    mlx-lm adds the n losses of a batch in float32. All have one sign, so the partial sums grow evenly and their roundings (uniform in +-u) make a relative
    error of standard deviation u * sqrt(n) / 3 in the mean.
    """
    drift = np.max([np.abs(np.subtract(of(t), of(base))) for t in twins], axis=0)
    rounding = UNIT_ROUNDOFF * np.sqrt(base.tokens_per_batch) / 3 * np.abs(of(base))
    return SAFETY * (np.maximum.accumulate(drift) + rounding)


def train_curve(run):
    return np.array(run.train)


def val_curve(run):
    return np.array([run.val[step] for step in sorted(run.val)])


def shares(ours, theirs, twins, base=None):
    """{what: (largest error / tolerance, detail)} of the curves and the final adapters. base: the run the twins are twins of, if not `theirs`."""
    base, out = base or theirs, {}
    for name, curve in (("train loss", train_curve), ("val loss", val_curve)):
        assert curve(ours).shape == curve(theirs).shape, (name, curve(ours), curve(theirs))
        tolerance = curve_tolerance(base, twins, curve)
        error = np.abs(curve(ours) - curve(theirs))
        worst = int((error / tolerance).argmax())
        out[name] = (error[worst] / tolerance[worst], f"(point {worst + 1}: {error[worst]:.1e} of {tolerance[worst]:.1e})")
    mine, other = ours.parameters(), theirs.parameters()
    assert set(mine) == set(other)
    out["final adapters"] = (distance(mine, other) / (SAFETY * max(distance(t.parameters(), base.parameters()) for t in twins)), "")
    return out


def distance(a, b):
    return np.sqrt(sum(np.square(a[k] - b[k]).sum() for k in b))


def compare_runs(observe, what, ours, theirs, twins, base=None):
    for name, share in shares(ours, theirs, twins, base).items():
        observe(f"{what}: {name}", *share)


# ---- small models ----

TEXTS = (
    "the cat sat on the mat", "numbers: 1 2 3 5 8 13", "a quick brown fox jumps", "Grüße aus München", "x = [1, 2]; print(x)", "yes", "no, not at all",
    "what is the capital of France? Paris", "to be or not to be", "one more line of text, a bit longer than the others are", "0.5 + 0.25 = 0.75", "ok",
)  # fmt: skip


def write_data(folder, kind):
    folder.mkdir(parents=True)
    random = np.random.default_rng(5)

    def text():
        return " ".join(random.choice(TEXTS, random.integers(1, 3)))

    def record():
        if kind == "completions":
            return dict(prompt=text(), completion=text())
        if kind == "text":
            return dict(text=text())
        turns = int(random.integers(1, 3))
        messages = [dict(role=role, content=text()) for _ in range(turns) for role in ("user", "assistant")]
        return dict(messages=messages, **({"note": 1} if random.random() < 0.3 else {}))  # mlx-lm orders by the number of keys

    for name, count in (("train", 23), ("valid", 9)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record(), ensure_ascii=False) + "\n" for _ in range(count)), encoding="utf-8")
    return folder


# name -> (model, data, flags, YAML keys)
SMALL_RUNS = {
    "llama q4, chat": ("llama-q4g32-f32", "chat", ["--optimizer", "adam"], {}),
    "llama q4, chat, masked prompt, accumulation": ("llama-q4g32-f32", "chat", ["--mask-prompt", "--grad-accumulation-steps", "2"], {}),
    "qwen2, completions, masked prompt, adamw": ("qwen2-f32", "completions", ["--mask-prompt", "--optimizer", "adamw"], {}),
    "qwen2 q8, completions, adamw, accumulation": ("qwen2-untied-q8g32-f32", "completions", ["--optimizer", "adamw", "--grad-accumulation-steps", "2"], {}),
    "llama with sliding windows, text": ("llama-sliding-f32", "text", ["--max-seq-length", "40"], {}),
    "llama, text, checkpointed, cut to 40": ("llama-f32", "text", ["--grad-checkpoint", "--max-seq-length", "40"], {}),
    "llama mixed, chosen keys, adamw options, schedule": (
        "llama-mixed", "chat", ["--mask-prompt", "--num-layers", "2", "--seed", "7"],
        dict(optimizer="adamw", optimizer_config=dict(adamw=dict(betas=[0.8, 0.95], weight_decay=0.1, bias_correction=True)),
             lora_parameters=dict(rank=4, scale=5.0, dropout=0.0, keys=["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"]),
             lr_schedule=dict(name="cosine_decay", warmup=5, warmup_init=1e-6, arguments=[1e-3, 25, 1e-5]))),
}  # fmt: skip


def small_arguments(model, data, flags, config):
    common = ["--model", model, "--data", data, "--train", "--iters", STEPS, "--batch-size", 3, "--val-batches", 2, "--steps-per-report", 1]
    common += ["--steps-per-eval", 10, "--learning-rate", "3e-4", "--save-every", 20, "--num-layers", -1]
    if "--num-layers" in flags:
        common = common[:-2]
    return [str(a) for a in (*common, *flags, *(["-c", config] if config else []))]


@pytest.fixture(scope="session")
def small_run(models, evolora, tmp_path_factory):
    """name -> (ours, mlx-lm's, twins, arguments), each made once."""
    done = {}

    def make(name):
        if name not in done:
            model, kind, flags, keys = SMALL_RUNS[name]
            folder = tmp_path_factory.mktemp("run")
            data = write_data(folder / "data", kind)
            config = write_config(folder / "config.yaml", **keys) if keys else None
            arguments = small_arguments(models[model], data, flags, config)
            theirs, twins = run_mlx_lm_and_twins(folder, arguments)
            done[name] = (run_evolora(evolora, folder / "evolora", arguments), theirs, twins, arguments)
        return done[name]

    return make


@pytest.mark.parametrize("name", SMALL_RUNS)
def test_loss_curves_of_small_models(name, small_run, observe):
    ours, theirs, twins, _ = small_run(name)
    assert len(theirs.train) == STEPS and len(theirs.val) == 4
    compare_runs(observe, name, ours, theirs, twins)


@pytest.mark.parametrize("change", (["--learning-rate", "3.003e-4"], ["--seed", "1"], ["--optimizer", "adamw"], ["--grad-accumulation-steps", "2"]), ids=" ".join)
def test_the_tolerance_sees_a_small_change(change, small_run, evolora, tmp_path):
    """A learning rate off by a thousandth, another seed, or a decay of 1e-4 over the whole run is far outside."""
    _, theirs, twins, arguments = small_run("llama q4, chat")
    arguments = [a for i, a in enumerate(arguments) if change[0] not in (a, arguments[i - 1])] + change
    changed = run_evolora(evolora, tmp_path / "changed", arguments)
    assert max(share for share, _ in shares(changed, theirs, twins).values()) > 3


# ---- files ----


def raw_values(text):
    """{top-level key: its text} of a JSON object written with indent 4."""
    body = text.removeprefix("{\n").removesuffix("\n}")
    parts = re.split(r"(?:^|,\n)    (?=\")", body)[1:]
    return {json.loads(part[: part.index('": ') + 1]): part[part.index('": ') + 3 :] for part in parts}


def safetensors_header(path):
    data = path.read_bytes()
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])


@pytest.mark.parametrize("name", SMALL_RUNS)
def test_files_are_those_of_mlx_lm(name, small_run):
    ours, theirs, _, _ = small_run(name)
    for file in ("adapters.safetensors", "0000020_adapters.safetensors"):
        mine, other = (safetensors_header(run.folder / file) for run in (ours, theirs))
        mine.pop("__metadata__", None), other.pop("__metadata__", None)
        assert {k: (v["dtype"], v["shape"]) for k, v in mine.items()} == {k: (v["dtype"], v["shape"]) for k, v in other.items()}
    theirs_config = (theirs.folder / "adapter_config.json").read_text()
    ours_config = (ours.folder / "adapter_config.json").read_text()
    mine, other = raw_values(ours_config), raw_values(theirs_config)
    assert json.loads(ours_config).keys() == mine.keys() and list(mine) == sorted(mine)
    assert not ours_config.endswith("\n") and ours_config.startswith("{\n    ")
    mine.pop("adapter_path"), other.pop("adapter_path")
    assert {k: mine.get(k) for k in other} == other
    assert set(mine) - set(other) <= {"compat", "epochs"}, sorted(set(mine) - set(other))


@pytest.mark.parametrize("name", SMALL_RUNS)
def test_each_reads_the_others_adapter(name, small_run, models, probe, observe):
    ours, theirs, _, _ = small_run(name)
    folder = models[SMALL_RUNS[name][0]]
    exact_model = NumpyModel(folder)
    random = np.random.default_rng(2)
    rows = [random.integers(0, 259, n).tolist() for n in (21, 8)]
    scale = SMALL_RUNS[name][3].get("lora_parameters", {}).get("scale", 20.0)
    for run in (ours, theirs):
        exact, tolerance = logits_tolerance(exact_model, rows, Adapters(scale, run.parameters()))
        model, _ = load(str(folder), adapter_path=str(run.folder))
        model.set_dtype(mx.float32)
        tensors, _ = probe.tensors("logits", folder, dict(adapter_folder=str(run.folder), rows=rows))
        for r, theirs_logits in enumerate(mlx_side.logits(model, rows)):
            mine = np.array(tensors[f"logits.{r}"])
            who = "our" if run is ours else "mlx-lm's"
            observe(f"logits with {who} adapter, mlx-lm to float64", np.abs(theirs_logits - exact[r]).max() / tolerance)
            observe(f"logits with {who} adapter, evolora to float64", np.abs(mine - exact[r]).max() / tolerance)
            observe(f"logits with {who} adapter, evolora to mlx-lm", np.abs(mine - theirs_logits).max() / (2 * tolerance))


def test_training_goes_on_from_mlx_lms_adapter(small_run, evolora, tmp_path, observe):
    """--resume-adapter-file, both ways round."""
    ours, theirs, _, arguments = small_run("llama q4, chat")
    arguments = [a for i, a in enumerate(arguments) if "--iters" not in (a, arguments[i - 1])] + ["--iters", "5"]
    resume = arguments + ["--resume-adapter-file", str(theirs.folder / "adapters.safetensors")]
    base, twins = run_mlx_lm_and_twins(tmp_path, resume)
    compare_runs(observe, "resumed from mlx-lm's adapter", run_evolora(evolora, tmp_path / "evolora", resume), base, twins)


# ---- SmolLM2 ----

# A word each, and an empty system message (the template would add a long one): 18 tokens. mlx-lm's 4-bit product on this CPU is a scalar loop that takes
# seconds for a step even so.
WORDS = ("red", "apple"), ("one", "two"), ("hot", "cold"), ("cat", "dog"), ("day", "night"), ("left", "right"), ("sun", "moon"), ("yes", "no")
TOKENS = 18


def write_smollm2_data(folder):
    folder.mkdir(parents=True)
    records = [dict(messages=[dict(role=role, content=text) for role, text in zip(("system", "user", "assistant"), ("", *words))]) for words in WORDS]
    for name, part in (("train", records[:7]), ("valid", records[7:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    return folder


def test_loss_curves_of_smollm2(smollm2, evolora, tmp_path, observe):
    """Dense and 4-bit hold the same numbers, so dense twins say how far apart a 4-bit run and ours may be.

    mlx-lm's own sums over the vocabulary are off by more than its other roundings, and the twins' are not: so they are far from the unchanged mlx-lm, and
    close to one that also sums in blocks. We must be as close to each as they are.
    """
    data = write_smollm2_data(tmp_path / "data")

    def arguments(kind):
        flags = ["--train", "--iters", STEPS, "--batch-size", 1, "--val-batches", 1, "--steps-per-eval", STEPS, "--steps-per-report", 1, "--num-layers", 4]
        flags += ["--learning-rate", "1e-4", "--mask-prompt", "--max-seq-length", TOKENS]
        return [str(a) for a in ("--model", smollm2(kind), "--data", data, *flags)]

    with ThreadPoolExecutor(1) as beside:  # by far the longest
        quantized = beside.submit(run_mlx_lm, tmp_path / "mlx-lm-q4", arguments("q4"))
        dense = run_mlx_lm(tmp_path / "mlx-lm-dense", arguments("dense"))
        in_blocks, twins = run_mlx_lm_and_twins(tmp_path / "in-blocks", arguments("dense"), ["--vocabulary-blocks"])
        quantized = quantized.result()
    for kind, theirs in (("dense", dense), ("q4", quantized)):
        ours = run_evolora(evolora, tmp_path / f"evolora-{kind}", arguments(kind))
        assert len(ours.train) == STEPS and theirs.train[-1] < theirs.train[0]
        compare_runs(observe, f"SmolLM2 {kind}, unchanged mlx-lm", ours, theirs, twins, base=dense)
        compare_runs(observe, f"SmolLM2 {kind}, mlx-lm that sums in blocks", ours, in_blocks, twins)


@pytest.mark.parametrize("kind", ("dense", "q4"))
def test_adapters_of_smollm2_start_with_the_bits_of_mlx_lm(kind, smollm2, probe):
    options = dict(num_layers=16, rank=8, scale=20.0, dropout=0.0)
    theirs = dict(tree_flatten(mlx_side.load_float32(smollm2(kind), options).trainable_parameters()))
    ours, _ = probe.tensors("lora_init", smollm2(kind), dict(adapter=options, seed=0))
    assert set(ours) == set(theirs) and len(ours) == 16 * len(PROJECTIONS) * 2
    assert all(np.array_equal(np.array(ours[k]).view(np.uint32), np.array(theirs[k]).view(np.uint32)) for k in theirs)


def test_every_small_model_has_a_run_or_a_gradient_test():
    assert {run[0] for run in SMALL_RUNS.values()} <= set(MODELS)
