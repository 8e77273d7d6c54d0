"""Every command that a document shows in a ```sh block exists: make targets, scripts with their flags, and each flag of `evolora` against its own --help.

EVOLORA_BINARY names the program; without it, or while it is not built, its commands are not looked at (and that is said).
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
OUTSIDE = {"git", "cd", "cmake", "ctest", "sudo", "ls", "cat", "head", "mkdir", "export"}  # not ours: their own documentation holds


def documents(root):
    return [p for p in [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md")), *sorted(root.glob("examples/**/*.md"))] if p.is_file()]


def commands_of(text):
    """The commands of all sh blocks, also those joined by && or |; continuation lines joined, comments and blank lines left out."""
    found = []
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            command = []
            for word in [*shlex.split(line, comments=True), "&&"]:
                if word not in {"&&", "|"}:
                    command.append(word)
                    continue
                while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):  # VARIABLE=value in front
                    command.pop(0)
                if command:
                    found.append(command)
                command = []
    return found


def make_targets(root):
    return set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def flags_in(words):
    return [w.split("=")[0] for w in words if re.match(r"--?[a-zA-Z]", w)]


class Checker:
    def __init__(self, root, evolora):
        self.root = root
        self.evolora = evolora
        self.targets = make_targets(root)
        self.help_texts = {}
        self.skipped = 0

    def help_of(self, argv):
        """The --help text of a program, or None if it does not answer with exit status 0."""
        key = tuple(argv)
        if key not in self.help_texts:
            run = subprocess.run([*argv, "--help"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
            self.help_texts[key] = run.stdout if run.returncode == 0 else None
        return self.help_texts[key]

    def check_flags(self, argv, words):
        text = self.help_of(argv)
        if text is None:
            return [f"{' '.join(map(str, argv))} --help fails"]
        known = set(re.findall(r"--?[a-zA-Z][\w-]*", text))
        return [f"{flag} is not in the help of {pathlib.Path(str(argv[0])).name} {' '.join(map(str, argv[1:]))}" for flag in flags_in(words) if flag not in known]

    def check(self, words):
        """Errors of one command line."""
        program, rest = words[0], words[1:]
        if program == "make":
            return [f"make has no target {w}" for w in rest if "=" not in w and not w.startswith("-") and w not in self.targets]
        if pathlib.PurePath(program).name == "evolora":
            if self.evolora is None:
                self.skipped += 1
                return []
            if not rest or rest[0].startswith("-"):
                return self.check_flags([self.evolora], rest)
            # `evolora evolve` is a command of commands.
            words = 2 if rest[0] == "evolve" and len(rest) > 1 and not rest[1].startswith("-") else 1
            return self.check_flags([self.evolora, *rest[:words]], rest[words:])
        if pathlib.PurePath(program).name in {"python3", "python"} and rest and rest[0].endswith(".py"):
            script = self.root / rest[0]
            return [] if script.is_file() else [f"{rest[0]} does not exist"]
        if program.startswith(("tools/", ".ci/")):
            return [] if os.access(self.root / program, os.X_OK) else [f"{program} is not an executable file"]
        test = re.fullmatch(r"build/[a-z]+/(\w+)_test", program)
        if test:
            return [] if any((self.root / "src" / test[1]).rglob("*_test.cpp")) else [f"src/{test[1]} has no tests"]
        if program in OUTSIDE or program.startswith(("build/python/", "build/openevolve/")):
            return []
        return [f"unknown command {program}"]


def main():
    named = os.environ.get("EVOLORA_BINARY", str(ROOT / "build/release/evolora"))
    checker = Checker(ROOT, named if os.access(named, os.X_OK) else None)
    errors, count = [], 0
    for path in documents(ROOT):
        for words in commands_of(path.read_text(encoding="utf-8")):
            count += 1
            errors += [f"{path.relative_to(ROOT)}: `{' '.join(words)}`: {e}" for e in checker.check(words)]
    for error in errors:
        print("error:", error)
    if checker.skipped:
        print(f"{checker.skipped} commands of evolora not looked at: {named} is not built")
    print(f"{count} commands in {len(documents(ROOT))} documents, {len(errors)} errors")
    return 1 if errors or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
