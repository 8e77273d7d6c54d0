"""`--engine mlx`, with mlx-lm's operations and with its replacements, against mlx-lm itself in float32: gradients, 30-step loss curves, files; LoRA and DoRA."""
import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm import load
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model

import mlx_side
from compat_oracle import SMALL_RUNS, STEPS, Run, compare_runs, read_reports, run_mlx_lm_and_twins, safetensors_header, small_arguments, small_run, write_config, write_data  # noqa: F401
from gradient_oracle import SUPERVISED, Case, mlx_tolerance
from make_models import MODELS
from numpy_model import UNIT_ROUNDOFF, Batch
from rounding import SAFETY, GradientTolerance

FP32 = dict(arithmetic="fp32")
SLOTS = {
    "standard": FP32,
    "optimized": dict(FP32, lora_linear="grouped", swiglu="optimized", head_loss="optimized"),
    "lora_linear optimized": dict(FP32, lora_linear="optimized"),
    "lora_linear grouped": dict(FP32, lora_linear="grouped"),
    "swiglu optimized": dict(FP32, lora_linear="optimized", swiglu="optimized"),
    "head_loss optimized": dict(FP32, head_loss="optimized"),
}


def compare(case, probe, observe, slots, supervised=None, **recipe):
    batch = Batch.of_rows(case.rows, supervised)
    ours = mlx_tolerance(case, batch, GradientTolerance(case.model, [(batch, 1.0)], [case.adapters()]))
    model = mlx_side.load_float32(case.folder, case.options, case.parameters)
    loss, theirs = mlx_side.loss_and_gradients(model, case.rows, supervised)
    for name in slots:
        losses, gradients = case.gradients(probe, dict(recipe, mlx=SLOTS[name]), [(batch, 1.0, 0)])
        observe(f"MLX engine, {name}: gradients to float64", *ours.ratio(gradients))
        observe(f"MLX engine, {name}: gradients to mlx-lm", *ours.ratio(gradients, against=(theirs, ours)))
        observe(f"MLX engine, {name}: loss to float64", abs(losses[0] - ours.losses[0]) / ours.loss)
        observe(f"MLX engine, {name}: loss to mlx-lm", abs(losses[0] - loss) / (2 * ours.loss))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_every_model(name, models, probe, observe):
    compare(Case(models[name]), probe, observe, ("standard", "optimized"), SUPERVISED["prompt masked"])


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("name", ("llama-mixed", "qwen2-f32"))
def test_gradients_of_every_slot(name, slots, models, probe, observe):
    case = Case(models[name], seed=1, num_layers=2)
    compare(case, probe, observe, (slots,), SUPERVISED["a row without loss"], head_rows_per_chunk=5)
    compare(case, probe, observe, (slots,), grad_checkpoint=True)


# ---- DoRA ----


def load_dora(folder, options, dtype=mx.float32):
    model, _ = load_model(Path(folder))
    model.set_dtype(mx.float32)
    model.freeze()
    mx.random.seed(0)
    linear_to_lora_layers(model, options["num_layers"], {k: v for k, v in options.items() if k != "num_layers"}, use_dora=True)
    model.set_dtype(dtype)
    model.eval()
    return model


def dora_parameters(model, seed):
    """mlx-lm's own start, with lora_b and m moved away from where gradients vanish."""
    random = np.random.default_rng(seed)
    out = {}
    for k, v in tree_flatten(model.trainable_parameters()):
        value = np.array(v, np.float32)
        if k.endswith("lora_b"):
            value = (0.1 * random.standard_normal(value.shape)).astype(np.float32)
        if k.endswith(".m"):
            value *= (1 + 0.05 * random.standard_normal(value.shape)).astype(np.float32)
        out[k] = value
    return out


def perturbed(model, seed):
    """The model as another correct float32 program may see it: see mlx_lm_train.perturb_norms."""
    from mlx_lm_train import perturb_norms

    perturb_norms(model, seed)
    return model


@pytest.mark.parametrize("name", ("llama-f32", "llama-q4g32-f32", "llama-q4g32-f16-untied", "qwen2-f32", "qwen2-untied-q8g32-f32"))
def test_dora_gradients_are_those_of_mlx_lm(name, models, probe, observe):
    """Twins of mlx-lm whose roundings fall differently say how far apart two float32 programs may be."""
    case = Case(models[name], seed=3, num_layers=2)
    model = load_dora(case.folder, case.options)
    parameters = dora_parameters(model, 4)

    def gradients_of(m):
        m.load_weights([(k, mx.array(v)) for k, v in parameters.items()], strict=False)
        return mlx_side.loss_and_gradients(m, case.rows, None)

    loss, theirs = gradients_of(model)
    twins = [gradients_of(perturbed(load_dora(case.folder, case.options), seed)) for seed in (1, 2, 3)]
    case.options = dict(case.options, dora=True)
    case.parameters = parameters
    assert set(theirs) == set(parameters) and any(k.endswith(".m") for k in theirs)
    batch = Batch.of_rows(case.rows)
    for slots in ("standard", "optimized", "lora_linear optimized"):
        losses, ours = case.gradients(probe, dict(mlx=SLOTS[slots]), [(batch, 1.0, 0)])
        allowed = SAFETY * max(UNIT_ROUNDOFF * np.sqrt(len(batch.loss_rows)) * loss, *(abs(t[0] - loss) for t in twins))
        observe(f"MLX engine, DoRA {slots}: loss to mlx-lm", abs(losses[0] - loss) / allowed, name)
        for k, g in theirs.items():
            allowed = SAFETY * max(np.linalg.norm(t[1][k] - g) for t in twins)
            observe(f"MLX engine, DoRA {slots}: gradients to mlx-lm", np.linalg.norm(ours[k] - g) / allowed, f"{name} {k}")
            # A gradient that is off by a thousandth is seen.
            assert 1e-3 * np.linalg.norm(g) > allowed, k


