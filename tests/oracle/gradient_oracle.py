"""Logits, losses and every adapter gradient of the engine against mlx-lm in float32 (MLX autodiff), a float64 model, and finite differences of that."""
import copy
import json
import shutil

import mlx.core as mx
import numpy as np
import pytest

import mlx_side
from make_models import MODELS
from numpy_model import BLOCK, PROJECTIONS, Adapters, Batch, NumpyModel, OneAccumulatorRounding, dropout_mask
from rounding import DRAWS, GradientTolerance, logits_tolerance

LENGTHS = (17, 9, 25)
RECIPES = {
    "reference": dict(kernels="reference", threads=1),
    "cpu": dict(threads=1),
    "cpu, 2 threads": dict(threads=2),
    "reference, 2 threads, checkpoint": dict(kernels="reference", threads=2, grad_checkpoint=True),
    "cpu, checkpoint": dict(threads=1, grad_checkpoint=True),
    "cpu, head chunks of 1": dict(threads=1, head_rows_per_chunk=1),
    "cpu, head chunks of 7": dict(threads=2, head_rows_per_chunk=7),
    "cpu, micro-batches": dict(threads=2, micro_batch_tokens=24),
    "cpu, micro-batches of a row, checkpoint": dict(threads=2, micro_batch_tokens=1, grad_checkpoint=True),
    "cpu, common beginnings": dict(threads=2, share_prefixes=True),
    "reference, common beginnings, checkpoint": dict(kernels="reference", threads=1, share_prefixes=True, grad_checkpoint=True),
}
SUPERVISED = {
    "all": None,
    "prompt masked": lambda r, i: i >= (4, 1, 19)[r],
    "a row without loss": lambda r, i: r != 1 and i >= 3,
    "last token only": lambda r, i: r == 0 and i == LENGTHS[0] - 1,
}


def adapter_options(layers, **changes):
    return dict(dict(num_layers=layers, rank=4, scale=2.0, dropout=0.0), **changes)


class Case:
    """A model, random adapters (lora_b not zero: at zero no gradient reaches lora_a) and random rows."""

    def __init__(self, folder, lengths=LENGTHS, seed=0, **adapter):
        random = np.random.default_rng(seed)
        self.folder = folder
        self.model = NumpyModel(folder)
        self.options = adapter_options(adapter.pop("num_layers", self.model.layers), **adapter)
        self.modules = [
            f"model.layers.{layer}.{p}"
            for layer in range(self.model.layers - self.options["num_layers"], self.model.layers)
            for p in PROJECTIONS
            if self.options.get("keys") is None or p in self.options["keys"]
        ]
        self.parameters = {}
        for path in self.modules:
            outputs, inputs = self.model.weights[path].shape
            rank = self.options["rank"]
            self.parameters[f"{path}.lora_a"] = (random.uniform(-1, 1, (inputs, rank)) / np.sqrt(inputs)).astype(np.float32)
            self.parameters[f"{path}.lora_b"] = (0.1 * random.standard_normal((rank, outputs))).astype(np.float32)
        self.rows = [random.integers(0, 259, n).tolist() for n in lengths]
        self.random = random

    def adapters(self, masks=None):
        return Adapters(float(np.float32(self.options["scale"])), {k: v.astype(np.float64) for k, v in self.parameters.items()}, masks or {})

    def request(self, probe, **more):
        weights = probe.folder / "adapter_weights.safetensors"
        mx.save_safetensors(str(weights), {k: mx.array(v) for k, v in self.parameters.items()})
        return dict(adapter=self.options, adapter_weights=str(weights), **more)

    def gradients(self, probe, recipe, passes):
        """passes: [(batch, loss_scale, dropout_seed)] -> (losses, {name: gradient})."""
        asked = [dict(b.as_json(), loss_scale=s, dropout_seed=d) for b, s, d in passes]
        tensors, metadata = probe.tensors("gradients", self.folder, self.request(probe, recipe=recipe, passes=asked))
        assert int(metadata["peak_arena_bytes"]) <= int(metadata["planned_arena_bytes"]), metadata
        return json.loads(metadata["losses"]), {k: np.array(v) for k, v in tensors.items()}


