"""The parts of bench/prove.py: what is compared, on which samples, with which rules of the verdict, and how it must come out."""

import dataclasses
import json
import pathlib
import sys

from openblas import PLACES, openblas_environment, openblas_library

BENCH = pathlib.Path(__file__).resolve().parent
RECIPES = BENCH / "recipes"

# Tokens per second on two cores, SmolLM2-135M, for estimates only: nothing else reads them.
RATES = {"fused": 450, "low": 600, "mlx": 120, "mlx 4-bit": 8, "peft": 240}
START_SECONDS = 3  # of a process, before its first step


@dataclasses.dataclass
class Places:
    """Where the programs and models are."""

    evolora: pathlib.Path
    faults: pathlib.Path
    model: pathlib.Path  # 4 bits
    dense: pathlib.Path  # the same weights in fp32
    mlx_python: pathlib.Path
    peft_python: pathlib.Path


@dataclasses.dataclass
class Arm:
    """file: an arm file's content; kind: its key in RATES; needs: [(path, what provides it)] that must exist."""

    file: dict
    kind: str
    needs: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Expected:
    """decisions: those that are right; says and says_not: parts of the verdict's reason; slower: the interval of the speed lies below 1."""

    decisions: tuple = ("ACCEPT", "REJECT", "INCONCLUSIVE")
    says: str = ""
    says_not: tuple = ()
    slower: bool = False

    def met(self, verdict):
        reason = verdict["reason"]
        said = self.says in reason and not any(text in reason for text in self.says_not)
        highest = next((claim["interval"][1] for claim in verdict["claims"] if claim["name"] == "speed"), 1)
        return verdict["decision"] in self.decisions and said and (not self.slower or highest < 1)

    def words(self):
        words = " or ".join(self.decisions) if len(self.decisions) < 3 else "any"
        return words + (f', "{self.says}"' if self.says else "") + "".join(f', not "{text}"' for text in self.says_not) + (", surely slower" if self.slower else "")


@dataclasses.dataclass
class Proof:
    name: str
    title: str
    baseline: Arm
    candidate: Arm
    expected: Expected
    pairs: int
    samples: int  # first records of the data's train.jsonl; valid: of its valid.jsonl, all of which are validated
    valid: int
    steps: int
    dense: bool = False
    flags: tuple = ()  # of `evolora bench`, over the common ones
    batch: int = 4
    longest: int = 512
    loaded: bool = False  # with other processes on the same processors

    def seconds(self, arm, tokens_per_sample, valid_tokens, cpus):
        """About how long one trial of an arm takes."""
        rate = RATES[arm.kind] * cpus / 2 / (2 if self.loaded else 1)
        learned = self.steps * self.batch * tokens_per_sample
        return START_SECONDS + (learned + 2 * valid_tokens / 3) / rate  # a validation before and one after, each a third of a step's work


def fused(name="fused", recipe=None, program=None, kind="fused", **train):
    file = {"name": name, "train": {**train, **({"recipe": str(RECIPES / recipe)} if recipe else {})}}
    needs = []
    if program:
        file["program"] = str(program)
        needs.append((program, "cmake --build build/release --target evolora_faults"))
    return Arm(file, kind, needs)


def openblas_need():
    """MLX without it would be no fair baseline."""
    return (pathlib.Path(openblas_library() or PLACES[-1]), "libopenblas-dev, or --openblas")


def mlx_engine(places, recipe=None):
    """The standard operations of mlx-lm, in the MLX engine of this program, with OpenBLAS in this arm alone."""
    file = {"name": "mlx standard, OpenBLAS", "train": {"engine": "mlx"}, "environment": openblas_environment()}
    if recipe:
        file["train"]["recipe"] = str(RECIPES / recipe)
    module = (places.evolora.parent / "evolora_mlx_engine.so", "tools/bootstrap.sh build, then make build")
    return Arm(file, "mlx 4-bit" if recipe else "mlx", [module, openblas_need()])


def external(file_name, kind, python, usual_python, part, extra=(), without=()):
    """An arm file of bench/arms with the Python that is to run it. without: figures that are not read."""
    file = json.loads((BENCH / "arms" / file_name).read_text(encoding="utf-8"))
    replaced = {usual_python: str(python), "python3": sys.executable}
    file["command"] = [replaced.get(word, word) for word in file["command"]] + list(extra)
    for figure in without:
        del file["read"][figure]
    return Arm(file, kind, [(python, f"tools/bootstrap.sh {part}")])


