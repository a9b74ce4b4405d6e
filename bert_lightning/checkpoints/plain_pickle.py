"""Files of torch.save, read without running what is in them; whatever is wrong with one is a ValueError."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever the reading of a damaged or hostile pickle ends in into a ValueError of one line."""
    try:
        yield
    except pickle.UnpicklingError as error:  # torch's own message advises to run whatever is in the file
        raise ValueError(
            f"checkpoint={path} cannot be read: it holds more than tensors and plain containers"
        ) from error
    except MemoryError as error:
        raise ValueError(f"checkpoint={path} cannot be read: it asks for more memory than there is") from error
    except ValueError as error:
        raise ValueError(f"checkpoint={path} cannot be read: {error}") from error
    except Exception as error:
        raise ValueError(f"checkpoint={path} cannot be read: {type(error).__name__}: {error}") from error


def load_plain(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Return the dictionary in a file of torch.save.

    Args:
        path: The file.
        mmap: Map tensors instead of reading them.

    Raises:
        ValueError: naming the file, if it cannot be read, or holds anything but tensors and plain containers.
    """
    with reading(path):
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    if not isinstance(content, dict):
        raise ValueError(f"checkpoint={path} was not written by bert-pretrain: it holds no dictionary")
    return content