def mlx_tolerance(case, batch, tolerance):
    """What mlx-lm may be off by: the engine's tolerance, unless there are sums so long that one accumulator makes a difference."""
    if case.model.config["vocab_size"] <= BLOCK:
        return tolerance
    return GradientTolerance(case.model, [(batch, 1.0)], [case.adapters()], OneAccumulatorRounding)


def compare(case, probe, observe, recipes, supervised=None, what="gradients"):
    batch = Batch.of_rows(case.rows, supervised)
    tolerance = GradientTolerance(case.model, [(batch, 1.0)], [case.adapters()])
    theirs = mlx_tolerance(case, batch, tolerance)
    mlx_model = mlx_side.load_float32(case.folder, case.options, case.parameters)
    mlx_loss, mlx_gradients = mlx_side.loss_and_gradients(mlx_model, case.rows, supervised)
    observe(f"mlx-lm (float32) to float64: {what}", *theirs.ratio(mlx_gradients))
    observe(f"mlx-lm (float32) to float64: loss of {what}", abs(mlx_loss - theirs.losses[0]) / theirs.loss)
    for name in recipes:
        losses, gradients = case.gradients(probe, RECIPES[name], [(batch, 1.0, 0)])
        observe(f"{what} to float64, {name}", *tolerance.ratio(gradients))
        observe(f"{what} to mlx-lm, {name}", *tolerance.ratio(gradients, against=(mlx_gradients, theirs)))
        observe(f"loss of {what} to float64, {name}", abs(losses[0] - tolerance.losses[0]) / tolerance.loss)
        observe(f"loss of {what} to mlx-lm, {name}", abs(losses[0] - mlx_loss) / (tolerance.loss + theirs.loss))
    return tolerance, theirs


@pytest.mark.parametrize("name", MODELS)
def test_logits_of_every_model(name, models, probe, observe):
    case = Case(models[name])
    for adapters, request in ((None, {}), (case.adapters(), case.request(probe))):
        exact, tolerance = logits_tolerance(case.model, case.rows, adapters)
        mlx_model = mlx_side.load_float32(case.folder, *((case.options, case.parameters) if adapters else ()))
        theirs = mlx_side.logits(mlx_model, case.rows)
        for kernels in ("reference", "cpu"):
            tensors, _ = probe.tensors("logits", case.folder, dict(request, rows=case.rows, recipe=dict(kernels=kernels, threads=2)))
            for r in range(len(case.rows)):
                ours = np.array(tensors[f"logits.{r}"])
                assert ours.shape == exact[r].shape
                observe(f"logits to float64, {kernels}", np.abs(ours - exact[r]).max() / tolerance, name)
                observe(f"logits to mlx-lm, {kernels}", np.abs(ours - theirs[r]).max() / (2 * tolerance), name)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_every_model(name, models, probe, observe):
    compare(Case(models[name]), probe, observe, ("reference", "cpu, 2 threads"), SUPERVISED["prompt masked"])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", ("llama-q4g32-f32", "qwen2-f32"))
def test_gradients_of_every_recipe(name, recipe, models, probe, observe):
    compare(Case(models[name], seed=1), probe, observe, (recipe,), SUPERVISED["prompt masked"])


@pytest.mark.parametrize("name", ("llama-q4g32-f32", "qwen2-f32"))
def test_gradients_of_rows_that_begin_alike(name, models, probe, observe):
    alike = 11
    case = Case(models[name], lengths=(17, 12, 25, 14), seed=2)
    case.rows = [case.rows[0][:alike] + row[alike:] for row in case.rows]
    recipes = ("cpu", "cpu, common beginnings", "reference, common beginnings, checkpoint")
    compare(case, probe, observe, recipes, lambda r, i: i >= alike + r % 2)
    batch = Batch.of_rows(case.rows, lambda r, i: i >= alike)
    apart, together = (case.gradients(probe, RECIPES[recipe], [(batch, 1.0, 0)])[1] for recipe in recipes[:2])
    assert any((apart[k] != together[k]).any() for k in apart)  # they were computed once


