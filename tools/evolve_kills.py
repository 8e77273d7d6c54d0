"""Kills running searches at random moments (SIGKILL) and checks that nothing that was finished is lost or changed.

    python3 tools/evolve_kills.py [--kills 1000] [--jobs N] [--evolora PATH] [--seed S] [--model FOLDER] [--pack FOLDER]

Jobs run side by side, each a search after the other: the first as a whole, which shows how long an evaluation takes, the others killed after 0.02 s to a bit more than one evaluation, and taken
up again. After a kill
  - the children of the killed process are gone within 2 s, whoever their parent was, so that none goes on training;
  - no earlier row of the archive's measurements, and no finished trial of a confirmation, is lost or changed;
  - `evolve status` reads the archive.
After a search has ended it is complete: every individual was judged once, every finalist confirmed once, `bench --verify` finds every confirmation whole, `evolve best` names one or says that there
is none, and going on with it does nothing. It is what an uninterrupted one would have been: `evolve verify` makes the same proposals from the same measurements. With --pack the searches are of that
kernel pack (--kernels-only) instead of recipes. Exit status 0: nothing was lost; 1: something was, and the folder is left behind.
"""

import argparse
import json
import multiprocessing
import pathlib
import random
import shutil
import sys

import search_jobs
from search_jobs import Wrong

LEAST_SECONDS = 0.02
A_BIT_MORE = 1.25  # than one evaluation
PATIENCE = 1.15    # factor for each life in which nothing was finished: a kernel's confirmation takes longer than an evaluation


class Search:
    """One search of a job, with what must not change any more."""

    def __init__(self, job, options, seed):
        self.job = job
        self.folder = job.folder / f"search{seed}"
        self.log = job.folder / "log"
        self.rows = []
        self.trials = {}
        budget = ["--budget-evaluations", options.budget_evaluations, "--finalists", 1, "--pairs", 1, "--seed", seed, "--out", self.folder]
        if options.pack:
            self.begin = ["evolve", "run", "--pack", options.pack, "--kernels-only", "--model", options.model, *budget]
        else:
            training = ["--model", options.model, "--data", options.data, "--iters", 2, "--num-layers", -1, "--batch-size", 2, "--confirm-pairs", 5]
            self.begin = ["evolve", "run", *training, "--start", "plain", *budget]

    def live(self, seconds=None):
        """Begins or goes on, until it ends or is killed. Returns whether it ended, and whether anything was finished meanwhile."""
        resumed = (self.folder / "search.sqlite").exists()
        status = self.job.run_for(["evolve", "run", "--resume", "--out", self.folder] if resumed else self.begin, self.log, seconds)
        if status not in (None, 0):
            raise Wrong(f"{self.folder}: the search ended with status {status}: {search_jobs.tail(self.log)}")
        return status == 0, self.take_stock()

    def take_stock(self):
        """Whether there is more than before; all that was there must be as it was."""
        if not (self.folder / "search.sqlite").exists():
            if self.rows:
                raise Wrong(f"{self.folder}: the archive is gone")
            return False
        rows, trials = search_jobs.archive_rows(self.folder), self.finished_trials()
        if rows[: len(self.rows)] != self.rows:
            raise Wrong(f"{self.folder}: of {len(self.rows)} measurements one was lost or changed: {self.rows} before, {rows} now")
        for path, before in self.trials.items():
            if trials.get(path, [])[: len(before)] != before:
                raise Wrong(f"{path}: of {len(before)} finished trials one was lost or changed")
        more = len(rows) > len(self.rows) or trials != self.trials
        self.rows, self.trials = rows, trials
        self.job.ask("evolve", "status", self.folder)
        return more

    def finished_trials(self):
        """Whole lines; what a kill left of one is no finished trial."""
        return {str(path): path.read_bytes().split(b"\n")[:-1] for path in self.folder.glob("confirm/*/samples.jsonl")}

    def expect_complete(self):
        state = json.loads(self.job.ask("evolve", "status", self.folder, "--json"))
        for run in state["runs"]:
            if not run["ended"]:
                raise Wrong(f"{self.folder}: the search ended, its run has not: {run}")
        judged = [row["number"] for row in self.rows if row["kind"] == "judge"]
        if judged != list(range(len(judged))) or [row["seq"] for row in self.rows] != list(range(1, len(self.rows) + 1)):
            raise Wrong(f"{self.folder}: expected individuals judged once, in order, got {judged}")
        confirmed = sorted(row["number"] for row in self.rows if row["kind"] == "confirm")
        if confirmed != sorted(one["number"] for one in state["finalists"]) or not all(one["confirmed"] for one in state["finalists"]):
            raise Wrong(f"{self.folder}: expected every finalist confirmed once, got confirmations of {confirmed} and finalists {state['finalists']}")
        for path in self.trials:
            self.job.ask("bench", "--verify", pathlib.Path(path).parent)
        self.job.ask("evolve", "verify", self.folder)
        best = self.job.ask("evolve", "best", self.folder)
        if not best.startswith("Individual " if state["winner"] else "No candidate beat the baseline."):
            raise Wrong(f"{self.folder}: expected evolve best to say what evolve status says, got {best}")
        before = self.rows
        if not self.live()[0] or self.rows != before:
            raise Wrong(f"{self.folder}: the search had ended and went on")
        shutil.rmtree(self.folder)


