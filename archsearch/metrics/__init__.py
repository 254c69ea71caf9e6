"""Scores of a classifier: what a search, a full training and an evaluation go by, by the names of `--metric`.

    metric = metric_of("balanced-accuracy", dataset.classes, labels=dataset.labels)
    require_defined(metric, validation_labels, "the validation images")
    metric(logits, labels)

scikit-learn computes them, on the CPU. Labels are int64 (N,), or bool (N, classes) where an image may have several.

What stands beside a metric is in files of its own: `per_class` (precision, recall, F1), `calibration` (ECE,
temperature), `bootstrap` and `ranking` (95% intervals), `paired` (before and after an export). `inference.scores` puts
the former together.
"""

from archsearch._utils.scores import ACCURACY, NAMES
from archsearch.metrics.metric import Metric, every_metric, is_multilabel, metric_in, metric_of, require_defined

__all__ = ["ACCURACY", "NAMES", "Metric", "every_metric", "is_multilabel", "metric_in", "metric_of", "require_defined"]
