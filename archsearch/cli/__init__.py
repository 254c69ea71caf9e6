"""The command line: one file a subcommand, imported when it is called."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
from typing import Any

import click

from archsearch import __version__
from archsearch._utils.passwords import hide_password
from archsearch.errors import ArchsearchError, InputError, NothingFeasible
from archsearch.workers.processes import keep_interrupts

_COMMANDS = {
    "run": "Search, reject, train, and write the Pareto front of accuracy against size.",
    "data": "Describe a dataset: classes, files, copies, labels; keep its decoded pictures.",
    "check": "Hold any network against a budget: exit 0 or 1.",
    "spaces": "List the search spaces, or describe one.",
    "pareto": "Write a study's tables and plots again.",
    "show": "One candidate of a study: layers, cost, learning curve.",
    "retrain": "Train chosen networks fully, then read the test split once.",
    "evaluate": "Every metric of a trained file, per class too, with intervals and calibration.",
    "predict": "Labels and probabilities of images without labels, as a table.",
    "export": "Write a trained network as safetensors, ONNX or .pt2, checked before it is kept.",
    "bench": "Milliseconds, RAM, bytes and accuracy of a network's files, a row for each format.",
    "zoo": "List trained networks that are ready, or describe one and copy its file.",
    "worker": "Join a study from any machine that reaches its storage.",
    "dashboard": "Open a study in the Optuna dashboard.",
}
NO, BAD_INPUT, INTERRUPTED = 1, 2, 130


class _Lazy(click.Group):
    """Lists commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"archsearch.cli.{name}"), name)
        from archsearch.cli.imports import COMMANDS, with_import

        return with_import(command) if name in COMMANDS else command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Find the most accurate image classifiers inside a budget.

    \b
    archsearch run --max-params 5e6                        minutes on the embedded digits
    archsearch run --max-params 5e6 --dataset cifar10      the real thing

    Exit status: 0 done, 1 the answer is no, 2 bad input, 130 interrupted (state saved).
    """


def main(args: list[str] | None = None) -> None:
    """Run the command line; every error raised on purpose becomes one line and an exit status."""
    # Threads that wait by spinning stall the whole step as soon as another process wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_interrupts()
    status = _run(args)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who presses Ctrl-C once more ends what is being cleaned up
    sys.exit(status)


def _run(args: list[str] | None) -> int:
    try:
        result: Any = cli.main(args=args, prog_name="archsearch", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _fail(error.format_message(), BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except NothingFeasible as error:
        return _fail(str(error), NO)
    except InputError as error:
        return _fail(str(error), BAD_INPUT)
    except ArchsearchError as error:
        return _fail(str(error), NO)
    except BrokenPipeError:
        # Whoever read our output has gone: nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"{error.filename or _nameless()}: {error.strerror or error}", BAD_INPUT)
    return result if isinstance(result, int) else 0


def _nameless() -> str:
    """What an error of the system was about that does not say it: every file of a study is named."""
    return f"standard output, or a temporary file in {tempfile.gettempdir()} (TMPDIR)"


def _fail(message: str, status: int) -> int:
    lines = hide_password(message).split("\n")  # a URL may stand where none belongs
    print(f"archsearch: {' '.join(line.strip() for line in lines)}", file=sys.stderr)
    return status
