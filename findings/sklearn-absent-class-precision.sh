#!/usr/bin/env bash
# Guess: where no image has a label, neither ranking score of that label is defined, and both macro means say so.
# Seen (scikit-learn 1.9.1, Python 3.11): for a label without positives `roc_auc_score` is nan, and so is its macro
# mean, while `average_precision_score` is 0.0 and counts as such: three labels, two of them ranked perfectly, one not in
# the split, have a macro average precision of 0.667. Both warn once; neither raises.
# Who meets it: who reports mAP beside macro AUROC on a small or rare-label split (chest X-rays, MedMNIST's several
# labels). The mean falls with every absent label, though no image was ranked worse.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1
cd "$here"
cat > absent.py <<'PY'
import warnings

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, roc_auc_score

warnings.filterwarnings("ignore", category=UndefinedMetricWarning)
warnings.filterwarnings("ignore", "No positive class found")
labels = np.zeros((10, 3), dtype=int)
labels[:5, 0] = labels[5:, 1] = 1  # the third label is nowhere
scores = np.stack([np.linspace(1, 0, 10), np.linspace(0, 1, 10), np.linspace(0, 1, 10)], axis=1)
for score in (roc_auc_score, average_precision_score):
    each = " ".join(f"{value:.3f}" for value in score(labels, scores, average=None))
    print(f"{score.__name__}: {each}, macro {score(labels, scores, average='macro'):.3f}")
PY
seen=$("$here/venv/bin/python" absent.py)
echo "$seen"
[ "$seen" = "roc_auc_score: 1.000 1.000 nan, macro nan
average_precision_score: 1.000 1.000 0.000, macro 0.667" ] || { echo "an absent label counts otherwise now" >&2; exit 1; }
