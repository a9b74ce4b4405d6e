"""Rows of unsigned numbers as .npy files, read more strictly than numpy does.

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


def npy(array: Unsigned) -> bytes:
    """Return an array of one dimension as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def smallest(values: NDArray[np.uint32]) -> Unsigned:
    """Return numbers in the smallest unsigned type that holds them all."""
    return values.astype(np.min_scalar_type(int(values.max())))


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
