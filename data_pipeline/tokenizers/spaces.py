"""What a tokenizer does with a space between two words, read from its parts.

Only parts that are known are accepted:

- Added tokens have no white space in them, and take none of the white space after them.
- The normalizer changes a letter by itself, or together with the marks that follow it. A space is no such mark.
- The pre-tokenizer cuts at white space first and drops it (BERT), or begins a piece at a space that stands alone
  between two other characters (byte-level BPE, and Unigram as it is trained here).
- Nothing is drawn at random, cut to a length or padded.
"""

import json
from enum import Enum, auto
from typing import Any

from tokenizers import Tokenizer

from data_pipeline.tokenizers.bert_steps import INSIDE_WORDS
from data_pipeline.tokenizers.unigram import unigram_pre_tokenizer

_LOCAL_NORMALIZERS = {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"}
_DROP_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_INSIDE_WORDS = _DROP_SPACES | {"Punctuation", "Digits"}
_MARK_OF_FIRST_WORD = {"type": "Metaspace", "replacement": " ", "prepend_scheme": "first", "split": False}

Parts = dict[str, Any]


class Spaces(Enum):
    """What a tokenizer does with a space."""

    MAY_JOIN = auto()
    """Unknown: the ids of a word may depend on its neighbors."""
    DROPPED = auto()
    """The space ends a word and is dropped."""
    DROPPED_LIKE_MARKS = auto()
    """As `DROPPED`, and every punctuation mark of ASCII is a word by itself."""
    BEGIN_WORDS = auto()
    """The space begins a word, if it stands alone."""


def spaces_of(tokenizer: Tokenizer) -> Spaces:
    """Return what a tokenizer does with a space between two words."""
    parts = json.loads(tokenizer.to_str())
    pre_tokenizers = _steps(parts["pre_tokenizer"], "pretokenizers")
    kinds = [step["type"] for step in pre_tokenizers]
    if not (pre_tokenizers and _is_local(tokenizer, parts)):
        return Spaces.MAY_JOIN
    known = all(step["type"] in _INSIDE_WORDS or step in INSIDE_WORDS for step in pre_tokenizers)
    if kinds[0] in _DROP_SPACES and known:
        reads_added = any(not (t["special"] and tokenizer.encode_special_tokens) for t in parts["added_tokens"])
        return Spaces.DROPPED if reads_added or kinds[0] != "BertPreTokenizer" else Spaces.DROPPED_LIKE_MARKS
    return Spaces.BEGIN_WORDS if _begins_words(parts["pre_tokenizer"], pre_tokenizers) else Spaces.MAY_JOIN


def _is_local(tokenizer: Tokenizer, parts: Parts) -> bool:
    """Return whether neither added tokens nor normalization look across a space, and nothing is drawn or cut."""
    normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer is not None else str
    for token in parts["added_tokens"]:
        normal = normalize(token["content"])
        if token["rstrip"] or not normal or any(map(str.isspace, token["content"] + normal)):
            return False
    is_plain = parts["truncation"] is None and parts["padding"] is None and not parts["model"].get("dropout")
    return is_plain and all(map(_is_local_normalizer, _steps(parts["normalizer"], "normalizers")))


def _is_local_normalizer(step: Parts) -> bool:
    joins_spaces = step["type"] == "Replace" and (step["pattern"], step["content"]) == ({"Regex": r"\s+"}, " ")
    return step["type"] in _LOCAL_NORMALIZERS or joins_spaces or step in INSIDE_WORDS


def _begins_words(whole: Parts, steps: list[Parts]) -> bool:
    *before, last = steps
    if last["type"] == "ByteLevel":
        return bool(last["use_regex"]) and before in ([], [_MARK_OF_FIRST_WORD])
    return bool(whole == json.loads(unigram_pre_tokenizer().__getstate__()))


def _steps(part: Parts | None, key: str) -> list[Parts]:
    """Return the steps of a normalizer or a pre-tokenizer, those of sequences in sequences too."""
    if part is None:
        return []
    return [step for inner in part[key] for step in _steps(inner, key)] if part["type"] == "Sequence" else [part]
