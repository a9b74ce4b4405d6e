"""Executors run the numbered tasks of a preparation; finished tasks are recorded, and skipped by the next run."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from datatrove.executor.local import LocalPipelineExecutor
from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data_pipeline.preparation.task_processes import run_in_processes
from data_pipeline.processes.processors import num_processors
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.internals import check_internal
from data_pipeline.whole_numbers import check_whole_number

POLL_SECONDS = 0.2
_OBJECTS_A_SEARCH = 1_000_000
"""New lists, dictionaries and other containers before a search for cycles; Python's own number is 700 or 2,000."""


class Executor(Protocol):
    """Runner of numbered tasks; each class runs them on another kind of machine."""

    def run(self, name: str, task: Callable[[int], None], num_tasks: int, folder: Path) -> None:
        """Run those of task(0) to task(num_tasks - 1) that are not recorded as finished in `folder`."""


class LocalExecutor:
    """Executor on the processes of this machine, with datatrove's local executor.

    Args:
        workers: Number of processes; None for one on each core.
    """

    def __init__(self, workers: int | None = None) -> None:
        check_whole_number("executor.workers", workers, or_null=True)
        self.workers = workers or num_processors()

    def run(self, name: str, task: Callable[[int], None], num_tasks: int, folder: Path) -> None:
        """Run the tasks and show how many have finished; the first error ends the run and is raised."""
        if num_tasks == 0:
            return
        workers = min(self.workers, num_tasks)
        executor = _QuietExecutor(
            [Step(task, threads=max(1, num_processors() // workers))],
            tasks=num_tasks,
            workers=workers,
            logging_dir=str(folder),
        )
        logger.disable("datatrove")
        unfinished = executor.get_incomplete_ranks(range(num_tasks))
        with progress(name, num_tasks, folder / "completions"):
            if workers > 1:
                run_in_processes(name, executor.run_task, unfinished, workers)
            else:
                for number in unfinished:
                    executor.run_task(number)


class _QuietExecutor(LocalPipelineExecutor):
    """datatrove's executor without its log lines on the screen and without its pool; errors are raised."""

    check_internal(LocalPipelineExecutor, "_run_for_rank", "datatrove 0.10.1")

    def run_task(self, number: int) -> None:
        """Run the task of a number and record that it is finished."""
        logger.disable("datatrove")
        self._run_for_rank(number)


class Step:
    """A pipeline step that runs the task of its rank.

    Args:
        task: Function that runs the task of a given number.
        threads: Threads of the tokenizer, so that processes share the cores.
        errors: Folder for the messages of errors, for callers on other machines; None writes no messages.
    """

    def __init__(self, task: Callable[[int], None], threads: int, errors: Path | None = None) -> None:
        self.task = task
        self.threads = threads
        self.errors = errors

    def __call__(self, data: None, rank: int = 0, world_size: int = 1) -> None:
        """Run the task of number `rank`."""
        os.environ.setdefault("RAYON_NUM_THREADS", str(self.threads))
        try:
            with _rare_garbage_collection():
                self.task(rank)
        except Exception as error:
            if self.errors is not None:
                self.errors.mkdir(parents=True, exist_ok=True)
                (self.errors / f"{rank:05d}").write_text(
                    printable(f"{type(error).__name__}: {error}"), encoding="utf-8"
                )
            raise


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Search for unreachable cycles rarely: a task makes millions of lists, and next to no cycles."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_OBJECTS_A_SEARCH, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@contextmanager
def progress(name: str, total: int, completions: Path) -> Iterator[None]:
    """Show a progress bar that counts the files in `completions`, one for each finished task."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    left = (TextColumn("left"), TimeRemainingColumn()) if Console(stderr=True).is_terminal else ()
    finished = threading.Event()
    with Progress(*columns, *left, console=Console(stderr=True)) as progress:
        bar = progress.add_task(name, total=total)

        def follow() -> None:
            while not finished.wait(POLL_SECONDS):
                progress.update(bar, completed=_num_files(completions))

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()
            progress.update(bar, completed=_num_files(completions))


def _num_files(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
