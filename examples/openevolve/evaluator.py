"""OpenEvolve's evaluate(program_path), answered by `evolora judge`: OpenEvolve searches, our judge decides what a kernel is worth.

A program that fails a gate, is quarantined or could not be judged gets combined_score 0. What passed gets the lower confidence bound of its speed-up, a
ratio above 0 (1 is the pack it started from), so no failure outranks an honest kernel, not even a slow one.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess

try:
    from openevolve.evaluation_result import EvaluationResult
except ImportError:  # tried by hand, without OpenEvolve
    EvaluationResult = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "CXX")  # of the environment; the key of the language model stays here


def default_program():
    built = ROOT / "build/release/evolora"
    return str(built) if built.exists() else shutil.which("evolora") or "evolora"


def run_judge(command, time_limit_s):
    """-> the object that the judge printed, or None if it took too long. A judge that failed itself raises, which OpenEvolve reports and may retry."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # A session of its own: OpenEvolve's time-out cannot end a running evaluation, so it is ended here with all it started.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True, errors="replace",
                          start_new_session=True) as process:
        try:
            output, complaint = process.communicate(timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None
    if process.returncode != 0:
        raise RuntimeError(f"evolora judge ended with status {process.returncode}: {complaint.strip()[-500:]}")
    return json.loads(output)


def evaluate(program_path, pack=None, evolora=None, arguments=(), time_limit_s=840):
    """Keywords come from evaluator.evaluator_args in config.yaml: the pack whose source file is evolved, the program, more arguments of `judge`."""
    pack = pack or str(ROOT / "examples/packs/cpu/lora_linear_forward")
    command = [evolora or default_program(), "judge", str(program_path), "--pack", pack, "--json", *map(str, arguments)]
    judged = run_judge(command, time_limit_s)
    if judged is None:
        judged = {"outcome": "inconclusive", "gate": "time", "reason": f"not judged within {time_limit_s} s"}
    # Numbers only: OpenEvolve averages every number it finds when combined_score is missing, so it never is.
    metrics = {"combined_score": 0.0}
    if judged["outcome"] == "scored":
        metrics = {name: float(judged[name]) for name in ("combined_score", "speedup", "memory_saving") if name in judged}
    artifacts = {name: str(judged[name]) for name in ("outcome", "gate", "reason", "artifact") if judged.get(name)}
    return EvaluationResult(metrics=metrics, artifacts=artifacts) if EvaluationResult else metrics
