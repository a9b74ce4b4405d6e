"""The steps of BERT's tokenizer before its model: cleaning, case, accents, and the splitting of text into words.

Two steps are not BERT's. Joiners, which BERT removes as control characters, can stay: words of Persian and of the
languages of India are written with them. And emoji can be words by themselves: BERT reads a word with an emoji at its
end as one word, which is unknown as a whole if the emoji is.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from data_pipeline.tokenizers.pieces import CONTINUATION

_EMOJI = "[\u231a\u231b\u23e9-\u23fa\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001fbff]"
"""Emoji and other pictographs, as a pattern of regular expressions."""
_COLORED = "\ufe0f?"
"""The mark after an emoji that asks for a colored picture."""
_CONTROLS = r"[\p{C}\x{FFFD}&&[^\x{200C}\x{200D}\t\n\r]]"
"""What BERT's cleaning removes, but for the joiners."""


@dataclass(frozen=True, slots=True)
class WordFlags:
    """How text is normalized and split before WordPiece.

    Attributes:
        lowercase: Whether case is folded.
        strip_accents: Whether accents are removed; None does as `lowercase`.
        split_chinese: Whether every Chinese letter is a word.
        keep_joiners: Whether U+200C and U+200D stay in words.
        split_emoji: Whether emoji are words by themselves.
    """

    lowercase: bool = True
    strip_accents: bool | None = None
    split_chinese: bool = True
    keep_joiners: bool = False
    split_emoji: bool = False


def wordpiece_tokenizer(model: models.WordPiece, flags: WordFlags) -> Tokenizer:
    """Return BERT's tokenizer around a WordPiece model, without special tokens around a text."""
    tokenizer = Tokenizer(model)
    strip = flags.lowercase if flags.strip_accents is None else flags.strip_accents
    bert = normalizers.BertNormalizer(
        clean_text=not flags.keep_joiners,
        handle_chinese_chars=flags.split_chinese,
        strip_accents=strip,
        lowercase=flags.lowercase,
    )
    tokenizer.normalizer = normalizers.Sequence([_clean(), bert]) if flags.keep_joiners else bert
    words = pre_tokenizers.BertPreTokenizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, _split_emoji()]) if flags.split_emoji else words
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUATION)
    return tokenizer


def _clean() -> normalizers.Normalizer:
    return normalizers.Replace(Regex(_CONTROLS), "")


def _split_emoji() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_EMOJI + _COLORED), "isolated")


INSIDE_WORDS: list[dict[str, Any]] = [json.loads(step.__getstate__()) for step in (_clean(), _split_emoji())]
"""The two steps as tokenizer.json has them; each sees a letter, or an emoji with its mark, at a time."""


def settings_beyond_bert(tokenizer: Tokenizer) -> list[str]:
    """Return the settings of bert-prepare whose steps a tokenizer has, and transformers' BertTokenizer has not.

    >>> settings_beyond_bert(wordpiece_tokenizer(models.WordPiece(), WordFlags(split_emoji=True)))
    ['tokenizer.split_emoji']
    """
    parts = json.loads(tokenizer.to_str())
    normalizer, words = (parts[name] or {} for name in ("normalizer", "pre_tokenizer"))
    steps = [*normalizer.get("normalizers", []), *words.get("pretokenizers", [])]
    names = ("tokenizer.keep_joiners", "tokenizer.split_emoji")
    return [name for name, step in zip(names, INSIDE_WORDS, strict=True) if step in steps]


def has_emoji(texts: Iterable[str]) -> bool:
    """Return whether there is an emoji in texts.

    >>> has_emoji(["20 °C © ½"]), has_emoji(["great\U0001f600"])
    (False, True)
    """
    return any(re.search(_EMOJI, text) for text in texts)