@pytest.mark.parametrize("mask", SUPERVISED)
@pytest.mark.parametrize("name", ("llama-q4g32-f32", "qwen2-q4g32-f16"))
def test_gradients_of_every_mask(name, mask, models, probe, observe):
    compare(Case(models[name], seed=2), probe, observe, ("cpu", "cpu, checkpoint"), SUPERVISED[mask])


@pytest.mark.parametrize("lengths", ((2,), (31,), (66, 130)), ids=str)
@pytest.mark.parametrize("name", ("llama-mixed", "qwen2-f32"))
def test_gradients_of_one_row_and_of_long_rows(name, lengths, models, probe, observe):
    compare(Case(models[name], lengths, seed=3), probe, observe, ("reference", "cpu", "cpu, 2 threads"))


@pytest.mark.parametrize("window", (1, 6, 64, 100))
def test_gradients_of_sliding_windows(window, models, tmp_path, probe, observe):
    """Windows shorter and longer than the kernels' blocks of 64 keys, in rows longer than them."""
    folder = tmp_path / "model"
    shutil.copytree(models["llama-sliding-f32"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(config, sliding_window=window)))
    compare(Case(folder, (66, 130), seed=12), probe, observe, ("reference", "cpu", "cpu, 2 threads"), what="gradients in windows")


KEYS = (
    ["self_attn.q_proj", "self_attn.v_proj"],
    ["self_attn.k_proj"],
    ["self_attn.o_proj"],
    ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
    ["mlp.down_proj"],
    ["self_attn.v_proj", "mlp.up_proj"],
)


@pytest.mark.parametrize("keys", KEYS, ids="+".join)
@pytest.mark.parametrize("layers", (1, 3))
def test_gradients_of_chosen_keys_in_the_last_layers(keys, layers, models, probe, observe):
    for name in ("llama-q8g64-f16", "qwen2-f32"):
        case = Case(models[name], num_layers=layers, keys=keys, rank=3, scale=10.0)
        compare(case, probe, observe, ("reference", "cpu", "cpu, checkpoint"), SUPERVISED["prompt masked"])


@pytest.mark.parametrize("rank", (1, 8, 17, 64))
def test_gradients_of_every_rank(rank, models, probe, observe):
    compare(Case(models["llama-q4g32-f16-untied"], rank=rank, seed=rank), probe, observe, ("reference", "cpu, 2 threads"))


def test_packed_segments_are_separate_rows_of_mlx_lm(models, probe, observe):
    case = Case(models["llama-f32"], (5, 1 + 16, 33, 2, 12), seed=4)
    batch = Batch.of_rows(case.rows)
    tolerance = GradientTolerance(case.model, [(batch, 1.0)], [case.adapters()])
    mlx_model = mlx_side.load_float32(case.folder, case.options, case.parameters)
    alone = [mlx_side.loss_and_gradients(mlx_model, [row], None)[1] for row in case.rows]
    total = {k: sum(g[k].astype(np.float64) for g in alone) for k in alone[0]}
    for name in ("reference", "cpu, 2 threads"):
        _, gradients = case.gradients(probe, RECIPES[name], [(batch, 1.0, 0)])
        observe(f"gradients of packed segments to separate mlx-lm rows, {name}", *tolerance.ratio(gradients, against=(total, tolerance)))


