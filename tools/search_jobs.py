"""Searches side by side, for evolve_kills.py and evolve_aa.py: jobs in processes of their own, each with a folder, and a folder for temporary files, in which the program has its lock
for timed processes; so jobs do not wait for each other. Python's standard library only. Linux.
"""

import contextlib
import ctypes
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPLITS = ("train", "valid")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
GONE_SECONDS = 2  # in which the children of a killed process must have ended


class Wrong(Exception):
    """What a run of the program must not do."""


class Stopped(Exception):
    """The other jobs end, because one found something wrong."""


def write_data(folder):
    """Prompts and completions for a training that takes no time; equal everywhere."""
    folder.mkdir(parents=True)
    for split in SPLITS:
        lines = (json.dumps({"prompt": f"question {i}", "completion": f"answer {i * i}"}) + "\n" for i in range(24))
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def prctl(option, value):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def processes_of(folder):
    """Of whom the folder is in command line, working directory or environment: what a message about children that stayed behind can name."""
    found = []
    mark = os.fsencode(str(folder))
    for process in pathlib.Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
            command = (process / "cmdline").read_bytes()
            about = [command, os.fsencode(os.readlink(process / "cwd")), (process / "environ").read_bytes()]
            if command and any(mark in text for text in about):
                found.append(f"{process.name} {command.replace(bytes(1), b' ').decode(errors='replace').strip()}")
    return found


class Job:
    """One of several, in its own process: starts the program and sees it and all its descendants end, also those whose parent was killed."""

    def __init__(self, number, folder, evolora):
        self.number = number
        self.folder = folder
        self.evolora = str(evolora)
        temporary = folder / "tmp"
        temporary.mkdir(parents=True)
        self.environment = {**os.environ, "TMPDIR": str(temporary)}
        # Orphans become children of this process, so none can hide from it.
        prctl(PR_SET_CHILD_SUBREAPER, 1)

    def start(self, arguments, log):
        """The process id of `evolora ARGUMENTS`, in a process group of its own: a Ctrl-C is the business of these scripts."""
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
            return os.posix_spawn(self.evolora, [self.evolora, *map(str, arguments)], self.environment, file_actions=actions, setpgroup=0)
        finally:
            os.close(out)

    def run_for(self, arguments, log, seconds=None):
        """Runs `evolora ARGUMENTS`, kills it after so many seconds. Returns its exit status, or None if it was killed."""
        pid = self.start(arguments, log)
        watch = os.pidfd_open(pid)
        try:
            if not select.select([watch], [], [], seconds)[0]:
                os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            pid = None
        finally:
            os.close(watch)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        self.expect_no_children(arguments)
        if os.WIFSIGNALED(status):
            if os.WTERMSIG(status) != signal.SIGKILL or seconds is None:
                raise Wrong(f"evolora {' '.join(map(str, arguments))}: ended by signal {os.WTERMSIG(status)}: {tail(log)}")
            return None
        return os.waitstatus_to_exitcode(status)

    def expect_no_children(self, arguments):
        until = time.monotonic() + GONE_SECONDS
        while True:
            try:
                pid = os.waitpid(-1, os.WNOHANG)[0]
            except ChildProcessError:
                break
            if pid == 0 and time.monotonic() > until:
                left = processes_of(self.folder) or ["processes that do not name the folder"]
                raise Wrong(f"evolora {' '.join(map(str, arguments))}: children still run {GONE_SECONDS} s after its end: {'; '.join(left)}")
            if pid == 0:
                time.sleep(0.002)

    def ask(self, *arguments):
        """What `evolora ARGUMENTS` prints; it must end with status 0."""
        command = [self.evolora, *map(str, arguments)]
        run = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Wrong(f"evolora {' '.join(command[1:])}: expected exit status 0, got {run.returncode}: {(run.stderr or run.stdout).strip()[-500:]}")
        return run.stdout

    def end_children(self):
        with contextlib.suppress(OSError):
            for child in pathlib.Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii").split():
                os.kill(int(child), signal.SIGKILL)


def tail(log):
    return pathlib.Path(log).read_text(encoding="utf-8", errors="replace").strip()[-500:]