def against_mlx(places):
    dense, four_bits = mlx_engine(places), mlx_engine(places, "mlx_fp32.json")
    compat = ("--compat", "mlx-lm")
    better, worse = Expected(("ACCEPT",), "the same training"), Expected(("REJECT",), "worse in")
    big = {"samples": 24, "valid": 8, "steps": 6, "dense": True, "flags": compat}
    # One short row a step: 4-bit products of MLX are scalar on x86.
    small = {"samples": 4, "valid": 1, "steps": 4, "batch": 1, "longest": 64, "flags": compat}
    return [
        Proof("dense", "fused against MLX standard, dense fp32", dense, fused(), better, 5, **big),
        Proof("dense-reversed", "MLX standard against fused, dense fp32", fused(), dense, worse, 3, **big),
        Proof("4bit", "fused against MLX standard, 4-bit", four_bits, fused(), better, 5, **small),
        Proof("4bit-reversed", "MLX standard against fused, 4-bit", fused(), four_bits, worse, 3, **small),
    ]


def faulty_builds(places):
    """A build is another program to the bench, nothing more: which fault it has stands in no argument but its path."""

    def build(name):
        return fused("another build", program=places.faults / f"evolora_{name}")

    not_accepted = ("REJECT", "INCONCLUSIVE")
    # 3 % is seen in pairs of which each is known to a few per cent: as slower than 1, and for want of a gain. That it is worse by more than 1 % as well would take a quiet
    # machine or many more pairs.
    slow = {"pairs": 16, "samples": 40, "valid": 4, "steps": 10, "flags": ("--regression-margin", "1%")}
    # A rate shows in how far the loss fell while it still falls in proportion to the rate: few steps, at a low one. Ten at 2e-5 hide half of it.
    early = {"samples": 24, "valid": 8, "steps": 6, "flags": ("--learning-rate", "5e-6")}
    brief = {"samples": 24, "valid": 4, "steps": 6}
    return [
        Proof("loaded", "the same program on a loaded machine", fused(), fused("fused again"), Expected(not_accepted), 8, loaded=True, **brief),
        Proof("fault-none", "another build without a fault", fused(), build("none"), Expected(not_accepted, "", ("worse in", "not the same", "did not do")), **slow),
        Proof("fault-slow", "a build with a hidden 3 % slowdown", fused(), build("slow"), Expected(("REJECT",), slower=True), **slow),
        Proof("fault-layer", "a build that skips a layer", fused(), build("layer"), Expected(("REJECT",), "layers_skipped"), 3, **brief),
        Proof("fault-sample", "a build that drops a sample", fused(), build("sample"), Expected(("REJECT",), "not the same training: tokens"), 3, **brief),
        Proof("fault-rate", "a build with a learning rate 2 % off", fused(), build("rate"), Expected(("REJECT",), "not the same training: progress"), 5, **early),
    ]


def against_others(places):
    mlx_python, peft_python = places.mlx_python, places.peft_python
    # Its count is of learned tokens where prompts are masked, ours of all: not comparable. Steps and losses are.
    mlx_lm = external("mlx_lm.json", "mlx", mlx_python, "build/python/bin/python", "oracle", ("--mask-prompt",), without=("tokens",))
    mlx_lm.needs.append(openblas_need())
    peft = external("peft.json", "peft", peft_python, "build/peers/bin/python", "peers")
    as_torch = Arm(json.loads((BENCH / "arms/fused_as_peft.json").read_text(encoding="utf-8")), "fused")
    two_epochs = {"samples": 100, "valid": 20, "steps": 50, "dense": True, "longest": 1024}
    masked = ("--mask-prompt", "--steps-per-report", "25")
    return [
        Proof("mlx-lm", "fused against mlx_lm.lora, 2 epochs, prompts masked", mlx_lm, fused(), Expected(("ACCEPT",)), 5, **two_epochs, flags=(*masked, "--compat", "mlx-lm")),
        Proof("peft", "fused against PEFT, 2 epochs, prompts masked", peft, as_torch, Expected(), 5, **two_epochs, flags=(*masked, "--token-margin", "0.1%")),
    ]


def low_arithmetic():
    epoch = {"pairs": 10, "samples": 100, "valid": 20, "steps": 25, "flags": ("--mask-prompt",)}
    return [
        Proof("int8", "int8 forward against fp32", fused("fp32"), fused("int8 forward", "int8_forward.json", kind="low"), Expected(), **epoch),
        Proof("bf16", "bf16 forward and backward against fp32", fused("fp32"), fused("bf16", "bf16.json", kind="low"), Expected(), **epoch),
    ]


def all_proofs(places):
    return [*against_mlx(places), *faulty_builds(places), *against_others(places), *low_arithmetic()]
