"""Files of vectors, .npy or parquet, that are written piece by piece and appear whole or not at all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from bert_lightning.inference.features import Features
from bert_lightning.settings.run_folder import check_file_place, partial_path

SUFFIXES = (".npy", ".parquet")


class VectorFile(Protocol):
    """A file that is being written."""

    def write(self, features: Features, texts: Sequence[str], first_row: int) -> None:
        """Add vectors.

        Args:
            features: The vectors.
            texts: The texts that they are of.
            first_row: Number of the first of these texts in the whole input.
        """

    def finish(self) -> None:
        """Write what is to be known at the end, and put the file in its place."""

    def discard(self) -> None:
        """Remove what has been written and not finished."""


def check_output(path: Path) -> None:
    """Raise a ValueError if no file of vectors can be written under a name, before anything is computed."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"output={path} must end in one of {', '.join(SUFFIXES)}")
    check_file_place(path)
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ValueError(f"output={path} needs pyarrow: pip install 'bert-lightning[prepare]'")


@contextmanager
def open_vectors(path: Path, width: int, has_spans: bool) -> Iterator[VectorFile]:
    """Give a file to write vectors to; it is there when the block has ended without an error, and not before.

    Args:
        path: Its name, which says the format.
        width: Numbers of a vector.
        has_spans: Whether an .npy gets a file beside it, <name>.spans.npy, that says for each vector the number of its
            text and the begin and end of its characters, int64 (vectors, 3). Parquet has columns for them.
    """
    check_output(path)
    file = _Parquet(path, width) if path.suffix == ".parquet" else _Npy(path, width, has_spans)
    try:
        yield file
        file.finish()
    finally:
        file.discard()


class _Rows:
    """An .npy file of rows whose number is not known before the end; numpy leaves room for it in the header."""

    def __init__(self, path: Path, dtype: str, width: int) -> None:
        self._path, self._dtype, self._width, self._size = path, np.dtype(dtype), width, 0
        self._file: BinaryIO = partial_path(path).open("wb")
        self._write_header()
        self._begin = self._file.tell()

    def _write_header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._size, self._width)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def write(self, rows: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self._size += len(rows)

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()
        if self._file.tell() != self._begin:
            raise RuntimeError(f"numpy's header of {self._path} has outgrown the room left for it")
        self._file.close()
        partial_path(self._path).replace(self._path)

    def discard(self) -> None:
        with suppress(OSError):  # of a full disk, which has been said
            self._file.close()
        partial_path(self._path).unlink(missing_ok=True)


class _Npy:
    def __init__(self, path: Path, width: int, has_spans: bool) -> None:
        self._vectors = _Rows(path, "<f4", width)
        self._spans = _Rows(path.with_suffix(".spans.npy"), "<i8", 3) if has_spans else None

    def write(self, features: Features, texts: Sequence[str], first_row: int) -> None:
        self._vectors.write(features.vectors)
        if self._spans is not None:
            self._spans.write(np.column_stack([features.rows + first_row, features.spans]))

    def finish(self) -> None:
        if self._spans is not None:
            self._spans.finish()
        self._vectors.finish()

    def discard(self) -> None:
        self._vectors.discard()
        if self._spans is not None:
            self._spans.discard()


class _Parquet:
    """A row a vector: `row` (number of the text), `begin`, `end`, `text` (the characters between) and `vector`."""

    def __init__(self, path: Path, width: int) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        self._arrow, self._path, self._width = pyarrow, path, width
        numbers = [(name, pyarrow.int64()) for name in ("row", "begin", "end")]
        vector = ("vector", pyarrow.list_(pyarrow.float32(), width))
        self._schema = pyarrow.schema([*numbers, ("text", pyarrow.string()), vector])
        self._writer = ParquetWriter(partial_path(path), self._schema)

    def write(self, features: Features, texts: Sequence[str], first_row: int) -> None:
        parts = zip(features.rows.tolist(), features.spans.tolist(), strict=True)
        arrow = self._arrow
        columns = [
            arrow.array(features.rows + first_row),
            *(arrow.array(column) for column in features.spans.T.copy()),
            arrow.array([texts[row][begin:end] for row, (begin, end) in parts], arrow.string()),
            arrow.FixedSizeListArray.from_arrays(arrow.array(features.vectors.ravel()), self._width),
        ]
        self._writer.write_table(arrow.Table.from_arrays(columns, schema=self._schema))

    def finish(self) -> None:
        self._writer.close()
        partial_path(self._path).replace(self._path)

    def discard(self) -> None:
        with suppress(OSError):
            self._writer.close()
        partial_path(self._path).unlink(missing_ok=True)
