"""The house rules that a program can check: includes go one way (docs/architecture.md), every file says what it is for, no file grows past its size.

Reads all C++ files of src/, apps/, tests/ and fuzz/. Prints one line per broken rule and exits 1, or prints what it looked at and exits 0.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Bottom to top: a folder may include itself and those before it.
ORDER = ["base", "formats", "text", "data", "model", "kernels", "engine", "reference", "train", "measure", "evolve", "report"]
MLX_FOLDER = "reference"  # the only one that may include MLX
MLX_PACK_HEADER = "evolora_mlx_pack.h"  # what kernel packs include; the program itself only carries its text
CPP = {".cpp", ".h", ".cu"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)
LINES_WARN, LINES_MAX = 500, 800


def is_test(path):
    return path.stem.endswith("_test") or path.name.startswith("test_") or "tests" in path.parts


def files_under(root, *folders, suffixes):
    found = []
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix in suffixes and "target" not in path.parts and "__pycache__" not in path.parts:
                found.append(path)
    return found


def includes_of(text):
    """(spelling, name) of every include; spelling is '"' or '<'."""
    return INCLUDE.findall(text)


def check_layer(root, path, text):
    """Errors of one file of src/: unknown folder, an include of a folder above, a relative include, MLX outside its folder, a name that does not exist."""
    inside = path.relative_to(root / "src")
    folder = inside.parts[0]
    errors = []
    if folder not in ORDER:
        return [f"src/{folder} is not a folder of the house: expected one of {', '.join(ORDER)}"]
    for spelling, name in includes_of(text):
        if name.startswith("mlx/") and folder != MLX_FOLDER and path.name != MLX_PACK_HEADER:
            errors.append(f"includes <{name}>: only src/{MLX_FOLDER} may use MLX")
        if spelling == "<":
            continue
        target = name.split("/")[0]
        if ".." in name.split("/"):
            errors.append(f'includes "{name}": name it from src/ instead')
        elif "/" not in name:
            errors.append(f'includes "{name}" without its folder: expected "{folder}/..."')
        elif target in ORDER and ORDER.index(target) > ORDER.index(folder):
            errors.append(f'includes "{name}": {target} stands above {folder}')
        elif target in ORDER and not (root / "src" / name).is_file():
            errors.append(f'includes "{name}", which does not exist')
        elif target == "apps":
            errors.append(f'includes "{name}": apps stand above everything')
    return errors


def check_manners(path, text):
    """Errors of one C++ file: opening comment, include guard, tabs, length."""
    errors = []
    lines = text.split("\n")
    if not text.startswith(("//", "/*")):
        errors.append("does not begin with a comment that says what it is for")
    # Highway compiles *-inl.h files once per target: their guard is a toggle, not #pragma once.
    if path.suffix == ".h" and not path.name.endswith("-inl.h") and "#pragma once" not in lines:
        errors.append("has no #pragma once")
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            errors.append(f"line {number} has a tab")
        if line != line.rstrip():
            errors.append(f"line {number} ends in spaces")
    if text and not text.endswith("\n"):
        errors.append("does not end with a newline")
    if len(lines) > LINES_MAX and not is_test(path):
        errors.append(f"has {len(lines)} lines, at most {LINES_MAX}: split off its second subject")
    return errors


def find_cycle(graph):
    """A cycle of the include graph as a list of names, or None."""
    state = {}

    def visit(node, trail):
        state[node] = "open"
        for other in graph.get(node, ()):
            if state.get(other) == "open":
                return trail[trail.index(other):] + [other]
            if other not in state:
                cycle = visit(other, trail + [other])
                if cycle:
                    return cycle
        state[node] = "done"
        return None

    for node in graph:
        if node not in state:
            cycle = visit(node, [node])
            if cycle:
                return cycle
    return None


def check_tree(root):
    """(errors, warnings, number of files) of a whole tree."""
    errors, warnings, graph = [], [], {}
    sources = files_under(root, "src", suffixes=CPP)
    everything = sources + files_under(root, "apps", "tests", "fuzz", "bench", suffixes=CPP)
    for path in everything:
        shown = path.relative_to(root)
        text = path.read_text(encoding="utf-8")
        found = check_manners(path, text)
        if path in sources:
            found += check_layer(root, path, text)
            # A header that includes itself under Highway's foreach_target is no cycle: that is how it is compiled once per target.
            graph[str(shown.relative_to("src"))] = [n for s, n in includes_of(text) if s == '"' and n != str(shown.relative_to("src"))]
        errors += [f"{shown}: {e}" for e in found]
        count = text.count("\n")
        if LINES_WARN < count <= LINES_MAX and not is_test(path):
            warnings.append(f"{shown}: {count} lines; above {LINES_WARN} look for the second subject")
    for path in files_under(root, "src", "tests", "tools", "bench", suffixes={".rs", ".py"}):
        count = path.read_text(encoding="utf-8").count("\n")
        if count > LINES_MAX and not is_test(path):
            errors.append(f"{path.relative_to(root)}: has {count} lines, at most {LINES_MAX}")
    cycle = find_cycle(graph)
    if cycle:
        errors.append("includes go in a circle: " + " -> ".join(cycle))
    return errors, warnings, len(everything)


def main():
    errors, warnings, count = check_tree(ROOT)
    for line in warnings:
        print("warning:", line)
    for line in errors:
        print("error:", line)
    if count == 0:
        print("error: no files found")
    print(f"{count} C++ files, {len(errors)} broken rules, {len(warnings)} warnings")
    return 1 if errors or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
