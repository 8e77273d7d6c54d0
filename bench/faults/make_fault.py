"""Writes a source file of the program with a fault in it, for builds that `evolora bench` must find out without being told (bench/prove.py, faults.cmake).

    python3 bench/faults/make_fault.py NAME SOURCE OUT

The program itself has no hooks for this: a fault is a change of text at build time, and a text that is not there exactly once ends the build (exit status 2).
"""

import pathlib
import sys

# name: [(text of the source, what stands in its place)]
FAULTS = {
    # The same program, built in the same way: what is found in a faulty one is not the way it was built.
    "none": [],
    # Every pass takes 3 % longer, on one core, and says nothing.
    "slow": [
        ("#include <algorithm>\n", "#include <algorithm>\n#include <chrono>\n"),
        (
            "    peak_arena_bytes = std::max(peak_arena_bytes, program.run(bindings, arena, threads, counts, options));\n",
            "    using Clock = std::chrono::steady_clock;\n"
            "    const Clock::time_point start = Clock::now();\n"
            "    peak_arena_bytes = std::max(peak_arena_bytes, program.run(bindings, arena, threads, counts, options));\n"
            "    const Clock::time_point until = Clock::now() + (Clock::now() - start) * 3 / 100;\n"
            "    while (Clock::now() < until) {\n"
            "    }\n",
        ),
    ],
    # One adapted block is left out of the backward pass: faster, and the gradient flows past it.
    "layer": [
        (
            "  for (std::int64_t layer = count - 1; layer >= first; --layer) {\n",
            "  for (std::int64_t layer = count - 1; layer >= first; --layer) {\n    if (layer == count - 2 && layer > first) continue;\n",
        ),
    ],
    # The last sample of every data set is not trained on.
    "sample": [("random_(seed), order_(samples_.size()) {", "random_(seed), order_(samples_.size() - 1) {")],
    # The optimizer steps 2 % further than the rate it was given and reports.
    "rate": [(".learning_rate = learning_rate,", ".learning_rate = learning_rate * 1.02F,")],
}


def faulty(name, text):
    """The text with the fault. ValueError if the source is not what the fault was written for."""
    for old, new in FAULTS[name]:
        if text.count(old) != 1:
            raise ValueError(f"fault '{name}': expected {old.strip()!r} once, got it {text.count(old)} times: the source has changed, write the fault anew")
        text = text.replace(old, new)
    return text


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in FAULTS:
        print(f"make_fault: error: expected NAME SOURCE OUT, NAME one of {', '.join(FAULTS)}; got {sys.argv[1:]}", file=sys.stderr)
        return 2
    name, source, out = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    try:
        text = faulty(name, source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"make_fault: error: {source}: {error}", file=sys.stderr)
        return 2
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