@pytest.mark.parametrize("recipe", ("reference", "cpu", "cpu, checkpoint", "cpu, micro-batches"))
def test_passes_accumulate_with_their_loss_scales(recipe, models, probe, observe):
    case = Case(models["qwen2-q4g32-f16"], (19, 8, 13, 21), seed=5)
    passes = [(Batch.of_rows(case.rows[:1]), 0.25), (Batch.of_rows(case.rows[1:3]), 1.5), (Batch.of_rows(case.rows[3:]), 1e-3)]
    tolerance = GradientTolerance(case.model, passes, [case.adapters()] * 3)
    losses, gradients = case.gradients(probe, RECIPES[recipe], [(b, s, 0) for b, s in passes])
    observe(f"accumulated gradients to float64, {recipe}", *tolerance.ratio(gradients))
    for ours, exact in zip(losses, tolerance.losses):
        observe(f"losses of accumulated passes to float64, {recipe}", abs(ours - exact) / tolerance.loss)


def test_same_request_gives_the_same_bits(models, probe):
    case = Case(models["llama-mixed"], seed=6)
    passes = [(Batch.of_rows(case.rows), 1.0, 0)]
    for recipe in ("cpu, 2 threads", "cpu, checkpoint", "cpu, micro-batches"):
        first, second = (case.gradients(probe, RECIPES[recipe], passes) for _ in range(2))
        assert first[0] == second[0]
        assert all((first[1][k] == second[1][k]).all() for k in first[1]), recipe


def test_checkpointing_changes_no_bit(models, probe):
    case = Case(models["qwen2-f32"], seed=6, dropout=0.1)
    passes = [(Batch.of_rows(case.rows), 1.0, 3)]
    plain, checkpointed = (case.gradients(probe, RECIPES[r], passes) for r in ("cpu", "cpu, checkpoint"))
    assert plain[0] == checkpointed[0]
    assert all((plain[1][k] == checkpointed[1][k]).all() for k in plain[1])


def dropout_key(seed, module_index):
    """src/engine/dropout_key.h"""
    mask = 2**64 - 1
    z = (seed + 0x9E3779B97F4A7C15 * (module_index + 1)) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


@pytest.mark.parametrize("recipe", ("reference", "cpu", "cpu, 2 threads", "cpu, checkpoint"))
@pytest.mark.parametrize("p", (0.05, 0.5))
def test_gradients_under_adapter_dropout(p, recipe, models, probe, observe):
    case = Case(models["llama-q4g32-f32"], seed=7, dropout=p, num_layers=3)
    batch, passes, adapters = Batch.of_rows(case.rows), [], []
    for seed in (1234567890123456789, 5):
        masks = {
            path: dropout_mask(dropout_key(seed, index), len(batch.tokens), case.model.weights[path].shape[1], p)
            for index, path in enumerate(case.modules)
        }
        assert all(abs((m > 0).mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / m.size) for m in masks.values())
        adapters.append(case.adapters(masks))
        passes.append((batch, 1.0, seed))
    tolerance = GradientTolerance(case.model, [(batch, 1.0)] * 2, adapters)
    losses, gradients = case.gradients(probe, RECIPES[recipe], passes)
    assert losses[0] != losses[1]
    observe(f"gradients under dropout to float64, {recipe}", *tolerance.ratio(gradients))
    for ours, exact in zip(losses, tolerance.losses):
        observe(f"loss under dropout to float64, {recipe}", abs(ours - exact) / tolerance.loss)
    # Validation does not drop anything.
    (without,) = probe.json_lines("loss", case.folder, case.request(probe, recipe=RECIPES[recipe], passes=[batch.as_json()]))
    observe("validation loss of adapters with dropout", abs(without - case.model.loss(batch, case.adapters())) / tolerance.loss)


@pytest.mark.parametrize("recipe", ("reference", "cpu, 2 threads"))
def test_loss_without_gradients(recipe, models, probe, observe):
    case = Case(models["llama-mixed"], seed=8)
    batch = Batch.of_rows(case.rows, SUPERVISED["prompt masked"])
    tolerance = GradientTolerance(case.model, [(batch, 1.0)], [case.adapters()])
    (loss,) = probe.json_lines("loss", case.folder, case.request(probe, recipe=RECIPES[recipe], passes=[batch.as_json()]))
    observe(f"loss_sum to float64, {recipe}", abs(loss - tolerance.losses[0]) / tolerance.loss)


