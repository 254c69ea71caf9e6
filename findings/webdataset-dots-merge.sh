#!/usr/bin/env bash
# Guess: cat.0.jpg, cat.0.cls, cat.1.jpg, cat.1.cls are two samples, or an error; and asking for "jpg" gives a picture.
# Seen (webdataset 1.0.2, Python 3.11): the key of a sample ends at the first dot of its file name, so they are one
# sample `cat` with the parts 0.cls, 0.jpg, 1.cls and 1.jpg. No warning. Whoever asks for `0.jpg` trains on half of
# the pictures; asking for `jpg`, as for any other set, skips the sample or raises, by the handler.
# Who meets it: pictures named by date or version (2024.05.01.jpg), and frames (clip.0001.jpg), packed by `tar`.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check webdataset==1.0.2 numpy==2.4.0
cd "$here"
for n in 0 1; do printf 'picture %s' "$n" > "cat.$n.jpg"; printf '%s' "$n" > "cat.$n.cls"; done
tar --sort=name -cf set.tar cat.*
"$here/venv/bin/python" - <<'PY'
import webdataset as wds

samples = list(wds.WebDataset("set.tar", shardshuffle=False))
parts = [sorted(key for key in sample if not key.startswith("__")) for sample in samples]
print(f"{len(samples)} sample of 2 pictures: {parts[0]}")
assert [sample["__key__"] for sample in samples] == ["cat"], "there is more than one sample now"
assert parts == [["0.cls", "0.jpg", "1.cls", "1.jpg"]], parts
PY
