#!/usr/bin/env bash
# Guess: a text that PyYAML writes into a model card's head is the same text for every reader of YAML.
# Seen (PyYAML 6.0.4, ruamel.yaml 0.19.1, Python 3.11, Linux x86-64): PyYAML reads YAML 1.1, where a number with an
# exponent needs a dot and a sign, so it leaves `12e4567` and `0o17` without quotes. In YAML 1.2 the first is a float
# beyond the largest, infinity, and the second is 15. Of 20,000 hexadecimal ids of 7 digits, 403 (2%) change.
# Who meets it: who names models or runs by a short commit or a hash, in cards, configurations and CI files that one
# tool writes by `yaml.safe_dump` and another reads. A card of archsearch names networks `archsearch-ID` therefore.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check PyYAML==6.0.4 ruamel.yaml==0.19.1
cat > "$here/ids.py" <<'PY'
import random

import yaml
from ruamel.yaml import YAML


def again(name: str) -> object:
    return YAML(typ="safe").load(yaml.safe_dump({"name": name}))["name"]


draws = random.Random(0)
ids = [f"{draws.getrandbits(28):07x}" for _ in range(20_000)]
print(again("12e4567"), again("0o17"), again("3f9a0c7"), sum(again(name) != name for name in ids))
PY
seen=$("$here/venv/bin/python" "$here/ids.py")
echo "$seen"
[ "$seen" = "inf 15 3f9a0c7 403" ] || { echo "PyYAML and YAML 1.2 agree otherwise now" >&2; exit 1; }
