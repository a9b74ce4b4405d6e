"""Tasks that leave a mark each time they run, end their process, or fail in odd ways."""

import os
import signal
from pathlib import Path


def append(folder: Path, broken: int, number: int) -> None:
    if number == broken:
        raise ValueError(f"task {number} is wrong")
    with (folder / f"{number}").open("a") as file:
        file.write("x")


def runs(folder: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in folder.iterdir()}


def end_itself(killed: int | None, number: int) -> None:
    """Kill this process in the task of a number; None leaves with status 7 in every task."""
    if killed is None:
        os._exit(7)
    if number == killed:
        os.kill(os.getpid(), signal.SIGKILL)


def fail_unsendably(number: int) -> None:
    """Raise an error that holds what no other process can have."""
    raise ValueError(number for number in range(3))
