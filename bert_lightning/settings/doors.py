"""The console scripts. They answer --help and --version at once, and import what a command needs only to run it."""

import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from platform import python_version
from signal import SIG_DFL, SIGPIPE, signal

from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.help_page import help_page
from bert_lightning.settings.report_words import report_parser

MODULES = {"inspect": "inspect_stream", "report": "report_runs"}
"""Modules whose names are not those of their commands."""


def __getattr__(command: str) -> Callable[[], None]:
    """Return the main function of the script bert-<command>, with an underscore for a hyphen."""
    if command not in MODULES and not _conf(command).exists():
        raise AttributeError(f"module {__name__!r} has no attribute {command!r}")
    return partial(_open, command)


def _open(command: str) -> None:
    """Answer, or import the module of a command and run it."""
    if (said := answer(command, sys.argv[1:])) is not None:
        signal(SIGPIPE, SIG_DFL)  # a pager that is closed early ends the command quietly
        print(said)
        return
    import_module(f"bert_lightning.{MODULES.get(command, command)}").main()


def answer(command: str, words: Sequence[str]) -> str | None:
    """Return what a command says without running: its help or the versions; None if it was asked for neither."""
    if "--help" in words or "-h" in words:
        columns = shutil.get_terminal_size().columns
        return help_page(command, words, columns) if _conf(command).exists() else report_parser().format_help()
    if "--version" in words:
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "lightning"))
        return f"bert-lightning {metadata.version('bert-lightning')} ({versions}, Python {python_version()})"
    return None


def _conf(command: str) -> Path:
    return Path(CONF_DIR) / f"{command}.yaml"
