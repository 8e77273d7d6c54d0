"""examples/openevolve with OpenEvolve itself (build/openevolve) and an endpoint on this machine: what it does with our judge's answers.

A script stands in for the judge where its verdict has to be known; the last test runs the real one.
"""
import importlib.util
import json
import os
import re
import subprocess

import pytest

from conftest import BUILD, REPOSITORY
from fake_endpoint import FakeEndpoint

EXAMPLE = REPOSITORY / "examples/openevolve"
OPENEVOLVE = REPOSITORY / "build/openevolve/bin/openevolve-run"
CANARY = "sk-canary-4711-do-not-leak"

# Judges by a number in the program: below 0 a failed gate, else the score. Leaves what it was given and its environment beside itself.
STAND_IN = """#!/usr/bin/env python3
import json, os, pathlib, re, sys, time
source = pathlib.Path(sys.argv[2]).read_text()
score = float(re.search(r"kScore = (-?[0-9.]+);", source)[1])
with open(pathlib.Path(__file__).parent / "calls.jsonl", "a") as calls:
    calls.write(json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ), "score": score}) + "\\n")
if score == 99:
    time.sleep(60)
if score == 77:
    sys.exit("evolora: error: disk full")
if score < 0:
    print(json.dumps({"outcome": "rejected", "gate": "numerics", "reason": "y[7] is off", "artifact": "ARTIFACT-OF-" + str(score), "seconds": 1}))
else:
    print(json.dumps({"outcome": "scored", "gate": "microbenchmark", "combined_score": score, "speedup": score * 1.01, "pairs": 9, "seconds": 1}))
"""
PROGRAM = """// A kernel.
// EVOLVE-BLOCK-START
constexpr double kScore = 1.0;
// EVOLVE-BLOCK-END
double outside() { return kScore; }
"""


def edit(old, new):
    return f"I change one line.\n\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"


def score_in(prompt):
    """The score of the program that the prompt asks to change: the last one in it."""
    return re.findall(r"kScore = (-?[0-9.]+);", prompt)[-1]


@pytest.fixture(autouse=True)
def installed():
    if not OPENEVOLVE.exists():
        pytest.skip("OpenEvolve is not installed (tools/bootstrap.sh openevolve)")


@pytest.fixture
def stand_in(tmp_path):
    path = tmp_path / "evolora"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return path


def calls_of(stand_in):
    log = stand_in.parent / "calls.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def write_config(folder, endpoint, evaluator_args):
    """The example's own configuration with another endpoint, key and judge."""
    text = (EXAMPLE / "config.yaml").read_text()
    text = re.sub(r"api_base: \S+", f"api_base: {endpoint.api_base}", text)
    text = re.sub(r"api_key: local", "api_key: ${CANARY_KEY}", text)
    text = re.sub(r"num_islands: \d+", "num_islands: 1", text)
    text += "".join(f"    {name}: {json.dumps(value)}\n" for name, value in evaluator_args.items() if name != "time_limit_s")
    if "time_limit_s" in evaluator_args:
        text = re.sub(r"time_limit_s: \d+", f"time_limit_s: {evaluator_args['time_limit_s']}", text)
    (folder / "config.yaml").write_text(text)
    return folder / "config.yaml"


def run_openevolve(folder, program, config, iterations):
    command = [OPENEVOLVE, program, EXAMPLE / "evaluator.py", "--config", config, "--output", folder / "out", "--iterations", str(iterations)]
    environment = {**os.environ, "CANARY_KEY": CANARY, "NO_PROXY": "*"}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    programs = [json.loads(p.read_text()) for p in (folder / "out").glob("checkpoints/checkpoint_*/programs/*.json")]
    return {p["id"]: p for p in programs}, json.loads((folder / "out/best/best_program_info.json").read_text())


def test_failures_never_outrank_and_artifacts_are_kept(tmp_path, stand_in):
    answers = ["-1.0", "0.25", "1.5", "-2.0", "1.25", "-3.0"]  # what each answer makes of the score: failed, honest but slow, better, ...

    def answer(number, body):
        prompt = body["messages"][-1]["content"]
        return edit(f"constexpr double kScore = {score_in(prompt)};", f"constexpr double kScore = {answers[number % len(answers)]};")

    program = tmp_path / "kernel.cpp"
    program.write_text(PROGRAM)
    with FakeEndpoint(answer) as endpoint:
        config = write_config(tmp_path, endpoint, {"evolora": str(stand_in), "arguments": ["--quick"]})
        programs, best = run_openevolve(tmp_path, program, config, 10)
    calls = calls_of(stand_in)
    assert {c["score"] for c in calls} >= {1.0, -1.0, 0.25, 1.5}
    assert all(c["arguments"][0] == "judge" and c["arguments"][-2:] == ["--json", "--quick"] for c in calls)
    assert best["metrics"]["combined_score"] == 1.5
    scores = {float(re.search(r"kScore = (-?[0-9.]+);", p["code"])[1]): p["metrics"]["combined_score"] for p in programs.values()}
    assert all(got == (score if score > 0 else 0.0) for score, got in scores.items())
    assert min(got for score, got in scores.items() if score > 0) > max((got for score, got in scores.items() if score < 0), default=-1.0)
    failed = [p for p in programs.values() if p["metrics"]["combined_score"] == 0.0]
    assert failed and all("ARTIFACT-OF-" in (p["artifacts_json"] or "") for p in failed)


