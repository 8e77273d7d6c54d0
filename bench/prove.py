"""What `evolora bench` must be able to decide, as one command: each part is a bench with a known answer, or a question whose answer is what comes out.

    python3 bench/prove.py [--only PART...] [--data FOLDER] [--cpus 0,1] [--minutes 9] [--out build/bench/prove] [--estimate | --show | --tiny]

dense, 4bit and -reversed: the fused engine against MLX's standard operations, and the other way round. loaded: a program against itself while others use its processors.
fault-*: builds of this program with one hidden fault each (bench/faults), of which the bench is told nothing but the path. mlx-lm, peft: the real things, 100 samples,
2 epochs. int8, bf16: lower arithmetic against fp32.

Every part leaves OUT/PART, which `evolora bench --verify` has checked; its samples are the first of DATA. A part that is there is not run again, one that was stopped
(--minutes, Ctrl-C) goes on. Parts in different --out folders, or of different --only, can run side by side on processors of their own (--cpus). Nothing is installed.
Exit status 0: every part came out as it must.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import proofs

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Keeps a processor busy for a while and leaves it alone for a while, as others' programs do; ends with the process that started it.
LOAD = """
import os, random, sys, time
parent, generator = os.getppid(), random.Random(int(sys.argv[1]))
while os.getppid() == parent:
    until = time.monotonic() + generator.uniform(0.1, 2)
    while time.monotonic() < until: pass
    time.sleep(generator.uniform(0, 1))
