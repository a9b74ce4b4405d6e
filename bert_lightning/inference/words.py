"""The words of an encoded text: which pieces make a word, and where it stands in the text."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from tokenizers import Encoding


@dataclass(frozen=True, slots=True)
class Word:
    """A word, as the tokenizer splits a text before it cuts words into pieces.

    Attributes:
        pieces: Indices of its tokens.
        begin: Its first character in the text.
        end: The character after its last.
    """

    pieces: list[int]
    begin: int
    end: int


def words_of(encoding: Encoding, text: str) -> Iterator[Word]:
    """Yield the words of an encoded text, in order; special tokens belong to none."""
    for word, group in groupby(range(len(encoding)), key=encoding.word_ids.__getitem__):
        if word is None:
            continue
        pieces = list(group)
        begin, end = encoding.offsets[pieces[0]][0], encoding.offsets[pieces[-1]][1]
        begin += len(text[begin:end]) - len(text[begin:end].lstrip())  # some tokenizers count the space before a word
        yield Word(pieces, begin, end)
