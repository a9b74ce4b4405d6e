"""Fields of what others wrote, such as a JSON object: of the right type and in range, or an error that names them.

The annotations of a dataclass say what its fields must be, so a format is described once.
"""

import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

LARGEST = 2**53
"""The largest count: from here on a JSON number is not exact in every language."""
MOST_LISTED = 10
T = TypeVar("T")


def build(kind: type[T], content: object, where: str, field: str = "") -> T:
    """Return a dataclass made of a mapping.

    Args:
        kind: The dataclass; its fields are int (0 or more), float, bool, str, None, object, dataclasses, and lists and
            dictionaries of these.
        content: The mapping.
        where: The file that the mapping is from, for errors.
        field: The path of the mapping in that file, for errors.

    Raises:
        ValueError: naming the file and the field, if a field is missing, unknown, or of another type or range.
    """
    mapping = checked(content, dict[str, object], where, field)
    hints = typing.get_type_hints(kind)
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    needed = [n for n, each in known.items() if each.default is MISSING and each.default_factory is MISSING]
    if missing := [name for name in needed if name not in mapping]:
        raise ValueError(f"{where} lacks {listed(_join(field, name) for name in missing)}")
    if unknown := [name for name in mapping if name not in known]:
        raise ValueError(f"{where} has the unknown {listed(_join(field, name) for name in unknown)}")
    values = {name: checked(value, hints[name], where, _join(field, name)) for name, value in mapping.items()}
    try:
        return kind(**values)
    except ValueError as error:  # of a dataclass that checks itself
        raise ValueError(f"{where}: {error}") from error


def checked(value: object, kind: Any, where: str, field: str) -> Any:
    """Return a value if it is of a type, with dataclasses built; the types and errors are those of `build`."""
    if is_dataclass(kind):
        return build(typing.cast(type, kind), value, where, field)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        others = [other for other in arguments if other is not type(None)]
        return None if value is None else checked(value, others[0], where, field)
    if origin is list and isinstance(value, list | tuple):
        return [checked(entry, arguments[0], where, f"{field}[{number}]") for number, entry in enumerate(value)]
    if origin is dict and isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise _wrong(name, "a name", where, f"{field} a key")
        return {name: checked(entry, arguments[1], where, _join(field, name)) for name, entry in value.items()}
    if kind is object or (origin is None and _is_plain(value, kind)):
        return value
    raise _wrong(value, _DESCRIPTIONS[origin or kind], where, field)


def without_unknown(kind: Any, content: object) -> Any:
    """Return a value without the entries that a dataclass, or one inside it, has no field for."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind) and isinstance(content, Mapping):
        hints = typing.get_type_hints(kind)
        return {name: without_unknown(hints[name], value) for name, value in content.items() if name in hints}
    if origin is list and isinstance(content, list):
        return [without_unknown(arguments[0], value) for value in content]
    if origin is dict and isinstance(content, Mapping):
        return {name: without_unknown(arguments[1], value) for name, value in content.items()}
    return content


def whole_number(value: object, where: str, field: str, least: int = 0, most: int = LARGEST) -> int:
    """Return a whole number of a range; ValueError naming the file and the field."""
    if type(value) is int and least <= value <= most:
        return value
    raise _wrong(value, f"a whole number from {least} to {most}", where, field)


def entry(content: object, *path: str | int, where: str) -> Any:
    """Return what is at a path of names and positions in nested mappings and lists; ValueError naming what is absent.

    >>> entry({"loops": [{"step": 3}]}, "loops", 0, "step", where="x.ckpt")
    3
    """
    for depth, step in enumerate(path):
        field = ".".join(map(str, path[: depth + 1]))
        is_name = isinstance(step, str)
        if not isinstance(content, Mapping if is_name else list):
            raise ValueError(f"{where} lacks {field}: what should hold it is {shown(content)}")
        try:
            content = content[step]  # type: ignore[index]
        except LookupError:
            raise ValueError(f"{where} lacks {field}") from None
    return content


def shown(value: object) -> str:
    """Return a value as an error shows it: on one short line."""
    if isinstance(value, int) and value.bit_length() > 256:  # Python refuses to print what is far larger
        return f"a number of {value.bit_length()} bits"
    return _SHORT.repr(value)


def listed(names: typing.Iterable[str]) -> str:
    """Return the first names of a list, and how many there are besides.

    >>> listed(["a", "b"]), listed("abcdefghijkl")
    ('a, b', 'a, b, c, d, e, f, g, h, i, j and 2 more')
    """
    every = list(names)
    more = f" and {len(every) - MOST_LISTED} more" if len(every) > MOST_LISTED else ""
    return ", ".join(every[:MOST_LISTED]) + more


_DESCRIPTIONS = {
    int: f"a whole number from 0 to {LARGEST}",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "an object with named entries",
}
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def _is_plain(value: object, kind: type) -> bool:
    if kind is int:
        return type(value) is int and 0 <= value <= LARGEST
    if kind is float:
        number = typing.cast(float, value)
        return type(value) in (int, float) and abs(number) <= LARGEST  # false for NaN
    return type(value) is kind


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _wrong(value: object, description: str, where: str, field: str) -> ValueError:
    return ValueError(f"{where} has {field or 'content'}={shown(value)}, which must be {description}")
