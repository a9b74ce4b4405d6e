"""Keys of config.json: several may name one size, and messages name those that the file has."""

from collections.abc import Mapping
from typing import Any

from data_pipeline.untrusted.typed_fields import shown


def by_key(content: Mapping[str, Any], aliases: Mapping[str, str], where: str) -> dict[str, Any]:
    """Return the object of a file with keys instead of their aliases.

    >>> by_key({"hidden_size": 8}, {"hidden_size": "n_embd"}, "config.json")
    {'n_embd': 8}

    Args:
        content: The object in the file.
        aliases: Other names of keys, each with the key.
        where: The file, for errors.

    Raises:
        ValueError: if the file has both names with different values.
    """
    named = {name: value for name, value in content.items() if name not in aliases}
    for alias, key in aliases.items():
        if content.get(alias) is not None and named.setdefault(key, content[alias]) != content[alias]:
            said = f"{key}={shown(named[key])} and {alias}={shown(content[alias])}"
            raise ValueError(f"{where} has {said}, two names of one size")
    return named


def in_their_words(said: str, fields: Mapping[str, str]) -> str:
    """Return a message with the keys that the file has.

    Args:
        said: The message, with fields of the encoder's sizes.
        fields: The fields, each with its key.
    """
    for ours, theirs in fields.items():
        said = said.replace(f"has {ours}=", f"has {theirs}=")
    return said
