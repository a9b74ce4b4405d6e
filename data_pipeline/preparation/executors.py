"""Where the tasks of preparation run. A task is a number; finished ones are remembered and skipped by the next try."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import multiprocess
from datatrove.executor.local import LocalPipelineExecutor
from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data_pipeline.internals import check_internal
from data_pipeline.whole_numbers import check_whole_number

POLL_SECONDS = 0.2
_PRELOADED = "data_pipeline.preparation.preparation"
_at_work = threading.Event()


def _end_with_parent() -> None:
    """In a process forked while tasks run: end as soon as the parent has.

    datatrove's executor forks one that waits for orders (a multiprocessing Manager); after a kill -9 it would wait for
    ever.
    """

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    if _at_work.is_set():
        threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_with_parent)


class Executor(Protocol):
    """How numbered tasks are run; one class a place, chosen by the `executor` config group."""

    def run(self, name: str, task: Callable[[int], None], num_tasks: int, folder: Path) -> None:
        """Run task(0) to task(num_tasks - 1), those that `folder` does not know as finished."""


class LocalExecutor:
    """Processes of this machine, through datatrove's local executor.

    Args:
        workers: Processes; None for one a core.
    """

    def __init__(self, workers: int | None = None) -> None:
        check_whole_number("executor.workers", workers, or_null=True)
        self.workers = workers or _num_cores()

    def run(self, name: str, task: Callable[[int], None], num_tasks: int, folder: Path) -> None:
        """Run the tasks and show how many are done; the first error ends the run and is raised."""
        workers = min(self.workers, num_tasks)
        executor = _QuietExecutor(
            [Step(task, threads=max(1, _num_cores() // workers))],
            tasks=num_tasks,
            workers=workers,
            logging_dir=str(folder),
        )
        logger.disable("datatrove")
        # Processes are forked from one that has imported what they need, instead of each importing it for every stage.
        multiprocess.get_context("forkserver").set_forkserver_preload(["__main__", _PRELOADED])
        _at_work.set()
        try:
            with progress(name, num_tasks, folder / "completions"):
                executor.run()
        finally:
            _at_work.clear()


class _QuietExecutor(LocalPipelineExecutor):
    """Keeps datatrove's log lines off the screen; what went wrong is in the error."""

    check_internal(LocalPipelineExecutor, "_run_for_rank", "datatrove 0.10.1")

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        logger.disable("datatrove")
        return super()._run_for_rank(rank, local_rank, node_rank)


class Step:
    """A pipeline step that runs the task of its rank.

    Args:
        task: The task.
        threads: Threads that the tokenizer uses, so that processes share the cores.
        errors: Folder in which the message of an error is left, for those who do not see it raised.
    """

    def __init__(self, task: Callable[[int], None], threads: int, errors: Path | None = None) -> None:
        self.task = task
        self.threads = threads
        self.errors = errors

    def __call__(self, data: None, rank: int = 0, world_size: int = 1) -> None:
        """Run task number `rank`."""
        os.environ.setdefault("RAYON_NUM_THREADS", str(self.threads))
        try:
            self.task(rank)
        except Exception as error:
            if self.errors is not None:
                self.errors.mkdir(parents=True, exist_ok=True)
                (self.errors / f"{rank:05d}").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
            raise


@contextmanager
def progress(name: str, total: int, completions: Path) -> Iterator[None]:
    """Show a bar that follows the files that mark finished tasks."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    finished = threading.Event()
    with Progress(*columns, console=Console(stderr=True)) as progress:
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


def _num_cores() -> int:
    """Return the cores this process may use: a job on a cluster has fewer than its node."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _num_files(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
