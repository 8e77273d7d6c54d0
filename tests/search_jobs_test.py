"""Tests of tools/evolve_kills.py and tools/evolve_aa.py without the program: a stand-in for `evolora` searches and, where it is told to, does what the tools must notice."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools")]
import evolve_aa  # noqa: E402
import search_jobs  # noqa: E402

# A search of four evaluations and a confirmation. FAULT: forgets (a resumed search lost its first measurement), changes (it has other figures), orphan (a child that outlives it),
# fails, unconfirmed, elsewhere (not what an uninterrupted one would have been), goes_on (a search that had ended has more), claims (a winner), differs (libraries of candidates).
STAND_IN = """#!%s
import json, os, pathlib, sqlite3, subprocess, sys, time
fault, words = os.environ.get("FAULT", ""), sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1] if "--out" in words else words[2])
if words[0] == "bench": sys.exit(0 if out.is_dir() else 1)
if words[1] == "verify": sys.exit("event 2: the search makes another" if fault == "elsewhere" else 0)
base = sqlite3.connect(out / "search.sqlite") if out.is_dir() or not out.mkdir(parents=True) else None
with base:
    base.execute("CREATE TABLE IF NOT EXISTS individuals (run INTEGER, number INTEGER, digest TEXT)")
    base.execute("CREATE TABLE IF NOT EXISTS measurements (seq INTEGER PRIMARY KEY, run INTEGER, number INTEGER, kind TEXT, judgement TEXT)")
done = lambda: base.execute("SELECT COUNT(*) FROM measurements").fetchone()[0]
winner = {"number": 1} if fault == "claims" else None
if words[1] == "status":
    best = {"fitness": 0.01, "speed": 1.02}
    print(json.dumps({"runs": [{"ended": "spent" if done() >= 5 else "", "evaluations": 3, "best": best}], "finalists": [{"number": 1, "confirmed": True}] if done() >= 5 else [], "winner": winner}))
    sys.exit()
if words[1] == "best":
    print("Individual 1" if winner else "No candidate beat the baseline.")
    sys.exit()
if "--resume" in words and done():
    with base:
        if fault == "forgets": base.execute("DELETE FROM measurements WHERE seq = 1")
        if fault == "changes": base.execute("UPDATE measurements SET judgement = '{}' WHERE seq = 1")
        if fault == "goes_on" and done() >= 5: base.execute("INSERT INTO measurements SELECT 6, run, number, kind, judgement FROM measurements WHERE seq = 5")
if fault == "forgets" and "--resume" in words: sys.exit()
if fault == "fails": sys.exit("cannot")
if fault == "orphan": subprocess.Popen(["sleep", "60"], start_new_session=True)
(out / "judge").mkdir(exist_ok=True)
while done() < 5:
    time.sleep(0.03)
    number = done()
    with base:
        if number < 4: base.execute("INSERT INTO individuals VALUES (0, ?, 'd')", (number,))
        kind = "judge" if number < 4 or fault == "unconfirmed" else "confirm"
        base.execute("INSERT INTO measurements VALUES (?, 0, ?, ?, ?)", (number + 1, number if number < 4 else 1, kind, '{"seconds": 0.03}'))
    (out / f"judge/{number}.so").write_text(str(number) if fault == "differs" else "")
    confirmation = out / "confirm/1"
    confirmation.mkdir(parents=True, exist_ok=True)
    with open(confirmation / "samples.jsonl", "a") as samples: samples.write("{}\\n")
