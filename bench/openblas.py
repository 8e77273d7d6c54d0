"""Runs a command with OpenBLAS before the BLAS inside MLX's wheel, which is scalar on x86: MLX's best on a CPU, and so the fair baseline. The one place that knows how.

    python3 bench/openblas.py COMMAND...

EVOLORA_OPENBLAS names the library where it is in no folder of Debian's; without any, the command is not run (exit status 2).
"""

import glob
import os
import pathlib
import subprocess
import sys

PLACES = ("/usr/lib/*/openblas-*/libblas.so.3", "/usr/lib/*/libopenblas.so.0")
OLDEST_KERNELS = ("Prescott", "Core2", "Penryn", "Nehalem", "generic")


def openblas_library():
    """Path of the library, or None."""
    named = os.environ.get("EVOLORA_OPENBLAS")
    found = [named] if named and pathlib.Path(named).is_file() else sorted(path for place in PLACES for path in glob.glob(place)) if not named else []
    return found[0] if found else None


def openblas_environment():
    """The variables, empty where there is no OpenBLAS. An OpenBLAS that is older than the processor takes its oldest SSE kernels (0.3.21 says "Prescott" to an
    Emerald Rapids); it is then told which of its kernels fit the instruction set."""
    library = openblas_library()
    if library is None:
        return {}
    environment = {"LD_PRELOAD": library}
    said = subprocess.run(["/bin/true"], env={**environment, "OPENBLAS_VERBOSE": "2"}, capture_output=True, text=True, check=True)
    if any(f"Core: {core}" in said.stdout + said.stderr for core in OLDEST_KERNELS):
        flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
        kernels = "SkylakeX" if " avx512bw " in flags else "Haswell" if " avx2 " in flags else ""
        if kernels:
            environment["OPENBLAS_CORETYPE"] = kernels
    return environment


def main():
    command = sys.argv[1:]
    if not command or command[0] in {"-h", "--help"}:
        print(__doc__)
        return 0 if command else 2
    environment = openblas_environment()
    if not environment:
        print(f"openblas: error: no OpenBLAS: expected {' or '.join(PLACES)}, or its path in EVOLORA_OPENBLAS, got {os.environ.get('EVOLORA_OPENBLAS', 'neither')}", file=sys.stderr)
        return 2
    try:
        os.execvpe(command[0], command, {**os.environ, **environment})
    except OSError as error:
        print(f"openblas: error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
