#!/usr/bin/env bash
# The long proofs: pytest over tests/oracle with the pinned Python packages. Arguments go to pytest (for example -k gradient). Run by `make oracle`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# One BLAS thread: the matrices are small, and threads that wait for each other on a busy machine made some tests 20 times as long.
export OPENBLAS_NUM_THREADS=1
tools/models.sh smollm2-135m-mlx qwen2.5-tokenizer
exec build/python/bin/python -B -m pytest -c tests/oracle/pytest.ini tests/oracle "$@"
