"""Rows of unsigned numbers, and matrices, as .npy files, read more strictly than numpy does.

numpy's own loader would also open archives and pickles, and evaluates the header.
"""

import io
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Unsigned = NDArray[np.unsignedinteger]
LENGTH_DTYPES = ("|u1", "<u2", "<u4")
_HEADER = re.compile(
    rb"\x93NUMPY\x01\0..\{'descr': '(?P<dtype>[^']+)', 'fortran_order': False, 'shape': \((?P<size>\d+),\), \} *\n",
    re.DOTALL,
)
_MATRIX = re.compile(
    rb"\x93NUMPY\x01\0..\{'descr': '<f4', 'fortran_order': False, "
    rb"'shape': \((?P<rows>\d{1,18}), (?P<columns>\d{1,18})\), \} *\n",
    re.DOTALL,
)


def npy(array: Unsigned | NDArray[np.float32]) -> bytes:
    """Return an array as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def smallest(values: NDArray[np.uint32]) -> Unsigned:
    """Return numbers in the smallest unsigned type that holds them all."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def parse_npy(content: bytes, name: str, dtypes: Sequence[str]) -> Unsigned:
    """Return the numbers of an .npy file of one dimension, without a copy.

    Args:
        content: The whole file.
        name: Name of the file, for errors.
        dtypes: Types of numbers that are accepted, as numpy writes them.

    Raises:
        ValueError: if the content is anything else; the message begins with "holds".
    """
    array, rest = parse_npy_before(content, name, dtypes)
    if rest:
        needed = array.nbytes
        raise ValueError(f"holds {name} with {needed + len(rest)} bytes of numbers, its header says {needed}")
    return array


def parse_matrix(content: bytes, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the float32 matrix of an .npy file, without a copy.

    Args:
        content: The whole file.
        name: Name of the file, for errors.
        shape: The shape that it must have.

    Raises:
        ValueError: if the content is anything else, or has a number that is not finite; the message begins with
            "holds".
    """
    header = _MATRIX.match(content)
    if header is None:
        raise ValueError(f"holds {name} that is not an .npy file of a float32 matrix")
    given = (int(header["rows"]), int(header["columns"]))
    if given != shape:
        raise ValueError(f"holds {name} of shape {given}, not {shape}")
    available, needed = len(content) - header.end(), shape[0] * shape[1] * 4
    if available != needed:
        raise ValueError(f"holds {name} with {available} bytes of numbers, its header says {needed}")
    matrix = np.frombuffer(content, "<f4", shape[0] * shape[1], header.end()).reshape(shape)
    if not np.isfinite(matrix).all():
        raise ValueError(f"holds {name} with a number that is not finite")
    return matrix


def parse_columns(content: bytes, names: Sequence[str]) -> list[NDArray[np.int64]]:
    """Return columns of equal length from .npy files of unsigned numbers that stand one after the other.

    Args:
        content: The whole content.
        names: Names of the columns, in their order, for errors.

    Raises:
        ValueError: if the content is anything else; the message begins with "holds" or "contradicts itself".
    """
    columns, rest = [], content
    for name in names[:-1]:
        column, rest = parse_npy_before(rest, name, LENGTH_DTYPES)
        columns.append(column.astype(np.int64))
    columns.append(parse_npy(rest, names[-1], LENGTH_DTYPES).astype(np.int64))
    if len({*map(len, columns)}) > 1:
        sizes = ", ".join(f"{len(column)} {name}" for name, column in zip(names, columns, strict=True))
        raise ValueError(f"contradicts itself: it has {sizes}")
    return columns


def parse_npy_before(content: bytes, name: str, dtypes: Sequence[str]) -> tuple[Unsigned, bytes]:
    """Return the numbers of the .npy file that bytes begin with, and the bytes after it; errors as for `parse_npy`."""
    header = _HEADER.match(content)
    if header is None:
        raise ValueError(f"holds {name} that is not an .npy file of a row of numbers")
    dtype, size = header["dtype"].decode("ascii", "replace"), int(header["size"])
    if dtype not in dtypes:
        raise ValueError(f"holds {name} of dtype {dtype}, not {' or '.join(dtypes)}")
    available, needed = len(content) - header.end(), size * np.dtype(dtype).itemsize
    if available < needed:
        raise ValueError(f"holds {name} with {available} bytes of numbers, its header says {needed}")
    return np.frombuffer(content, dtype, size, header.end()), content[header.end() + needed :]
