"""Whether the checkpoints of a run will find room on their disk, looked at before the first step."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from data_pipeline.whole_numbers import number_of

MOMENTS = 2
"""Values that AdamW keeps beside every weight that it trains (Loshchilov and Hutter, 2019, algorithm 2)."""


def expected_bytes(parameters: Iterable[Tensor]) -> int:
    """Return about how many bytes a checkpoint has: the weights, and the moments of those that are trained.

    Args:
        parameters: The parameters of the model; sharded ones count as a whole.
    """
    return sum(each.numel() * each.element_size() * (1 + MOMENTS * each.requires_grad) for each in parameters)


def taken_bytes(paths: Iterable[Path]) -> int:
    """Return how many bytes files and folders have, those that vanish meanwhile left out."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return sum(file.stat().st_size for file in files)


def missing_space(folder: Path, one: int, copies: int, replaced: int = 0) -> str | None:
    """Return in one line that a disk has too little room, None if it has enough.

    Args:
        folder: The folder of the checkpoints; it or a folder above it exists.
        one: Bytes of a checkpoint.
        copies: Most checkpoints that lie there at a time, the one that is being written included.
        replaced: Bytes of older checkpoints that new ones replace.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if free + replaced >= one * copies:
        return None
    return (
        f"{folder} may run out of space: {number_of(copies, 'checkpoint')} of about {_shown(one)} "
        f"need {_shown(one * copies)}, and {_shown(free + replaced)} are free or hold older ones"
    )


def _shown(size: int) -> str:
    """Return a number of bytes with a unit.

    >>> _shown(4_020_000_000), _shown(1_500_000)
    ('4.0 GB', '1.5 MB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
