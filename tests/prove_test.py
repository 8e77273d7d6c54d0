"""Tests of bench/prove.py without a model: the faults fit the source, a stand-in for `evolora` leaves what a bench leaves, and every way of not coming out right is noticed."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench/faults")]
import make_fault  # noqa: E402
import openblas  # noqa: E402
import proofs  # noqa: E402

# `bench` leaves a folder with the verdict that REASON and DECISION name; `--verify` answers VERIFIED; without DECISION the bench waits to be stopped.
STAND_IN = """#!/bin/sh
case "$*" in *--verify*) exit "$VERIFIED";; esac
case "$1" in convert) for word; do :; done; mkdir "$word"; exit;; esac
for word; do [ "$last" = --out ] && out=$word; last=$word; done
echo "$*" >> "$ASKED"
mkdir -p "$out" && echo '{}' > "$out/plan.json"
[ -n "$DECISION" ] || { trap 'echo interrupted; exit 130' INT; while :; do sleep 0.05; done; }
echo '{"wall_seconds": 60}' > "$out/samples.jsonl"
cat > "$out/verdict.json" <<END
{"decision": "$DECISION", "reason": "$REASON", "pairs": 3, "gates": [{"name": "progress", "n": 3, "mean": 0.02, "state": "fail"}],
 "claims": [{"name": "speed", "ratio": 1.0, "interval": [0.9, 1.1]}, {"name": "memory", "ratio": 2.0, "interval": [2, 2]}]}