@pytest.mark.parametrize("chunks", ((30,), (1,) * 30, (7, 1, 1, 13, 8)), ids=lambda c: f"{len(c)} pieces")
def test_decoder_gives_the_logits_of_the_whole(chunks, models, probe, observe):
    for name in ("llama-q4g32-f16-untied", "llama-wide-heads-f32-traditional", "qwen2-f32", "llama-sliding-f32"):
        case = Case(models[name], (30,), seed=9)
        exact, tolerance = logits_tolerance(case.model, case.rows, case.adapters())
        for kernels in ("reference", "cpu"):
            request = case.request(probe, tokens=case.rows[0], chunks=list(chunks), recipe=dict(kernels=kernels, threads=2))
            ours = np.array(probe.tensors("decode", case.folder, request)[0]["logits"])
            error = np.abs(ours - exact[0][np.cumsum(chunks) - 1]).max()
            observe(f"decoder logits to float64, {kernels}", error / tolerance, name)


def directional_derivative(loss, h):
    """(fourth-order central difference, its own error: the difference to the same with 2h)."""
    at = {s: loss(s * h) for s in (-4, -2, -1, 1, 2, 4)}
    fine = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)
    coarse = (8 * (at[2] - at[-2]) - (at[4] - at[-4])) / (24 * h)
    return fine, abs(fine - coarse)


@pytest.mark.parametrize("name", ("llama-q4g128-bf16", "qwen2-q4g32-f16"))
def test_finite_differences_of_the_float64_loss(name, models, probe, observe):
    """Independent of anybody's backward: directions and single entries of every adapter tensor."""
    case = Case(models[name], (11, 7), seed=10, rank=2)
    batch = Batch.of_rows(case.rows, lambda r, i: i >= 3)
    exact = case.adapters()
    tolerance = GradientTolerance(case.model, [(batch, 1.0)], [exact])
    gradients = {recipe: case.gradients(probe, RECIPES[recipe], [(batch, 1.0, 0)])[1] for recipe in ("reference", "cpu, 2 threads")}
    for tensor, value in exact.parameters.items():
        entry = np.zeros(value.size)
        entry[case.random.integers(value.size)] = 1.0
        for direction in (case.random.standard_normal(value.shape), entry.reshape(value.shape)):
            direction /= np.linalg.norm(direction)

            def loss(step):
                return case.model.loss(batch, Adapters(exact.scale, dict(exact.parameters, **{tensor: value + step * direction})))

            derivative, uncertainty = directional_derivative(loss, 1e-3)
            allowed = tolerance.norm[tensor] + uncertainty  # Cauchy-Schwarz: the direction has norm 1
            for recipe, ours in gradients.items():
                observe(f"gradients to finite differences, {recipe}", abs((ours[tensor] * direction).sum() - derivative) / allowed, tensor)
            observe("hand-written float64 backward to finite differences", abs((tolerance.exact[tensor] * direction).sum() - derivative) / allowed)


class WithoutSoftmaxTerm(NumpyModel):
    def _softmax_backward(self, dp, p, r):
        return p * dp


class WithRotationForward(NumpyModel):
    def _rotate(self, x, positions, direction):
        return super()._rotate(x, positions, 1)


class WithoutNormTerm(NumpyModel):
    def _norm_backward(self, name, dy, x, inverse, r):
        return inverse * dy * self.tensors[f"{name}.weight"]


class WithSegmentsThatSeeEachOther(NumpyModel):
    def _attention(self, q, k, v, segments, window, r):
        out, _ = super()._attention(q, k, v, [(0, q.shape[0])], window, r)
        return out, super()._attention(q, k, v, segments, window, r)[1]