""" % sys.executable


class Tools(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.program = pathlib.Path(self.folder.name) / "evolora"
        self.program.write_text(STAND_IN, encoding="utf-8")
        self.program.chmod(0o755)

    def tool(self, name, *arguments, fault=""):
        environment = {**os.environ, "TMPDIR": self.folder.name, "FAULT": fault}
        command = [sys.executable, "-B", ROOT / "tools" / name, "--evolora", self.program, "--jobs", "2", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def expect_wrong(self, run, words):
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn(words, run.stderr)
        self.assertTrue(pathlib.Path(run.stderr.rpartition("left behind: ")[2].strip()).is_dir(), run.stderr)

    def test_kills_that_lose_nothing(self):
        run = self.tool("evolve_kills.py", "--kills", "6")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertRegex(run.stdout, r"^6 kills in \d+ searches: nothing was lost\n$")
        self.assertRegex(run.stderr, r"6 of 6 kills, \d+ searches finished, 0:00:00 left")
        self.assertEqual(list(pathlib.Path(self.folder.name).glob("evolve-kills-*")), [])

    def test_what_kills_must_notice(self):
        for fault, words in (
            ("forgets", "one was lost or changed"),
            ("changes", "one was lost or changed"),
            ("orphan", "children still run 2 s after its end: "),
            ("fails", "ended with status 1: cannot"),
            ("unconfirmed", "expected individuals judged once"),
            ("elsewhere", "event 2: the search makes another"),
            ("goes_on", "the search had ended and went on"),
        ):
            with self.subTest(fault):
                self.expect_wrong(self.tool("evolve_kills.py", "--kills", "6", fault=fault), words)

    def test_searches_among_equals(self):
        run = self.tool("evolve_aa.py", "--runs", "4")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertRegex(run.stdout, r"\nkernels +2 +6 +2 +0 .*\ntraining +2 +6 +2 +0 .*\nall +4 +12 +4 +0 ")

    def test_what_searches_among_equals_must_notice(self):
        run = self.tool("evolve_aa.py", "--runs", "4", fault="claims")
        self.expect_wrong(run, "4 of 4 searches among equals ended with a claim")
        self.assertIn("claim: run 3, training, tpe: ", run.stdout)
        self.expect_wrong(self.tool("evolve_aa.py", "--runs", "2", fault="differs"), "expected equal libraries")
        self.expect_wrong(self.tool("evolve_aa.py", "--runs", "2", fault="fails"), "ended with status 1: cannot")

    def test_flags(self):
        for name, arguments, words in (
            ("evolve_kills.py", ["--kills", "0"], "--kills: expected 1 or more, got 0"),
            ("evolve_kills.py", ["--model", "/no/such"], "--model: expected a folder with config.json, got /no/such"),
            ("evolve_kills.py", ["--pack", "/no/such"], "--pack: expected a folder with pack.json, got /no/such"),
            ("evolve_aa.py", ["--runs", "-1"], "--runs: expected 1 or more, got -1"),
            ("evolve_aa.py", ["--evolora", "/no/such"], "--evolora: expected a program, got /no/such"),
        ):
            run = self.tool(name, *arguments)
            self.assertEqual(run.returncode, 2)
            self.assertIn(words, run.stderr)

    def test_the_equal_candidates_have_one_parameter_that_nothing_uses(self):
        target = pathlib.Path(self.folder.name) / "pack"
        evolve_aa.neutral_pack(ROOT / "examples/packs/cpu/lora_linear_group", target)
        sources = {path.name: path.read_text(encoding="utf-8") for path in target.glob("*.cpp")}
        self.assertEqual(sum(text.count("evolve:") - text.count('"evolve:"') for text in sources.values()), 1, "declarations")
        self.assertEqual(sum(text.count("kUnused") for text in sources.values()), 1)

    def test_processes_are_found_by_their_folder(self):
        with subprocess.Popen(["sleep", "60"], cwd=self.folder.name) as child:
            # Popen returns when the descriptors are closed: a little before the kernel shows the new command line.
            until, found = time.monotonic() + 10, []
            while not found and time.monotonic() < until:
                found = search_jobs.processes_of(pathlib.Path(self.folder.name))
            child.kill()
        self.assertIn(f"{child.pid} sleep 60", found)


if __name__ == "__main__":
    unittest.main()
