"""Real searches in which all candidates are equal: none may end with a claim.

    python3 tools/evolve_aa.py [--runs 20] [--jobs N] [--budget-evaluations 12] [--evolora PATH] [--seed S] [--model FOLDER] [--pack FOLDER]

What is searched is a kernel pack with one parameter that its code does not use, so that every candidate goes through all gates, is compiled, timed and confirmed as always, and is the same machine
code as the start; that it is, is checked: the libraries of each search must be equal to the byte. All figures are real and differ by the machine's noise alone. Runs take turns in
  kernels    kernels alone (--kernels-only)
  training   those that look faster are trained with, and finalists are confirmed by a paired bench of trainings as well
and in the proposer. There is no such search of recipes: every field of a recipe that is searched changes what a training does, so none of them is certain to cost nothing.

Prints a table. Exit status 0: no claim; 1: a claim, or a search that went wrong, and the folder is left behind.
"""

import argparse
import hashlib
import json
import multiprocessing
import pathlib
import re
import shutil
import sys

import search_jobs
from search_jobs import ROOT, Wrong

KINDS = ("kernels", "training")
PROPOSERS = ("evolution", "tpe", "hill", "random")
UNUSED = "constexpr int kUnused = 1;  // evolve: int 1..100000\n"
COLUMNS = ("kind", "runs", "evaluations", "finalists", "claims", "best: speed", "at least")


def neutral_pack(source, target):
    """A copy of the pack in which nothing is declared as tunable but a constant that nothing uses."""
    manifest = json.loads((source / "pack.json").read_text(encoding="utf-8"))
    shutil.copytree(source, target)
    for number, name in enumerate(manifest["files"]):
        text = re.sub(r"[ \t]*//[ \t]*evolve:.*", "", (source / name).read_text(encoding="utf-8"))
        if number == 0:
            before, mark, after = text.partition("EVOLVE-BLOCK-START")
            rest_of_line, _, after = after.partition("\n")
            if not mark:
                raise SystemExit(f"evolve_aa.py: error: {source / name}: expected EVOLVE-BLOCK-START, got none")
            text = f"{before}{mark}{rest_of_line}\n{UNUSED}{after}"
        (target / name).write_text(text, encoding="utf-8")


def expect_one_program(folder):
    """How many libraries the search made; all must be the same machine code."""
    libraries = sorted(path for path in (folder / "judge").glob("*.so") if path.name != "fresh.so")
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in libraries}
    if len(digests) != 1 or len(libraries) < 2:
        raise Wrong(f"{folder}: expected equal libraries of several candidates, got {len(libraries)} with {len(digests)} different contents")


def search(job, options, number):
    folder, log = job.folder / f"run{number}", job.folder / "log"
    kind, proposer = KINDS[number % len(KINDS)], PROPOSERS[number // len(KINDS) % len(PROPOSERS)]
    arguments = ["evolve", "run", "--pack", options.neutral, "--model", options.model, "--proposer", proposer, "--seed", options.seed + number]
    arguments += ["--budget-evaluations", options.budget_evaluations, "--out", folder]
    if kind == "kernels":
        arguments += ["--kernels-only"]
    else:
        # Long enough for the meter of memory, which looks at a small process twenty times a second.
        arguments += ["--data", options.data, "--iters", 25, "--num-layers", -1, "--batch-size", 2, "--confirm-pairs", options.confirm_pairs]
    status = job.run_for(arguments, log)
    if status != 0:
        raise Wrong(f"{folder}: the search ended with status {status}: {search_jobs.tail(log)}")
    state = json.loads(job.ask("evolve", "status", folder, "--json"))
    if not all(run["ended"] for run in state["runs"]) or not all(one["confirmed"] for one in state["finalists"]):
        raise Wrong(f"{folder}: the search is not complete")
    expect_one_program(folder)
    (job.folder / f"run{number}.json").write_text(json.dumps({"number": number, "kind": kind, "proposer": proposer, "folder": str(folder), "state": state}), encoding="utf-8")
    if not state["winner"]:
        shutil.rmtree(folder)
    return bool(state["winner"])


def work(job, options):
    while True:
        with options.next_run.get_lock():
            number = options.next_run.value
            options.next_run.value += 1
        if number >= options.runs:
            return
        claim = search(job, options, number)
        with options.done.get_lock():
            options.done.value += 1
            options.claims.value += claim


def row_of(kind, runs):
    best = [run["best"] for one in runs for run in one["state"]["runs"] if run["best"]]
    top = max(best, key=lambda one: one["fitness"], default=None)
    return (
        kind,
        len(runs),
        sum(run["evaluations"] for one in runs for run in one["state"]["runs"]),
        sum(len(one["state"]["finalists"]) for one in runs),
        sum(bool(one["state"]["winner"]) for one in runs),
        f"{top['speed']:.3f}" if top else "-",
        f"{2.718281828459045 ** top['fitness']:.3f}" if top else "-",
    )


def print_table(runs):
    rows = [COLUMNS] + [row_of(kind, [one for one in runs if one["kind"] == kind]) for kind in KINDS] + [row_of("all", runs)]
    for row in rows:
        print("".join(f"{cell!s:>13}" if i else f"{cell!s:<9}" for i, cell in enumerate(row)))
    for one in runs:
        if one["state"]["winner"]:
            print(f"claim: run {one['number']}, {one['kind']}, {one['proposer']}: {one['folder']}: {json.dumps(one['state']['winner'])[:500]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="searches in all [20]")
    parser.add_argument("--budget-evaluations", type=int, default=12, metavar="N", help="evaluations of each search [12]")
    parser.add_argument("--confirm-pairs", type=int, default=10, metavar="N", help="pairs of trainings of a confirmation, 5 or more [10]")
    parser.add_argument("--pack", type=pathlib.Path, default=ROOT / "examples/packs/cpu/lora_linear_forward", metavar="FOLDER", help="pack that the equal candidates are made from [the example's forward]")
    search_jobs.add_flags(parser)
    options = parser.parse_args()
    search_jobs.check_flags(parser, options, ("runs", "budget_evaluations", "confirm_pairs"))
    if not (options.pack / "pack.json").is_file():
        parser.error(f"--pack: expected a folder with pack.json, got {options.pack}")
    context = multiprocessing.get_context("fork")
    options.next_run, options.done, options.claims = (context.Value("q", 0) for _ in range(3))

    def text(seconds):
        done = options.done.value
        return f"{done} of {options.runs} searches, {options.claims.value} claims, {search_jobs.time_left(seconds, done, options.runs)}"

    def in_folder(folder):
        options.data, options.neutral = folder / "data", folder / "pack"
        search_jobs.write_data(options.data)
        neutral_pack(options.pack, options.neutral)
        wrong = search_jobs.side_by_side(work, options, folder, text)
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("job*/run*.json")]
        print_table(sorted(runs, key=lambda one: one["number"]))
        return wrong or (f"{options.claims.value} of {options.done.value} searches among equals ended with a claim" if options.claims.value else None)

    return search_jobs.in_a_folder("evolve-aa", in_folder)


if __name__ == "__main__":
    sys.exit(main())