BROKEN = (WithoutSoftmaxTerm, WithRotationForward, WithoutNormTerm, WithSegmentsThatSeeEachOther)


@pytest.mark.parametrize("broken", BROKEN)
def test_the_tolerance_sees_a_broken_backward(broken, models):
    case = Case(models["llama-q4g32-f32"])
    batch = Batch.of_rows(case.rows)
    tolerance = GradientTolerance(case.model, [(batch, 1.0)], [case.adapters()])
    _, gradients = broken(case.folder).loss_and_gradients(batch, case.adapters())
    assert tolerance.ratio(gradients)[0] > 10


def test_the_tolerance_sees_one_wrong_entry_in_any_tensor(models):
    case = Case(models["qwen2-f32"])
    tolerance = GradientTolerance(case.model, [(Batch.of_rows(case.rows), 1.0)], [case.adapters()])
    assert tolerance.ratio(tolerance.exact)[0] == 0.0
    for name, exact in tolerance.exact.items():
        wrong = exact.copy()
        wrong.flat[case.random.integers(wrong.size)] += 10 * tolerance.norm[name]
        assert tolerance.ratio(dict(tolerance.exact, **{name: wrong}))[0] > 9
        # A gradient that is off by a factor 1.0001, or has lost its largest entry, is seen as well.
        assert tolerance.ratio(dict(tolerance.exact, **{name: exact * 1.0001}))[0] > 2
        lost = exact.copy()
        lost.flat[np.abs(lost).argmax()] = 0.0
        assert tolerance.ratio(dict(tolerance.exact, **{name: lost}))[0] > 10


@pytest.mark.parametrize("kind", ("dense", "q4"))
def test_smollm2_logits_and_gradients(kind, smollm2, probe, observe):
    case = Case(smollm2(kind), (17, 6), num_layers=4, rank=8, seed=11)
    case.rows = [[token * 37 % 49000 for token in row] for row in case.rows]
    exact, tolerance = logits_tolerance(case.model, case.rows)
    theirs = mlx_side.logits(mlx_side.load_float32(case.folder), case.rows)
    tensors, _ = probe.tensors("logits", case.folder, dict(rows=case.rows, recipe=dict(threads=2)))
    for r in range(len(case.rows)):
        ours = np.array(tensors[f"logits.{r}"])
        observe(f"SmolLM2 {kind}: logits to float64", np.abs(ours - exact[r]).max() / tolerance)
        observe(f"SmolLM2 {kind}: logits to mlx-lm", np.abs(ours - theirs[r]).max() / (2 * tolerance))

    def supervised(_, i):
        return i >= 3

    tolerance, one_accumulator = compare(case, probe, observe, ("reference", "cpu, 2 threads"), supervised, what=f"SmolLM2 {kind}: gradients")
    assert_small_changes_are_seen(case, Batch.of_rows(case.rows, supervised), tolerance, one_accumulator)


def assert_small_changes_are_seen(case, batch, tolerance, one_accumulator):
    """In a real model's gradients: ours off by a factor, or by the terms that one accumulator loses; lost parts of the backward by both tolerances."""
    for name, exact in tolerance.exact.items():
        assert tolerance.ratio(dict(tolerance.exact, **{name: exact * 1.0001}))[0] > 1.5, name
        assert one_accumulator.ratio(dict(tolerance.exact, **{name: exact * 1.01}))[0] > 1.5, name
        lost = exact.copy()
        lost.flat[np.abs(lost).argmax()] = 0.0
        assert one_accumulator.ratio(dict(tolerance.exact, **{name: lost}))[0] > 10, name
    assert tolerance.ratio(case.model.loss_and_gradients(batch, case.adapters(), OneAccumulatorRounding(DRAWS))[1])[0] > 10
    for broken in BROKEN:
        changed = copy.copy(case.model)  # its weights are shared
        changed.__class__ = broken
        assert one_accumulator.ratio(changed.loss_and_gradients(batch, case.adapters())[1])[0] > 100, broken
