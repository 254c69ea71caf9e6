"""One worker of a study in a process of its own: loads its data, searches, and tells its parent of everything.

It dies with its parent: what it holds of the study is given back then, and nothing runs on unseen.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
import torch

from archsearch._utils.passwords import without_secrets
from archsearch.data import Dataset, load_dataset
from archsearch.data.store.progress import SILENT, Watch
from archsearch.errors import ArchsearchError, StudyError, TrainingFailed
from archsearch.evaluation import Evaluation, Relay, Report
from archsearch.export.timed import Stopwatch
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.blocks.imports import load
from archsearch.network.layers import COLOURS, Shape
from archsearch.nn.devices import free_memory, resolve_device
from archsearch.report.files import CandidateFiles
from archsearch.retrain.given import Given, given_again
from archsearch.study.config import StudyConfig
from archsearch.study.leases import Seat
from archsearch.study.observers import Candidate, Counts, Observer
from archsearch.study.records import Record, Reject
from archsearch.study.retrying import waiter_of
from archsearch.study.storage import load_study, open_storage, records, terms_of
from archsearch.training.data import TrainingData
from archsearch.training.estimate import training_cost, training_seconds
from archsearch.training.judging import metric_for
from archsearch.training.memory import SHARE, predictor
from archsearch.training.setup import Birth, TrainingSetup
from archsearch.training.shapes import Shapes
from archsearch.training.thread_tuner import ThreadTuner
from archsearch.training.trainer import Trainer
from archsearch.workers.jobs import Job, median_candidate
from archsearch.workers.local import search
from archsearch.workers.measure import Evaluate, train_references
from archsearch.workers.parents import Parents
from archsearch.workers.processes import keep_interrupts

_LAST_WORDS = 5.0
_BATCH, _EVERY = 200, 0.1


class Messages(Observer):
    """Sends what happens to the parent; counts as what was added since the last message."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._gone = False
        self._lock = threading.Lock()
        self._told = Counts()
        self._rejects: list[Reject] = []
        self._clock = 0.0

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """The parent counts what was there before."""
        self._told = replace(counts, broke=dict(counts.broke))

    def noted(self, line: str) -> None:
        """The line."""
        self.send("noted", line)

    def checked(self, counts: Counts, reject: Reject | None) -> None:
        """Sent in batches: there may be thousands in a second."""
        if reject is not None:
            self._rejects.append(reject)
        if len(self._rejects) >= _BATCH or time.monotonic() - self._clock > _EVERY:
            self._send_counts(counts)

    def training(self, candidate: Candidate) -> None:
        """Without the draft's trial, which is this process's own."""
        self.send("training", replace(candidate, draw=replace(candidate.draw, trial=None)))

    def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
        """The parent knows the candidate."""
        self.send("epoch", epoch, accuracy, metrics)

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """The record, which the study has by now."""
        self._send_counts(counts)
        self.send("finished", record)

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """What is left to count."""
        self._send_counts(counts)

    def send(self, *message: object) -> None:
        """Send whole messages or none: after one that was cut off no other may follow.

        Raises:
            KeyboardInterrupt: the parent is gone.
        """
        with self._lock:  # the lease's thread may have something to say, too
            if self._gone:
                return
            self._gone = True
            try:
                self._connection.send(message)
            except (BrokenPipeError, ConnectionResetError):
                raise KeyboardInterrupt from None
            self._gone = False

    def _send_counts(self, counts: Counts) -> None:
        self.send("checked", difference(counts, self._told), self._rejects)
        self._told = replace(counts, broke=dict(counts.broke))
        self._rejects, self._clock = [], time.monotonic()


def difference(new: Counts, old: Counts) -> Counts:
    """What was counted between two states of the counts."""
    broke = {name: n - old.broke.get(name, 0) for name, n in new.broke.items()}
    return Counts(**{n: v - getattr(old, n) for n, v in asdict(new).items() if n != "broke"}, broke=broke)


