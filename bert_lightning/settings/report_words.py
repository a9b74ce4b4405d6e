"""The words of bert-report, which takes folders and no settings; its help needs nothing that takes time to import."""

import argparse
from collections.abc import Sequence
from pathlib import Path

COMPARISON = "comparison.html"
_ABOUT = """bert-report writes the pages about runs, searches and fine-tunings anew, also while they run.

    bert-report outputs/first                   the page about a run, a search or a fine-tuning, in its folder
    bert-report outputs/first outputs/second    and a page that lays the runs over each other
"""


def report_parser() -> argparse.ArgumentParser:
    """Return what reads the command line of bert-report."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bert-report", description=_ABOUT, formatter_class=form)
    parser.add_argument("folder", nargs="+", type=Path, help="folder of a run, a search or a fine-tuning")
    about = f"page about several runs; else {COMPARISON} in their common folder"
    parser.add_argument("--output", type=Path, help=about)
    parser.add_argument("--version", action="store_true", help="name the versions")
    return parser


def report_words(arguments: Sequence[str]) -> tuple[list[Path], Path | None]:
    """Return the folders, each once, and the page about several runs, if one is named.

    Args:
        arguments: The words of the command line.
    """
    parsed = report_parser().parse_args(arguments)
    return list(dict.fromkeys(parsed.folder)), parsed.output
