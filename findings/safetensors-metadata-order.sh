#!/usr/bin/env bash
# Guess: the same tensors with the same metadata are the same file, so a SHA-256 tells whether a network changed.
# Seen (safetensors 0.8.0, numpy 2.4.0, Python 3.11, Linux x86-64): tensors are sorted, metadata are not. With five
# keys, 50 calls of `save` in one process gave some 40 different files; without metadata all 50 are equal. Only the order
# of the keys within `__metadata__` differs.
# Who meets it: whoever compares, caches or signs weights files by their hash, or expects a rerun to be reproducible.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.0
"$here/venv/bin/python" - <<'PY'
import json

import numpy as np
from safetensors.numpy import save

tensors = {"weight": np.zeros((2, 2), np.float32), "bias": np.zeros(2, np.float32)}
metadata = {"arch": "a", "classes": "b", "dataset": "c", "recipe": "d", "seed": "0"}


def header(file: bytes) -> dict:
    return json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])


bare = {save(tensors) for _ in range(50)}
described = {save(tensors, metadata) for _ in range(50)}
print(f"different files of 50: {len(bare)} without metadata, {len(described)} with five keys")
assert len(bare) == 1, "files without metadata differ too"
assert len(described) > 1, "metadata have a fixed order now"
first, *others = map(header, described)
assert all(one == first for one in others), "they differ in more than the order"
PY
