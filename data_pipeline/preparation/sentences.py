"""Splitting of paragraphs into sentences."""

from collections.abc import Iterable

import sentencex


def split_sentences(paragraphs: Iterable[str], language: str = "en") -> list[str]:
    """Split paragraphs into sentences by the rules of a language; no sentence is empty or spans two paragraphs.

    >>> split_sentences(["Dr. Smith lives here. He is 4.5 years old."])
    ['Dr. Smith lives here.', 'He is 4.5 years old.']
    """
    pieces = (piece.strip() for paragraph in paragraphs for piece in sentencex.segment(language, paragraph))
    return [piece for piece in pieces if piece]