def longest_evaluation(search):
    """Seconds, from a search that ran as a whole."""
    return max(json.loads(row["judgement"])["seconds"] for row in search.rows if row["kind"] != "confirm")


def take_one(counter):
    with counter.get_lock():
        if counter.value <= 0:
            return False
        counter.value -= 1
    return True


def add_one(counter):
    with counter.get_lock():
        counter.value += 1


def end_of(search, options):
    search.expect_complete()
    add_one(options.searches)


def work(job, options):
    draws = random.Random(options.seed * 1000003 + job.number)
    seed = options.seed * 1000000 + job.number * 10000
    whole = Search(job, options, seed)
    whole.live()
    evaluation = longest_evaluation(whole)
    end_of(whole, options)
    search, limit = None, 0
    while take_one(options.kills_left):
        killed = False
        while not killed:
            if search is None:
                seed += 1
                search = Search(job, options, seed)
                limit = LEAST_SECONDS + A_BIT_MORE * evaluation
            ended, more = search.live(draws.uniform(LEAST_SECONDS, limit))
            limit = LEAST_SECONDS + A_BIT_MORE * evaluation if more else limit * PATIENCE
            killed = not ended
            if ended:
                end_of(search, options)
                search = None
        add_one(options.kills_done)
    if search is not None:
        search.live()
        end_of(search, options)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, metavar="N", help="kills in all [1000]")
    parser.add_argument("--pack", type=pathlib.Path, metavar="FOLDER", help="search this kernel pack instead of recipes")
    parser.add_argument("--budget-evaluations", type=int, default=6, metavar="N", help="evaluations of each search [6]")
    search_jobs.add_flags(parser)
    options = parser.parse_args()
    search_jobs.check_flags(parser, options, ("kills", "budget_evaluations"))
    if options.pack and not (options.pack / "pack.json").is_file():
        parser.error(f"--pack: expected a folder with pack.json, got {options.pack}")
    options.pack = options.pack and options.pack.resolve()
    context = multiprocessing.get_context("fork")
    options.kills_left, options.kills_done, options.searches = context.Value("q", options.kills), context.Value("q", 0), context.Value("q", 0)

    def text(seconds):
        done = options.kills_done.value
        return f"{done} of {options.kills} kills, {options.searches.value} searches finished, {search_jobs.time_left(seconds, done, options.kills)}"

    def in_folder(folder):
        options.data = folder / "data"
        search_jobs.write_data(options.data)
        return search_jobs.side_by_side(work, options, folder, text)

    status = search_jobs.in_a_folder("evolve-kills", in_folder)
    if status == 0:
        print(f"{options.kills_done.value} kills in {options.searches.value} searches: nothing was lost")
    return status


if __name__ == "__main__":
    sys.exit(main())