END
"""


class Faults(unittest.TestCase):
    def test_every_fault_fits_the_source_and_changes_it(self):
        uses = re.findall(r"^evolora_fault\((\w+) (\S+)\)", (ROOT / "bench/faults/faults.cmake").read_text(encoding="utf-8"), re.MULTILINE)
        self.assertEqual({name for name, _ in uses}, set(make_fault.FAULTS))
        for name, source in uses:
            text = (ROOT / source).read_text(encoding="utf-8")
            self.assertEqual(make_fault.faulty(name, text) == text, name == "none", name)

    def test_a_source_that_has_changed_is_noticed(self):
        for text in ("", ".learning_rate = learning_rate, .learning_rate = learning_rate,"):
            with self.assertRaisesRegex(ValueError, "the source has changed"):
                make_fault.faulty("rate", text)


class OpenBlas(unittest.TestCase):
    def test_a_library_that_is_not_there_is_an_error(self):
        run = subprocess.run([sys.executable, "-B", ROOT / "bench/openblas.py", "true"], env={**os.environ, "EVOLORA_OPENBLAS": "/no/such.so"}, capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 2)
        self.assertIn("got /no/such.so", run.stderr)

    @unittest.skipUnless(openblas.openblas_library(), "no OpenBLAS here")
    def test_the_command_sees_the_variables(self):
        run = subprocess.run([sys.executable, "-B", ROOT / "bench/openblas.py", "env"], capture_output=True, text=True, check=True)
        for name, value in openblas.openblas_environment().items():
            self.assertIn(f"{name}={value}\n", run.stdout)


class Prove(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / "model").mkdir()
        (self.root / "faults").mkdir()
        for program in ("evolora", "faults/evolora_rate", "faults/evolora_none"):
            (self.root / program).write_text(STAND_IN, encoding="utf-8")
            (self.root / program).chmod(0o755)

    def prove(self, *arguments, decision="REJECT", reason="not the same training: progress: 2 %", verified=0):
        run = subprocess.run([sys.executable, "-B", ROOT / "bench/prove.py", "--evolora", self.root / "evolora", "--model", self.root / "model", "--out", self.root / "out", *arguments],
                             env={**os.environ, "DECISION": decision, "REASON": reason, "VERIFIED": str(verified), "ASKED": str(self.root / "asked")},
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        return run.returncode, run.stdout + run.stderr

    def asked(self):
        return (self.root / "asked").read_text(encoding="utf-8").splitlines()

    def test_what_must_come_out_is_right(self):
        status, text = self.prove("--only", "fault-rate")
        self.assertEqual(status, 0, text)
        self.assertIn("| fault-rate | a build with a learning rate 2 % off | REJECT | yes | 1 x (0.900 to 1.100) | 0.50 x | - | - | +2.00 % fail | 3 | 1.0 |", text)
        arm = json.loads((self.root / "out/fault-rate-inputs/candidate.json").read_text(encoding="utf-8"))
        self.assertEqual(arm["program"], str(self.root / "faults/evolora_rate"))
        self.assertNotIn("rate", json.dumps({**arm, "program": ""}), "the bench is told nothing")
        # What is there is shown, not run again.
        self.assertEqual(self.prove("--only", "fault-rate", decision="")[0], 0)
        self.assertEqual(len(self.asked()), 1)

    def test_the_dense_model_is_made_once_and_is_in_the_way_of_no_part(self):
        (self.root / "evolora_mlx_engine.so").touch()
        blas = self.root / "blas.so"
        blas.touch()
        status, text = self.prove("--only", "dense", "dense-reversed", "--openblas", str(blas), decision="ACCEPT", reason="the same training within the margins; worse in nothing")
        self.assertIn("| ACCEPT | yes |", text)
        self.assertIn("| ACCEPT | no: must be REJECT", text)
        self.assertEqual(status, 1)
        model = {re.search(r"--model (\S+)", line)[1] for line in self.asked()}
        self.assertEqual(len(model), 1)
        self.assertNotIn(pathlib.Path(model.pop()).name, [proof.name for proof in proofs.all_proofs(proofs.Places(*[self.root] * 6))])
        arm = json.loads((self.root / "out/dense-inputs/baseline.json").read_text(encoding="utf-8"))
        self.assertEqual(arm["environment"]["LD_PRELOAD"], str(blas))

    def test_the_wrong_verdict_the_wrong_gate_and_the_wrong_reason_are_not(self):
        for i, (part, decision, reason) in enumerate([("fault-rate", "ACCEPT", "progress"), ("fault-rate", "REJECT", "no gain of 1 % or more"), ("fault-none", "REJECT", "worse in speed")]):
            status, text = self.prove("--only", part, "--out", self.root / f"out{i}", decision=decision, reason=reason)
            self.assertEqual(status, 1, text)
            self.assertIn("no: must be", text)

    def test_what_cannot_be_verified_is_not_shown(self):
        status, text = self.prove("--only", "fault-rate", verified=2)
        self.assertEqual(status, 1)
        self.assertIn("| not verified |", text)

    def test_a_stopped_bench_goes_on_and_a_missing_program_is_said(self):
        status, text = self.prove("--only", "fault-rate", "fault-none", "--minutes", "0.05", decision="")
        self.assertEqual(status, 1, text)
        self.assertIn("unfinished: exit status 130: interrupted", text)
        self.assertIn("fault-none: not run: stopped before", text)
        self.assertEqual(self.prove("--only", "fault-rate")[0], 0)
        self.assertIn("--resume", self.asked()[1])
        status, text = self.prove("--only", "fault-layer")
        self.assertEqual(status, 1)
        self.assertRegex(text, "not run: .*evolora_layer is missing .cmake --build")

    def test_mistakes_are_named(self):
        for arguments, said in (
            (("--only", "fault"), "expected some of dense"),
            (("--cpus", "a"), "--cpus: expected numbers"),
            (("--cpus", "99999"), "may use"),
            (("--data", "/no"), "no file /no/train.jsonl"),
        ):
            status, text = self.prove(*arguments)
            self.assertEqual(status, 2, text)
            self.assertIn(said, text)

    def test_every_part_has_an_estimate(self):
        status, text = self.prove("--estimate")
        self.assertEqual(status, 0, text)
        places = proofs.Places(*[self.root] * 6)
        for proof in proofs.all_proofs(places):
            self.assertRegex(text, rf"\| {proof.name} \| {proof.pairs} \| \d+ \| \d+ \| \d")


if __name__ == "__main__":
    unittest.main()
