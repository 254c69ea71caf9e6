"""What a run of `archsearch` imports and works out once, done in the process that tests fork it from."""

import gc
import importlib
import io

import optuna
from matplotlib.figure import Figure

for name in [
    "alembic.command", "archsearch.cli.decoding", "archsearch.cli.live", "archsearch.cli.run",
    "archsearch.export.timed", "archsearch.report.best", "archsearch.report.files", "archsearch.report.html.write",
    "archsearch.retrain.inherited", "archsearch.tracking.observer", "archsearch.training.estimate",
    "archsearch.workers.run", "archsearch.workers.supervisor", "archsearch.workers.worker",
    "matplotlib.backends.backend_agg", "optuna.importance", "pandas.io.formats.csvs", "rich.live", "sklearn.datasets",
    "sklearn.ensemble", "torch._dynamo",
]:  # fmt: skip
    importlib.import_module(name)

storage = optuna.storages.RDBStorage("sqlite://")
storage.engine.dispose()

figure = Figure()
axes = figure.subplots()
axes.set(xscale="log", xlim=(1, 1e6))
figure.savefig(io.BytesIO())

gc.collect()
gc.freeze()  # what is shared with the forks is neither searched nor copied by their collections