"""


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = ROOT / "build"
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts [all]")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "examples/json_extraction", help="folder with train.jsonl and valid.jsonl of prompts and completions")
    parser.add_argument("--evolora", type=pathlib.Path, default=build / "release/evolora", help="the program that measures and is measured")
    parser.add_argument("--faults", type=pathlib.Path, help="folder of the faulty builds [faults beside the program]")
    parser.add_argument("--model", type=pathlib.Path, default=build / "models/smollm2-135m-mlx", help="4-bit model folder")
    parser.add_argument("--dense", type=pathlib.Path, help="the same in fp32 [made from it, in OUT]")
    parser.add_argument("--mlx-python", type=pathlib.Path, default=build / "python/bin/python", help="Python that has mlx-lm")
    parser.add_argument("--peft-python", type=pathlib.Path, default=build / "peers/bin/python", help="Python that has PEFT and torch")
    parser.add_argument("--openblas", type=pathlib.Path, help="OpenBLAS library for MLX [Debian's]")
    parser.add_argument("--out", type=pathlib.Path, default=build / "bench/prove")
    parser.add_argument("--cpus", help="processors of this run and all its children, such as 0,1 or 4-7 [all]")
    parser.add_argument("--pairs", type=int, help="pairs of every part, instead of its own number")
    parser.add_argument("--minutes", type=float, help="stop after this long; the same command later goes on")
    parser.add_argument("--tiny", action="store_true", help="two steps and two pairs of everything: whether it runs, not what is true")
    parser.add_argument("--estimate", action="store_true", help="only say about how long each part takes")
    parser.add_argument("--show", action="store_true", help="only check and show what is in OUT")
    arguments = parser.parse_args()
    # The benches run in the root of the repository, whose arm files name scripts from there.
    for name in ("data", "evolora", "faults", "model", "dense", "mlx_python", "peft_python", "openblas", "out"):
        path = getattr(arguments, name)
        setattr(arguments, name, path and pathlib.Path(os.path.abspath(path)))
    if arguments.pairs is not None and arguments.pairs < 1:
        parser.error(f"--pairs: expected 1 or more, got {arguments.pairs}")
    arguments.faults = arguments.faults or arguments.evolora.parent / "faults"
    arguments.dense = arguments.dense or arguments.out / "model-fp32"
    if arguments.cpus:
        use_processors(parser, arguments.cpus)
    if arguments.openblas:
        os.environ["EVOLORA_OPENBLAS"] = str(arguments.openblas)
    for path, what in ((arguments.evolora, "--evolora: no program"), (arguments.data / "train.jsonl", "--data: no file"), (arguments.data / "valid.jsonl", "--data: no file")):
        if not path.is_file():
            parser.error(f"{what} {path}")
    return parser, arguments


def use_processors(parser, text):
    """Children inherit the processors; the program, OpenBLAS and torch make as many threads as they may use."""
    wanted = set()
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
        if not found:
            parser.error(f"--cpus: expected numbers such as 0,1 or 4-7, got {text}")
        wanted.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    missing = wanted - os.sched_getaffinity(0)
    if missing:
        parser.error(f"--cpus: this process may use {sorted(os.sched_getaffinity(0))}, got {sorted(missing)} as well")
    os.sched_setaffinity(0, wanted)
    # Some libraries count the machine's processors instead.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(len(wanted))


def selected_proofs(parser, arguments):
    places = proofs.Places(arguments.evolora, arguments.faults, arguments.model, arguments.dense, arguments.mlx_python, arguments.peft_python)
    every = {proof.name: proof for proof in proofs.all_proofs(places)}
    for name in arguments.only or []:
        if name not in every:
            parser.error(f"--only: expected some of {', '.join(every)}; got {name}")
    chosen = [every[name] for name in arguments.only or every]
    for proof in chosen:
        if arguments.tiny:
            proof.pairs, proof.steps, proof.samples, proof.valid = 2, 2, 2 * proof.batch, proof.batch
        proof.pairs = arguments.pairs or proof.pairs
    return chosen


# ---- estimates


def tokens_of(line):
    """About, of a record in a chat template: English is a little under four letters a token, the template adds about thirty."""
    return 30 + len("".join(value for value in json.loads(line).values() if isinstance(value, str))) / 3.7


def estimated_seconds(proof, arguments):
    """(one trial of the baseline, one of the candidate, all)."""
    lines = {split: (arguments.data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines() for split in ("train", "valid")}
    train = [min(proof.longest, tokens_of(line)) for line in lines["train"][: proof.samples]]
    valid = sum(min(proof.longest, tokens_of(line)) for line in lines["valid"][: proof.valid])
    cpus = len(os.sched_getaffinity(0))
    baseline, candidate = (proof.seconds(arm, sum(train) / len(train), valid, cpus) for arm in (proof.baseline, proof.candidate))
    return baseline, candidate, (proof.pairs + 1) * (baseline + candidate)


def print_estimates(chosen, arguments):
    print(f"About, on {len(os.sched_getaffinity(0))} processors of the kind whose rates are in bench/proofs.py, samples of {arguments.data.name}:\n")
    print("| part | pairs, and one to warm up | baseline s | candidate s | minutes |\n|---|---|---|---|---|")
    total = 0
    for proof in chosen:
        baseline, candidate, seconds = estimated_seconds(proof, arguments)
        total += seconds
        print(f"| {proof.name} | {proof.pairs} | {baseline:.0f} | {candidate:.0f} | {seconds / 60:.1f} |")
    print(f"\nOne after the other: {total / 60:.0f} minutes.")


# ---- running


class Deadline:
    """When everything ends; none without minutes."""

    def __init__(self, minutes):
        self.end = time.monotonic() + 60 * minutes if minutes else None

    def left(self):
        return None if self.end is None else max(0.0, self.end - time.monotonic())

    def now(self):
        self.end = time.monotonic()


@contextlib.contextmanager
def load(wanted):
    """One busy process for every processor that the bench may use."""
    count = len(os.sched_getaffinity(0)) if wanted else 0
    busy = [subprocess.Popen([sys.executable, "-c", LOAD, str(i)], stdin=subprocess.DEVNULL) for i in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def write_data(proof, arguments, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", proof.samples), ("valid", proof.valid)):
        lines = (arguments.data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        if len(lines) < count:
            raise RuntimeError(f"{arguments.data / split}.jsonl: expected {count} records or more, got {len(lines)}")
        (folder / f"{split}.jsonl").write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
    return folder


def make_dense(arguments):
    """The fp32 folder, whole or not at all, also if another run of this script makes it at the same time."""
    if arguments.dense.exists():
        return
    unfinished = arguments.dense.with_name(f"{arguments.dense.name}.{os.getpid()}")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([arguments.evolora, "convert", arguments.model, "--dequantize", "--dtype", "float32", "--mlx-path", unfinished], check=True, stdout=subprocess.DEVNULL)
    try:
        unfinished.rename(arguments.dense)
    except OSError:
        if not arguments.dense.exists():
            raise
        shutil.rmtree(unfinished)


def start_command(proof, arguments, folder):
    """The bench's arguments; its arm files and its data are written beside its folder."""
    inputs = folder.with_name(folder.name + "-inputs")
    data = write_data(proof, arguments, inputs / "data")
    for role in ("baseline", "candidate"):
        (inputs / f"{role}.json").write_text(json.dumps(getattr(proof, role).file, indent=1) + "\n", encoding="utf-8")
    if proof.dense:
        make_dense(arguments)
    # A trial that takes eight times as long as expected will not end.
    timeout = 120 + 8 * max(estimated_seconds(proof, arguments)[:2])
    common = {"--model": arguments.dense if proof.dense else arguments.model, "--data": data, "--iters": proof.steps, "--batch-size": proof.batch, "--num-layers": 16,
              "--learning-rate": "1e-4", "--max-seq-length": proof.longest, "--val-batches": -1, "--steps-per-report": max(1, proof.steps // 2), "--steps-per-eval": proof.steps,
              "--baseline": inputs / "baseline.json", "--candidate": inputs / "candidate.json", "--pairs": proof.pairs, "--timeout": round(timeout), "--out": folder}
    given = set(proof.flags)
    return [str(word) for flag, value in common.items() if flag not in given for word in (flag, value)] + list(proof.flags)


def run_part(proof, arguments, deadline):
    """Why there is no verdict, or nothing."""
    folder = arguments.out / proof.name
    if (folder / "verdict.json").exists():
        return ""
    if deadline.left() == 0:
        return "not run: stopped before"
    for path, provider in [*proof.baseline.needs, *proof.candidate.needs, *([] if arguments.model.is_dir() else [(arguments.model, "tools/bootstrap.sh demo, then make demo")])]:
        if not path.exists():
            return f"not run: {path} is missing ({provider})"
    try:
        words = ["--resume", "--out", str(folder)] if (folder / "plan.json").exists() else start_command(proof, arguments, folder)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        return f"not run: {error}"
    with load(proof.loaded), open(folder.with_name(folder.name + ".log"), "a", encoding="utf-8") as log:
        # A session of its own: Ctrl-C at the terminal must reach the bench once, through here; a second one would not let it keep what it has.
        bench = subprocess.Popen([str(arguments.evolora), "bench", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        try:
            bench.wait(timeout=deadline.left())
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            deadline.now()
            bench.send_signal(signal.SIGINT)
            bench.wait()
    if (folder / "verdict.json").exists():
        return ""
    return f"unfinished: exit status {bench.returncode}: {last_line(folder.with_name(folder.name + '.log'))}"


def last_line(path):
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


# ---- the table


def gate_words(verdict, name):
    gate = next((g for g in verdict["gates"] if g["name"] == name), None)
    if gate is None or gate["n"] < 2:
        return "-"
    return f"{100 * gate['mean']:+.2f} % {gate['state']}"


def row_of(proof, arguments):
    """(cells, right or not, reason)."""
    folder = arguments.out / proof.name
    verified = subprocess.run([arguments.evolora, "bench", "--verify", folder], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=ROOT)
    if verified.returncode != 0:
        return ["not verified", "-", "-", "-", "-", "-", "-", "-"], False, verified.stderr.strip()
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    trials = [json.loads(line) for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    claims = {claim["name"]: claim for claim in verdict["claims"]}
    speed, memory = claims["speed"], claims["memory"]
    compared = verdict["pairs"] >= 2
    low, high = speed["interval"]
    right = proof.expected.met(verdict)
    return [verdict["decision"], f"{speed['ratio']:.3g} x ({low:.3f} to {high:.3f})" if compared else "-", f"{1 / memory['ratio']:.2f} x" if compared else "-",
            *(gate_words(verdict, gate) for gate in ("train_loss", "val_loss", "progress")), f"{verdict['pairs']}",
            f"{sum(trial['wall_seconds'] for trial in trials) / 60:.1f}"], right, verdict["reason"]


def print_table(chosen, arguments, missing):
    print("| part | | verdict | as it must be | speed | memory | training loss | validation loss | how far it fell | pairs | minutes |\n|---|---|---|---|---|---|---|---|---|---|---|")
    reasons, wrong = [], 0
    for proof in chosen:
        if missing[proof.name]:
            cells, right, reason = ["-"] * 8, False, missing[proof.name]
        else:
            cells, right, reason = row_of(proof, arguments)
        answer = "yes" if right else "not judged (tiny)" if arguments.tiny and not missing[proof.name] else f"no: must be {proof.expected.words()}"
        wrong += not right
        print("| " + " | ".join([proof.name, proof.title, cells[0], answer, *cells[1:]]) + " |")
        reasons.append(f"- {proof.name}: {reason}")
    print("\n" + "\n".join(reasons))
    print(f"\nFolders in {arguments.out}; each has been verified: evolora bench --verify FOLDER")
    return wrong


def main():
    parser, arguments = parse_arguments()
    chosen = selected_proofs(parser, arguments)
    if arguments.estimate:
        print_estimates(chosen, arguments)
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    deadline = Deadline(arguments.minutes)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this run wants its benches to end as well
    missing = {}
    for proof in chosen:
        if arguments.show:
            missing[proof.name] = "" if (arguments.out / proof.name / "verdict.json").exists() else "not run"
            continue
        print(f"prove: {proof.name}: {proof.title}, about {estimated_seconds(proof, arguments)[2] / 60:.1f} minutes", file=sys.stderr, flush=True)
        missing[proof.name] = run_part(proof, arguments, deadline)
        if missing[proof.name]:
            print(f"prove: {proof.name}: {missing[proof.name]}", file=sys.stderr, flush=True)
    wrong = print_table(chosen, arguments, missing)
    # Tiny runs are too short for the truth: only that each of them ran is asked.
    return 1 if (any(missing.values()) if arguments.tiny else wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