def work(connection: Connection, job: Job) -> None:
    """The main function of a worker process. Its last message is `ended` with a reason, or `error`."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everybody; the parent decides
    last: tuple[str, object]
    try:
        keep_interrupts(signal.SIGTERM)
        threading.Thread(target=_die_with_parent, args=(connection,), name="parent", daemon=True).start()
        for own in job.imports:
            load(own)
        last = "ended", _search(Messages(connection), job)
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        if not isinstance(error, (ArchsearchError, OSError)):
            error.add_note("in a worker process:\n" + without_secrets(traceback.format_exc(), job.url))
        last = "error", error
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(BrokenPipeError, ConnectionResetError):  # a parent that is gone needs no last word
        connection.send(last)


def _die_with_parent(connection: Connection) -> None:
    """The parent never sends anything: what can be read is its end."""
    connection.poll(None)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_WORDS)
    os._exit(1)


def _search(messages: Messages, job: Job) -> str:
    storage = open_storage(job.url, wait=True)
    waiter_of(storage).told = lambda line: messages.send("outage", line)
    study, config = load_study(storage, job.study)
    terms = terms_of(study)
    dataset = study_dataset(job.dataset, job.data_dir, config)
    check_dataset(dataset, job.dataset, study.study_name, config)
    data = TrainingData.of(dataset, config.seed, resolve_device(job.device), job.memory)
    key = json.dumps([config.to_json(), data.device.type])
    known = given_again(job.known, config.known, dataset)
    setup = replace(known.given_to(_setup(job, config, data)), tuner=ThreadTuner(job.threads, messages.noted))
    parents = Parents(job.folder / "parents", lambda: records(study), lambda: trainer.trained, messages.noted)
    trainer = Trainer(setup, lambda arch: files.checkpoint(arch, key), parents if config.inherit else None)

    def save(path: Path, arch: Arch, record: Record) -> None:
        trainer.save(path, arch, **_measured(record, config), trained="search", **_begun(known, trainer.birth))

    files = CandidateFiles(job.folder, save)
    if job.estimates:
        estimate(config, setup, messages)
    if job.references:
        textbook = zoo.fitting(config.input_shape, config.classes)
        scratch = Trainer(setup, lambda arch: files.checkpoint(arch, key))

        def done(record: Record) -> None:
            files.forget(record.arch)
            messages.send("reference", record)

        train_references(textbook, study, scratch, config.budget, config.seed, done, stopwatch_of(config, job.data_dir))
    return search(
        config.space,
        evaluate=guarded(trainer, lambda: trainer.evaluation),
        input_shape=config.input_shape,
        classes=config.classes,
        budget=config.budget,
        trials=lambda: terms_of(study).trials,
        seed=config.seed,
        sampler=terms.sampler,
        rungs=terms.rungs,
        timeout=job.timeout,
        study=study,
        rejected=job.rejected,
        observers=[files, *([parents] if config.inherit else []), messages],
        seat=seat(job, data.device),
        memory=predictor(data, config.recipe, shapes=config.domain.shapes),
        stopwatch=stopwatch_of(config, job.data_dir),
        training_cost=training_cost(data.device),
    ).reason


def _setup(job: Job, config: StudyConfig, data: TrainingData) -> TrainingSetup:
    """What every training of a study is given."""

    def load(shape: Shape) -> Dataset:
        return study_dataset(job.dataset, job.data_dir, config, shape)

    return TrainingSetup(
        data,
        config.recipe,
        config.seed,
        deterministic=config.deterministic,
        shapes=Shapes(data, load, config.seed, job.memory),
        metric=metric_for(config.metric, data.dataset),
    )


def stopwatch_of(config: StudyConfig, data_dir: Path) -> Stopwatch | None:
    """Who measures milliseconds where they are limited. Raises InputError."""
    return Stopwatch(config.budget.timing, data_dir) if config.budget.timing else None


def _begun(known: Given, birth: Birth | None) -> dict[str, str]:
    """What a weights file says of its beginning."""
    words = f"begun with candidate {birth.parent}" if birth else known.words
    return {"start": words} if words else {}


def _measured(record: Record, config: StudyConfig) -> dict[str, Any]:
    """What a weights file says of its network's validation."""
    scored = {} if record.val_score is None else {"metric": config.metric, "val_score": record.val_score}
    return {"val_accuracy": record.val_accuracy, **scored}


def estimate(config: StudyConfig, setup: TrainingSetup, messages: Messages) -> None:
    """Tell how long a median candidate trains here; nothing of one that cannot be trained, as its training says."""
    arch = median_candidate(config)
    if arch is None:
        return
    try:
        seconds = training_seconds(arch, setup)
    except Exception:  # noqa: BLE001 - a network that cannot be trained fails in its own training, with a reason
        return
    finally:
        free_memory(setup.data.device)
    messages.send("estimate", arch, seconds)


def study_dataset(
    spec: str, data_dir: Path, config: StudyConfig, shape: Shape | None = None, watch: Watch = SILENT
) -> Dataset:
    """The images as the study wants them, for candidates of an input shape; None: of the largest.

    watch: is told how far it is. Raises DataError.
    """
    wanted, searched = config.data, config.space.input
    channels, side, _ = shape or config.input_shape
    colour = next((name for name, count in COLOURS.items() if count == channels), None)
    dataset = load_dataset(
        spec,
        data_dir=data_dir,
        image_size=side if "size" in searched else wanted.image_size,
        colour=colour if "colour" in searched else None,
        skip_broken=wanted.skip_broken,
        nested=wanted.nested,
        watch=watch,
    )
    return replace(dataset, share=wanted.validation)


def check_dataset(dataset: Dataset, spec: str, study: str, config: StudyConfig) -> None:
    """Refuse other data than the study's. Raises StudyError with both fingerprints."""
    wanted = config.data.fingerprint
    if dataset.fingerprint != wanted:
        raise StudyError(
            f"dataset {spec!r} has fingerprint {dataset.fingerprint}, study {study!r} was made with {wanted}:"
            " give --dataset, --data-dir the same images"
        )


def seat(job: Job, device: torch.device) -> Seat:
    """A worker's seat; with a shared CUDA device only where its trainings have room beside the others there."""
    if not job.shared or device.type != "cuda":
        return Seat(job.index, before=job.before)
    about = torch.cuda.get_device_properties(device)
    room = SHARE * about.total_memory
    return Seat(job.index, device=str(getattr(about, "uuid", device)), room=room, before=job.before)


def guarded(evaluate: Evaluate, measured: Callable[[], Evaluation] | None = None) -> Evaluate:
    """An evaluation whose every error is a failed training: one broken network must not end a search.

    It raises TrainingFailed with the error's type and first line; errors of `report` go through.

    Args:
        measured: gives what is known of the evaluation that such an error has ended.
    """

    def run(arch: Arch, report: Report) -> float | Evaluation:
        told = Relay(report)
        try:
            return evaluate(arch, told)
        except ArchsearchError:
            raise
        except Exception as error:
            if told.error:
                raise
            first = (str(error).splitlines() or [""])[0]
            failure = TrainingFailed(f"{type(error).__name__}: {first}")
            if measured:
                failure.evaluation = measured()
            raise failure from error

    return run