def test_the_key_does_not_reach_the_judge(tmp_path, stand_in):
    program = tmp_path / "kernel.cpp"
    program.write_text(PROGRAM)
    change = edit("constexpr double kScore = 1.0;", "constexpr double kScore = 1.1;")
    with FakeEndpoint(lambda number, body: "I would rather not." if number else change) as endpoint:
        config = write_config(tmp_path, endpoint, {"evolora": str(stand_in)})
        run_openevolve(tmp_path, program, config, 2)
        assert all(h.get("authorization") == f"Bearer {CANARY}" for h in endpoint.headers), "the test itself: the key has to be in use"
    calls = calls_of(stand_in)
    assert calls and CANARY not in json.dumps(calls)


def load_evaluator():
    spec = importlib.util.spec_from_file_location("evaluator", EXAMPLE / "evaluator.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SLOW = {"combined_score": 0.25, "speedup": 0.2525}


@pytest.mark.parametrize("score, expected", [("1.5", {"combined_score": 1.5, "speedup": 1.515}), ("0.25", SLOW), ("-1.0", {"combined_score": 0.0})])
def test_metrics_without_openevolve(tmp_path, stand_in, score, expected):
    program = tmp_path / "kernel.cpp"
    program.write_text(PROGRAM.replace("1.0", score))
    assert load_evaluator().evaluate(program, evolora=stand_in) == pytest.approx(expected)


def test_a_judge_that_hangs_is_ended_and_one_that_breaks_is_an_error(tmp_path, stand_in):
    program = tmp_path / "kernel.cpp"
    program.write_text(PROGRAM.replace("1.0", "99"))
    assert load_evaluator().evaluate(program, evolora=stand_in, time_limit_s=1) == {"combined_score": 0.0}
    assert subprocess.run(["pgrep", "-f", str(stand_in)], capture_output=True).returncode == 1, "the judge still runs"
    program.write_text(PROGRAM.replace("1.0", "77"))
    with pytest.raises(RuntimeError, match="disk full"):
        load_evaluator().evaluate(program, evolora=stand_in)


def test_with_the_real_judge(tmp_path):
    """Three iterations on a starting pack: an edit that says nothing new, one that breaks the kernel, one that does not compile."""
    pack = REPOSITORY / "examples/packs/cpu/lora_linear_forward"
    if not pack.exists() or subprocess.run([BUILD / "evolora", "judge", "--help"], capture_output=True).returncode != 0:
        pytest.skip("this program has no command judge, or there is no pack")
    source = next(pack.glob("*.cpp"))
    first = source.read_text().split("EVOLVE-BLOCK-START", 1)[1].split("\n", 1)[1].split("\n", 1)[0]  # the block's first line
    changes = [f"{first}\n// the same", f"{first}\n#error no", f"{first}\nstatic_assert(false);"]
    with FakeEndpoint(lambda number, body: edit(first, changes[number % 3])) as endpoint:
        config = write_config(tmp_path, endpoint, {"evolora": str(BUILD / "evolora"), "pack": str(pack)})
        programs, best = run_openevolve(tmp_path, source, config, 3)
    broken = [p for p in programs.values() if "#error no" in p["code"] or "static_assert(false)" in p["code"]]
    assert all(p["metrics"]["combined_score"] == 0.0 for p in broken)
    assert best["metrics"]["combined_score"] > 0


# Every key of OpenEvolve's configuration, from its own data classes.
LIST_KEYS = """
import dataclasses, json
from openevolve import config
def walk(cls, prefix):
    keys = []
    for field in dataclasses.fields(cls):
        if field.name.startswith("_"):
            continue
        block = {"llm": config.LLMConfig, "prompt": config.PromptConfig, "database": config.DatabaseConfig, "evaluator": config.EvaluatorConfig,
                 "evolution_trace": config.EvolutionTraceConfig, "models": config.LLMModelConfig}.get(field.name)
        if block is None:
            keys.append(prefix + field.name)
        else:
            keys += walk(block, prefix + field.name + ("[]." if field.name == "models" else "."))
    return keys
print(json.dumps(walk(config.Config, "")))
"""


def test_every_key_of_openevolve_has_its_line_in_our_table():
    """docs/evolve_llm.md is tested against the program; here against OpenEvolve, in both directions."""
    listed = subprocess.run([OPENEVOLVE.parent / "python", "-c", LIST_KEYS], capture_output=True, text=True, check=True).stdout
    theirs = set(json.loads(listed))
    rows = re.findall(r"^\| `([^`]+)` \| (yes)? *\| ", (REPOSITORY / "docs/evolve_llm.md").read_text(), re.MULTILINE)
    ours = {key for key, openevolve in rows if openevolve}
    assert len(theirs) > 100
    assert theirs == ours, f"not in our table: {sorted(theirs - ours)}; not in OpenEvolve: {sorted(ours - theirs)}"