def archive_rows(folder):
    """Every finished measurement of a search, in order, with all that is known of its individual; empty before there is an archive with tables."""
    path = folder / "search.sqlite"
    if not path.exists():
        return []
    # Not read-only: what was killed in a transaction leaves a journal, which the first to open the file must roll back.
    with contextlib.closing(sqlite3.connect(path.resolve().as_uri() + "?mode=rw", uri=True)) as base:
        base.row_factory = sqlite3.Row
        if base.execute("SELECT 1 FROM sqlite_master WHERE name = 'measurements'").fetchone() is None:
            return []  # killed after the file was there and before its tables were
        rows = base.execute("SELECT m.*, i.* FROM measurements m JOIN individuals i USING (run, number) ORDER BY seq")
        return [dict(row) for row in rows]


def _in_child(work, number, folder, options, parent):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business

    def stop(*_):
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
    job = Job(number, folder, options.evolora)
    try:
        work(job, options)
    except Wrong as wrong:
        (folder / "wrong").write_text(f"{wrong}\n", encoding="utf-8")
        sys.exit(1)
    except Stopped:
        sys.exit(3)
    finally:
        job.end_children()


class Progress:
    """A line on stderr: rewritten on a terminal, else a new one every half minute."""

    def __init__(self, text):
        self.text = text  # text(seconds since the start) -> line
        self.begin = self.said = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def show(self, last=False):
        now = time.monotonic()
        if not last and now - self.said < (0.5 if self.terminal else 30):
            return
        self.said = now
        line = self.text(now - self.begin)
        sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if last else "") if self.terminal else line + "\n")
        sys.stderr.flush()


def time_left(seconds, done, wanted):
    if done == 0:
        return "time left unknown"
    left = round(seconds * (wanted - done) / done)
    return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"


def side_by_side(work, options, folder, text):
    """work(job, options) in options.jobs processes, each in folder/JOB; the first Wrong ends all. Returns what was wrong, or None. text: see Progress."""
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_in_child, args=(work, i, folder / f"job{i}", options, os.getpid()), daemon=True) for i in range(options.jobs)]
    for job in jobs:
        job.start()
    progress = Progress(text)
    wrong, running = None, jobs
    try:
        while wrong is None and running:
            multiprocessing.connection.wait([job.sentinel for job in running], timeout=0.5)
            progress.show()
            running = [job for job in jobs if job.is_alive()]  # asked before the statuses: none ends between the two unseen
            for i, job in enumerate(jobs):
                if wrong is None and job.exitcode:
                    said = folder / f"job{i}" / "wrong"
                    wrong = said.read_text(encoding="utf-8").strip() if said.exists() else f"job {i} ended with status {job.exitcode}"
        progress.show(last=True)
    finally:
        for job in jobs:
            job.terminate()
        for job in jobs:
            job.join()
    return wrong


def add_flags(parser):
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2), metavar="N", help="searches side by side [half the processors]")
    parser.add_argument("--evolora", type=pathlib.Path, default=ROOT / "build/release/evolora", metavar="PATH", help="the program [build/release/evolora]")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "tests/data/tiny_llama_golden/model", metavar="FOLDER", help="model that is trained [the tests' tiny one]")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of all that is random here and of the searches [1]")


def check_flags(parser, options, counts):
    for name in (*counts, "jobs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected 1 or more, got {getattr(options, name)}")
    if options.seed < 0:
        parser.error(f"--seed: expected 0 or more, got {options.seed}")
    options.evolora, options.model = options.evolora.resolve(), options.model.resolve()
    if not os.access(options.evolora, os.X_OK):
        parser.error(f"--evolora: expected a program, got {options.evolora}")
    if not (options.model / "config.json").is_file():
        parser.error(f"--model: expected a folder with config.json, got {options.model}")


def in_a_folder(name, work):
    """work(folder) -> text of what was wrong or None. The folder stays if something was. Returns the exit status."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        wrong = work(folder)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        return 130
    if wrong is None:
        shutil.rmtree(folder)
        return 0
    print(f"{wrong}\nleft behind: {folder}", file=sys.stderr)
    return 1
