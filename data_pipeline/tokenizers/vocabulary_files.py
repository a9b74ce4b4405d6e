"""A vocab.txt and what the files beside it say: flags of the normalization, names of roles, added tokens."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from data_pipeline.tokenizers.bert_steps import WordFlags
from data_pipeline.tokenizers.special_tokens import SPECIAL_TOKENS
from data_pipeline.tokenizers.tokenizer_files import ADDED_TOKENS, SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG
from data_pipeline.untrusted.bounded_json import parse_object
from data_pipeline.untrusted.plain_files import has_file, read_plain
from data_pipeline.untrusted.typed_fields import checked, shown

log = logging.getLogger(__name__)
_FLAGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
_KEYS = {role: f"{role}_token" for role in SPECIAL_TOKENS}
_ENDS = {"cls": "bos_token", "sep": "eos_token"}
"""Keys that name the tokens that begin and end a text of a causal model."""
_EXTRA = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True, slots=True)
class Declared:
    """What the files beside a vocabulary say of it; all of it may be absent.

    Attributes:
        lowercase: The flag do_lower_case.
        strip_accents: The flag strip_accents.
        split_chinese: The flag tokenize_chinese_chars.
        names: The tokens of the roles.
        ends: The tokens that begin and end a text of a causal model, as `cls` and `sep`.
        added: The ids of added tokens, None for the next id.
        special: Those of the added tokens that are special.
    """

    lowercase: bool | None = None
    strip_accents: bool | None = None
    split_chinese: bool = True
    names: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    added: dict[str, int | None] = field(default_factory=dict)
    special: frozenset[str] = frozenset()

    def flags(self, path: Path, lowercase: bool | None, strip_accents: bool | None) -> WordFlags:
        """Return the flags of a vocab.txt; flags in the files go before those of a user, and a line says so.

        Args:
            path: The vocabulary, for the line.
            lowercase: The setting of the user; None: true.
            strip_accents: The setting of the user; None: as `lowercase`.
        """
        flags = WordFlags(
            lowercase is not False if self.lowercase is None else self.lowercase,
            strip_accents if self.strip_accents is None else self.strip_accents,
            self.split_chinese,
        )
        for name, given in (("lowercase", lowercase), ("strip_accents", strip_accents)):
            taken = getattr(flags, name)
            if taken != given and given is not None:
                log.info("%s: %s=%s, as %s says, not %s", path, name, taken, TOKENIZER_CONFIG, given)
        return flags

    def add_tokens(self, tokenizer: Tokenizer) -> None:
        """Add the added tokens to a tokenizer; ValueError if one would not get the id that the files say."""
        for token, number in sorted(self.added.items(), key=lambda item: (item[1] is None, item[1])):
            is_special = token in self.special
            tokenizer.add_tokens([AddedToken(token, special=is_special, normalized=not is_special)])
            if number is not None and (found := tokenizer.token_to_id(token)) != number:
                raise ValueError(f"the files beside the vocabulary give {shown(token)} the id {number}, it has {found}")


def read_declared(folder: Path) -> Declared:
    """Return what the tokenizer_config.json, special_tokens_map.json and added_tokens.json of a folder say.

    Raises:
        ValueError: naming the file and the field that is of another type.
    """
    config, names_map, added_map = (
        parse_object(read_plain(folder, name), str(folder / name)) if has_file(folder, name) else {}
        for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS)
    )
    where = str(folder / TOKENIZER_CONFIG)
    names, ends = (
        {**_names(names_map, str(folder / SPECIAL_TOKENS_MAP), keys), **_names(config, where, keys)}
        for keys in (_KEYS, _ENDS)
    )
    added: dict[str, int | None] = dict(checked(added_map, dict[str, int], str(folder / ADDED_TOKENS), "content"))
    special = set()
    decoder = config.get("added_tokens_decoder", {})
    for number, about in checked(decoder, dict[str, dict[str, object]], where, "added_tokens_decoder").items():
        token = checked(about.get("content"), str, where, f"added_tokens_decoder.{shown(number)}.content")
        if not number.isdecimal():
            raise ValueError(f"{where} has added_tokens_decoder.{shown(number)}, which must be a number")
        added[token] = int(number)
        special |= {token} if about.get("special") is True else set()
    for key in _EXTRA:
        for token in _tokens(config.get(key, names_map.get(key, [])), where, key):
            added.setdefault(token, None)
            special.add(token)
    for token in names.values():
        added.pop(token, None)
    lowercase, strip_accents, split_chinese = (checked(config.get(key), bool | None, where, key) for key in _FLAGS)
    return Declared(lowercase, strip_accents, split_chinese is not False, names, ends, added, frozenset(special))


def _names(content: Mapping[str, Any], where: str, keys: Mapping[str, str]) -> dict[str, str]:
    """Return the token of each role that a file names by a key."""
    return {role: _token(content[key], where, key) for role, key in keys.items() if content.get(key) is not None}


def _token(value: object, where: str, key: str) -> str:
    """Return a token, which transformers writes as its text or as an object with its flags."""
    content = value.get("content") if isinstance(value, Mapping) else value
    token: str = checked(content, str, where, key)
    return token


def _tokens(value: object, where: str, key: str) -> list[str]:
    """Return a list of tokens, or the values of an object of tokens."""
    values = list(value.values()) if isinstance(value, Mapping) else value
    return [_token(each, where, key) for each in checked(values, list[object], where, key)]


def read_vocabulary(path: Path) -> dict[str, int]:
    """Return the tokens of a vocab.txt, numbered by line.

    A blank line keeps its id, under a name that no text gives; blank lines at the end are left out.

    Raises:
        ValueError: if a token is listed twice or has white space at its ends, or the file is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a vocabulary of UTF-8 text: {error}") from error
    vocabulary: dict[str, int] = {}
    blank = [number for number, token in enumerate(lines) if not token]
    for number, token in enumerate(lines):
        if token != token.strip(" \t"):
            raise ValueError(
                f"{path} lists {shown(token)} in line {number + 1}; no text gives a token with white space at its ends"
            )
        name = token or f"[blank line {number + 1}]"
        if vocabulary.setdefault(name, number) != number:
            raise ValueError(f"{path} lists {shown(name)} twice, in lines {vocabulary[name] + 1} and {number + 1}")
    if blank:
        log.info("%s: %d blank lines keep their ids, the first is line %d", path, len(blank), blank[0] + 1)
    return vocabulary
