"""Settings of a preparation as the manifest keeps them: those of the input, and how two preparations differ."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from data_pipeline.corpora.reader import Reader
from data_pipeline.preparation.extraction import InputGroup
from data_pipeline.untrusted.typed_fields import listed, shown

_INPUT = "input_sha256"
_SOURCES = "corpus"
"""The settings of every source, by its name."""
_OF_INPUT = (_SOURCES, "group_bytes")
"""Settings that the hash of the input covers; they tell what has changed if the hash has."""


def input_settings(sources: Sequence[Reader], groups: Sequence[InputGroup], group_bytes: int) -> dict[str, Any]:
    """Return the hash of the input and of its settings, and the settings by themselves."""
    contents = [reader.content_sha256() for reader in sources]
    readers = [reader.decisive for reader in sources]
    parts = [[group.reader.name, *((p.bytes, p.begin, p.end) for p in group.parts)] for group in groups]
    content = json.dumps([contents, readers, parts], default=str)
    return {
        _INPUT: hashlib.sha256(content.encode()).hexdigest(),
        _SOURCES: {reader.name: _plain(reader.decisive) for reader in sources},
        "group_bytes": group_bytes,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how the settings of two preparations differ, one text a setting; empty if the output is the same.

    Args:
        before: Settings in a manifest. Those of an older version lack `corpus` and `group_bytes`.
        now: Settings of this preparation.
    """
    names = [name for name in {**now, **before} if name not in _OF_INPUT and before.get(name) != now.get(name)]
    of_input = [name for name in _OF_INPUT if name in before and before[name] != now.get(name)]
    if _INPUT in names and of_input:
        names = [*of_input, *(name for name in names if name != _INPUT)]
    return [line for name in names for line in _changes(name, before.get(name), now.get(name))]


def _changes(name: str, before: object, now: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        both = [key for key in now if key in before]
        if name == _SOURCES and len(both) < max(len(before), len(now)):
            yield f"{name} was {listed(before)} and is {listed(now)}"
        for key in both if name == _SOURCES else {**now, **before}:
            yield from _changes(f"{name}.{key}", before.get(key), now.get(key))
    elif before != now:
        said = f"{name}, the hash of the input files," if name == _INPUT else name
        yield f"{said} was {_in_words(before)} and is {_in_words(now)}"


def _in_words(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"({listed(f'{name}={_in_words(each)}' for name, each in value.items())})"
    return shown(value)


def _plain(decisive: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a reader without paths and without the addresses of a dataset, which may hold a key."""
    told = {name: value for name, value in decisive.items() if name not in ("name", "dataset")}
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in told.items()
        if not isinstance(value, Path)
    }
