"""Paths, the probe and the models of the oracles, and a table at the end: how much of each tolerance was used."""
import json
import os
import subprocess
from pathlib import Path

import mlx.core as mx
import pytest

import make_models

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("EVOLORA_BUILD", REPOSITORY / "build" / "release"))
OBSERVATIONS = {}

mx.set_default_device(mx.cpu)


def run_checked(command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"exit {done.returncode}: {' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="session")
def evolora():
    """The program as a function of its arguments."""
    binary = BUILD / "evolora"
    assert binary.exists(), f"{binary} is missing: make build"
    return lambda *arguments, **options: run_checked([binary, *arguments], **options)


class Probe:
    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        self.binary = BUILD / "evolora_probe"
        assert self.binary.exists(), f"{self.binary} is missing: make build"

    def text(self, verb, *arguments):
        return run_checked([self.binary, verb, *arguments]).stdout

    def tensors(self, verb, model, request):
        """-> ({name: mx.array}, metadata) of a verb that takes a model folder and a JSON request."""
        self.count += 1
        asked, out = self.folder / f"{self.count}.json", self.folder / f"{self.count}.safetensors"
        asked.write_text(json.dumps(request))
        run_checked([self.binary, verb, model, asked, out])
        return mx.load(str(out), return_metadata=True)

    def json_lines(self, verb, model, request):
        self.count += 1
        asked = self.folder / f"{self.count}.json"
        asked.write_text(json.dumps(request))
        return [json.loads(line) for line in run_checked([self.binary, verb, model, asked]).stdout.splitlines()]


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    return Probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="session")
def models():
    """{name: folder} of the small random models."""
    return make_models.make_all()


@pytest.fixture(scope="session")
def observe():
    """observe(what, error / tolerance): asserts that it is below 1 and remembers the largest for the table."""

    def remember(what, ratio, detail=""):
        if ratio >= OBSERVATIONS.get(what, (-1.0, ""))[0]:
            OBSERVATIONS[what] = (float(ratio), detail)
        assert ratio < 1.0, f"{what}: error is {ratio:.3g} of the tolerance {detail}"

    return remember


def pytest_terminal_summary(terminalreporter):
    if OBSERVATIONS:
        terminalreporter.section("largest share of a tolerance that was used")
        for what, (ratio, detail) in sorted(OBSERVATIONS.items()):
            terminalreporter.write_line(f"{ratio:8.3f}  {what} {detail}")


def find_smollm2():
    """The GGUF file: EVOLORA_SMOLLM2_GGUF, or where `evolora fetch` puts it under build/."""
    chosen = os.environ.get("EVOLORA_SMOLLM2_GGUF")
    found = [Path(chosen)] if chosen else sorted((REPOSITORY / "build").glob("models/**/*.gguf"))
    return next((f for f in found if f.exists()), None)


@pytest.fixture(scope="session")
def smollm2(evolora):
    """smollm2("dense" | "q4"): SmolLM2-135M-Instruct as an MLX folder with float32 values. Both hold the same numbers, up to one rounding."""
    gguf = find_smollm2()
    if gguf is None:
        pytest.skip("SmolLM2 is not fetched (tools/models.sh smollm2-135m-mlx, or EVOLORA_SMOLLM2_GGUF=FILE)")

    def folder(kind):
        path = make_models.DEFAULT_FOLDER.parent / "oracle-smollm2" / f"{kind}-f32"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            evolora("convert", "--model", gguf, "--mlx-path", path, "--dtype", "float32", *(["-d"] if kind == "dense" else []))
        return path

    return folder