def test_dora_starts_as_mlx_lm(models, probe):
    for name in ("llama-f32", "llama-q4g32-f16-untied", "qwen2-untied-q8g32-f32"):
        options = dict(num_layers=2, rank=4, scale=20.0, dropout=0.0)
        model, _ = load_model(Path(models[name]))
        model.freeze()
        mx.random.seed(0)
        linear_to_lora_layers(model, 2, {k: v for k, v in options.items() if k != "num_layers"}, use_dora=True)
        theirs = {k: np.array(v, np.float32) for k, v in tree_flatten(model.trainable_parameters())}
        ours, _ = probe.tensors("lora_init", models[name], dict(adapter=dict(options, dora=True), seed=0))
        assert set(ours) == set(theirs)
        for k, value in theirs.items():
            mine = np.array(ours[k])
            if k.endswith(".m"):  # a sum of n squares in float32 there, in float64 here
                assert np.abs(mine - value).max() <= 2.0**-24 * 4096 * np.abs(value).max(), k
            else:
                assert np.array_equal(mine.view(np.uint32), value.view(np.uint32)), k


# ---- runs ----


def run_mlx_engine(evolora, folder, arguments, slots):
    folder.parent.mkdir(parents=True, exist_ok=True)
    recipe = folder.parent / f"{folder.name}.json"
    recipe.write_text(json.dumps(dict(mlx=SLOTS[slots])))
    evolora("train", "--engine", "mlx", "--compat", "mlx-lm", "--recipe", recipe, *arguments, "--adapter-path", folder)
    return Run(folder, *read_reports(folder / "metrics.jsonl"))


@pytest.mark.parametrize("slots", ("standard", "optimized"))
@pytest.mark.parametrize("name", SMALL_RUNS)
def test_loss_curves_are_those_of_mlx_lm(name, slots, small_run, evolora, tmp_path, observe):  # noqa: F811
    _, theirs, twins, arguments = small_run(name)
    ours = run_mlx_engine(evolora, tmp_path / "ours", arguments, slots)
    compare_runs(observe, f"MLX engine, {slots}, {name}", ours, theirs, twins)
    record = json.loads((ours.folder / "run.json").read_text())["engine"]
    assert record["name"] == "mlx" and record["device"] == "cpu" and record["step"] == "eager"
    assert sum(record["layers"]["lora_linear"].values()) >= 2


@pytest.mark.parametrize("name", ("llama q4, chat", "qwen2, completions, masked prompt, adamw"))
def test_dora_runs_and_files_are_those_of_mlx_lm(name, models, evolora, tmp_path, observe):
    model, kind, flags, _ = SMALL_RUNS[name]
    data = write_data(tmp_path / "data", kind)
    arguments = small_arguments(models[model], data, [*flags, "--fine-tune-type", "dora"], None)
    theirs, twins = run_mlx_lm_and_twins(tmp_path / "theirs", arguments)
    assert len(theirs.train) == STEPS
    for slots in ("standard", "optimized"):
        ours = run_mlx_engine(evolora, tmp_path / f"ours-{slots}", arguments, slots)
        compare_runs(observe, f"MLX engine, DoRA {slots}, {name}", ours, theirs, twins)
        mine, other = (safetensors_header(run.folder / "adapters.safetensors") for run in (ours, theirs))
        mine.pop("__metadata__", None), other.pop("__metadata__", None)
        assert {k: (v["dtype"], v["shape"]) for k, v in mine.items()} == {k: (v["dtype"], v["shape"]) for k, v in other.items()}
        # mlx-lm loads it, and has our m.
        loaded, _ = load(str(models[model]), adapter_path=str(ours.folder))
        magnitudes = {k: np.array(v) for k, v in tree_flatten(loaded.parameters()) if k.endswith(".m")}
        saved = ours.parameters()
        assert magnitudes and all(np.array_equal(v.astype(np.float64), saved[k]) for k, v in magnitudes.items())
    # And ours goes on from theirs.
    arguments = [a for i, a in enumerate(arguments) if "--iters" not in (a, arguments[i - 1])] + ["--iters", "5"]
    resume = arguments + ["--resume-adapter-file", str(theirs.folder / "adapters.safetensors")]
    base, twins = run_mlx_lm_and_twins(tmp_path / "resumed", resume)
    compare_runs(observe, "MLX engine, DoRA resumed", run_mlx_engine(evolora, tmp_path / "ours-resumed", resume, "optimized"), base, twins)
