"""The row of the entity that a title leads to, for millions of titles in 12 bytes each: hashes, and a binary search."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.prepared.npy import LENGTH_DTYPES, npy, parse_npy, parse_npy_before, smallest


@dataclass(frozen=True, slots=True)
class TitleRows:
    """Rows of entities by the hashes of titles.

    Attributes:
        hashes: Hash of each title, ascending, (titles,).
        rows: Row of the entity that each title leads to, (titles,).
    """

    hashes: NDArray[np.uint64]
    rows: NDArray[np.unsignedinteger]

    @staticmethod
    def of(rows: Mapping[str, int]) -> "TitleRows":
        """Return the rows of titles.

        >>> rows = TitleRows.of({"Bern": 0, "Berne": 0, "Aare": 1})
        >>> [rows.row(title) for title in ("Aare", "Bern", "Zoo")]
        [1, 0, None]
        """
        hashes = np.array([_hash(title) for title in rows], dtype=np.uint64)
        order = np.argsort(hashes)
        return TitleRows(hashes[order], smallest(np.array([*rows.values()], dtype=np.uint32))[order])

    def row(self, title: str) -> int | None:
        """Return the row of the entity that a title leads to, None if there is none."""
        wanted = np.uint64(_hash(title))
        position = int(np.searchsorted(self.hashes, wanted))
        is_known = position < len(self.hashes) and self.hashes[position] == wanted
        return int(self.rows[position]) if is_known else None

    def save(self, path: Path) -> None:
        """Write the rows to a file."""
        path.write_bytes(npy(self.hashes) + npy(self.rows))

    @staticmethod
    def load(path: Path) -> "TitleRows":
        """Read rows that `save` wrote."""
        hashes, rest = parse_npy_before(path.read_bytes(), "hashes", ("<u8",))
        return TitleRows(hashes.astype(np.uint64), parse_npy(rest, "rows", LENGTH_DTYPES))


def _hash(title: str) -> int:
    return int.from_bytes(hashlib.blake2b(title.encode(), digest_size=8).digest(), "little")
