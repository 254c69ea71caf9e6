"""Write the pinned packages of `archsearch export --setup`: python scripts/format_locks.py [NAME ...]

A new virtual environment, pip's resolver, no installation. Run it with the oldest Python that archsearch supports.
What torch pins itself for one platform (CUDA) is left to torch, so that a lock holds on others too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LOCKS = Path(__file__).parents[1] / "archsearch/_utils/locks"
OURS = ["torch==2.14.1", "numpy", "safetensors", "tomli-w", "tqdm"]
"""What archsearch's own code needs where the converter takes its module: `nn.weights` and `inference.pixels`."""
WANTED = {
    # xdsl wants an old typing-extensions: what follows from that takes pip's resolver five minutes to find.
    "litert": [
        "litert-torch==0.10.0",
        "ai-edge-litert==2.3.0",
        "torchao==0.18.0",
        *OURS,
        "typing-extensions==4.12.2",
        "pydantic==2.11.10",
        "anyio==4.14.2",
        "typing-inspection==0.4.2",
    ],
    "executorch": ["executorch==1.5.1", "torchao==0.18.0", *OURS],
    "openvino": ["openvino==2026.4.1", "nncf==3.4.0", "numpy"],
    "ncnn": ["ncnn==1.0.20261020", "numpy"],
}
ALONE = {"ncnn": ["pnnx==20261020"]}
"""Packages that are wanted without what they say they need: torch, for a part of pnnx that is not used."""
OF_TORCH = re.compile(r"nvidia-|cuda-|triton$")


def pins(wanted: list[str]) -> tuple[list[str], int]:
    """NAME==VERSION of what pip would install, and how many packages that are with those of torch alone."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        report = Path(folder) / "report.json"
        command = [f"{folder}/bin/python", "-m", "pip", "install", "--dry-run", "--quiet", "--report", report, *wanted]
        subprocess.run(command, check=True)
        found = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    names = {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"] for one in found}
    return [f"{name}=={version}" for name, version in sorted(names.items()) if not OF_TORCH.match(name)], len(names)


def main() -> None:
    """Write the locks that are named, or all."""
    LOCKS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or WANTED:
        lines, count = pins(WANTED[name])
        lines = sorted([*lines, *ALONE.get(name, [])], key=lambda line: line.split("==")[0])
        (LOCKS / f"{name}.txt").write_text("\n".join([f"# {' '.join(WANTED[name])}", *lines]) + "\n")
        sys.stdout.write(f"{name}: {len(lines)} of {count} packages pinned\n")


if __name__ == "__main__":
    main()
