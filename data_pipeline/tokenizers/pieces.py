"""What the pieces of a vocabulary are: which continue a word, and how many bytes of text each stands for."""

import unicodedata
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

from data_pipeline.tokenizers.special_tokens import special_tokens

CONTINUATION = "##"
BYTE_SPACE, SPACE = "\u0120", "\u2581"
"""Marks at the begin of a word: in byte-level BPE, and in Unigram and other vocabularies of SentencePiece."""


def continuation_pieces(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Return for each id whether its token continues a word, (vocabulary,).

    Continuations begin with `##` in WordPiece. In the other vocabularies the first piece of a word begins with the mark
    of a space, and punctuation counts as a word by itself, as in BERT. So a token continues a word if it has no mark
    and begins with a letter, a digit, or a byte of one.
    """
    table = np.zeros(tokenizer.get_vocab_size(), dtype=bool)
    vocabulary = tokenizer.get_vocab()
    if isinstance(tokenizer.model, models.WordPiece):
        continues = _continues_wordpiece
    elif any(token.startswith(BYTE_SPACE) for token in vocabulary):
        continues = _continues_bytes
    else:
        continues = _continues_letters
    for token, index in vocabulary.items():
        table[index] = continues(token)
    table[_special_ids(tokenizer)] = False
    return table


def piece_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return the number of UTF-8 bytes of the text of each id, with the space before a word, (vocabulary,).

    Losses divided by these numbers compare across vocabularies. Special tokens, [UNK] included, have no text.

    >>> [_wordpiece_bytes(token) for token in ("run", "##ning")]
    [4, 4]
    """
    vocabulary = tokenizer.get_vocab()
    if isinstance(tokenizer.model, models.WordPiece):
        measure: Callable[[str], int] = _wordpiece_bytes
    elif any(token.startswith(BYTE_SPACE) for token in vocabulary):
        measure = len  # every letter of byte-level BPE stands for one byte
    else:
        measure = _space_marked_bytes
    table = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for token, index in vocabulary.items():
        table[index] = measure(token)
    table[_special_ids(tokenizer)] = 0
    return table


def _wordpiece_bytes(token: str) -> int:
    is_continuation = _continues_wordpiece(token)
    return len(token.encode()) - len(CONTINUATION) if is_continuation else len(token.encode()) + 1


def _space_marked_bytes(token: str) -> int:
    return len(token.replace(SPACE, " ").encode())


def _special_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of special and added tokens, ascending."""
    special_ids = (each for each in asdict(special_tokens(tokenizer)).values() if each is not None)
    return sorted({*tokenizer.get_added_tokens_decoder(), *special_ids})


def _continues_wordpiece(token: str) -> bool:
    return token.startswith(CONTINUATION) and token != CONTINUATION


def _continues_bytes(token: str) -> bool:
    first = token[:1]
    return first != BYTE_SPACE and (first.isalnum() or not first.isascii())


def _continues_letters(token: str) -> bool:
    is_byte = token.startswith("<0x") and token.endswith(">")
    return is_byte or unicodedata.category(token[0])[0] in "LNM"
