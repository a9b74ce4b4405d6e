"""A task that leaves a mark each time it runs."""

from pathlib import Path


def append(folder: Path, broken: int, number: int) -> None:
    if number == broken:
        raise ValueError(f"task {number} is wrong")
    with (folder / f"{number}").open("a") as file:
        file.write("x")


def runs(folder: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in folder.iterdir()}
