"""JSON that others wrote: of limited size and depth, and an object."""

import json
from pathlib import Path
from typing import Any, NoReturn

from data_pipeline.untrusted.plain_files import has_file, read_plain_text
from data_pipeline.untrusted.typed_fields import shown

MAX_DEPTH = 32
"""Nesting of objects and lists; what the project and Hugging Face write needs less than ten."""


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the object that a file holds, None if there is no file.

    Raises:
        ValueError: naming the file, if it is no plain file of limited size, or its text is none for `parse_object`.
    """
    if not has_file(path.parent, path.name):
        return None
    return parse_object(read_plain_text(path.parent, path.name), str(path))


def parse_object(content: bytes | str, where: str) -> dict[str, Any]:
    """Return the object that a text holds. How long the text may be is up to who reads or fetches it.

    Args:
        content: UTF-8 if it is bytes.
        where: The file or URL, for errors.

    Raises:
        ValueError: naming the file, if the text is no JSON, is nested too deeply, holds half of a surrogate pair,
            or is anything but an object.
    """
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError as error:  # includes those of numbers with thousands of digits and of text that is not UTF-8
        raise ValueError(f"{where} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where} holds {shown(value)}, which must be an object with named entries")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [each for entries in inner for each in entries if isinstance(each, dict | list)]
    if level:
        raise _too_deep(where)
    _check_text(value, where)
    return value


def _check_text(value: object, where: str) -> None:
    """Raise a ValueError if a string holds half of a surrogate pair, which JSON can spell but no file can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} holds half of a surrogate pair, which is no text: {error.reason}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _too_deep(where: str) -> ValueError:
    return ValueError(f"{where} is nested more than {MAX_DEPTH} deep")
