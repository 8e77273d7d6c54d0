#!/usr/bin/env bash
# The long proofs: pytest over tests/oracle with the pinned Python packages. Arguments go to pytest (for example -k gradient). Run by `make oracle`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/models.sh smollm2-135m-mlx qwen2.5-tokenizer
exec build/python/bin/python -B -m pytest -c tests/oracle/pytest.ini tests/oracle "$@"
