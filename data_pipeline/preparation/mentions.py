"""The mentions of a document: the texts that its links show, found again in its tokens.

Cleaning and sentence splitting change a text between its wiki page and its tokens, so no offsets are kept. The links
are in the order of the text, and of all ways to find them in this order, one that finds the most is taken. To look for
each behind the one before it is not enough: of [[lithium|Li]]OH only the rest of the page may have the word Li.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.knowledge.title_rows import TitleRows
from data_pipeline.records import Mention
from data_pipeline.tokenizers.pieces import continuation_pieces
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.tokenizers.word_cache import WordCache

Place = tuple[int, int]
"""First token, and one past the last."""

MOST_PLACES = 256
"""A text that stands in more places is not looked for: that is a few very common words of very long pages."""
_END = 0xFFFFFFFF
"""Stands between sentences, and is the id of no token."""


@dataclass(frozen=True, slots=True)
class MentionFinder:
    """Finder of mentions in token ids.

    Attributes:
        words: The encoder of the sentences.
        rows: Rows of entities by title.
        continues: Whether the token of each id continues a word, (vocabulary,).
        unknown: Id of the unknown token; a text with unknown tokens is not looked for.
    """

    words: WordCache
    rows: TitleRows
    continues: NDArray[np.bool_]
    unknown: int

    def find(
        self, links: Iterable[Sequence[str]], sentences: Sequence[Sequence[int]], counts: Counter[str]
    ) -> list[Mention]:
        """Return the mentions of a document, ascending.

        A mention covers whole words of one sentence.

        Args:
            links: Shown text and title of each link, in the order of the text.
            sentences: Token ids of each sentence.
            counts: Counts of links, of those to entities, and of those that were found.
        """
        every = list(links)
        wanted = [(text, row) for text, title in every if (row := self.rows.row(title)) is not None]
        # In some vocabularies the first piece of a word is another one if a space stands before the word.
        encoded = iter(self.words.encode([form for text, _ in wanted for form in (text, f" {text}")]))
        text = _Text.of(sentences, self.continues)
        places: list[list[Place]] = []
        for forms in zip(encoded, encoded, strict=True):
            patterns = {tuple(ids) for ids in forms if ids and self.unknown not in ids}
            places.append(sorted(place for ids in patterns for place in text.places(ids)))
        mentions = [
            Mention(begin - text.ends_before(begin), end - begin, wanted[link][1])
            for link, (begin, end) in longest_chain(places)
        ]
        counts.update(links=len(every), entity_links=len(wanted), mentions=len(mentions))
        return mentions


@dataclass(frozen=True, slots=True)
class _Text:
    """The sentences of a document, one after another, with `_END` behind each."""

    tokens: NDArray[np.uint32]
    inside_word: NDArray[np.bool_]
    content: bytes
    known: dict[tuple[int, ...], list[Place]]

    @staticmethod
    def of(sentences: Sequence[Sequence[int]], continues: NDArray[np.bool_]) -> "_Text":
        """Return the text of sentences; no sentence begins inside a word."""
        tokens = np.array([each for sentence in sentences for each in (*sentence, _END)], dtype=np.uint32)
        is_token = tokens != _END
        inside = np.zeros(len(tokens), dtype=bool)
        inside[is_token] = continues[tokens[is_token]]
        inside[1:] &= is_token[:-1]
        inside[:1] = False
        return _Text(tokens, inside, tokens.tobytes(), {})

    def places(self, ids: tuple[int, ...]) -> list[Place]:
        """Return where ids stand as whole words, ascending; none if they stand in too many places."""
        if ids not in self.known:
            width = self.tokens.itemsize
            pattern = np.array(ids, dtype=np.uint32).tobytes()
            places: list[Place] = []
            found = self.content.find(pattern)
            while found >= 0 and len(places) <= MOST_PLACES:
                begin, inside_token = divmod(found, width)
                end = begin + len(ids)
                if not (inside_token or self.inside_word[begin] or self.inside_word[end]):
                    places.append((begin, end))
                found = self.content.find(pattern, found + 1)
            self.known[ids] = places if len(places) <= MOST_PLACES else []
        return self.known[ids]

    def ends_before(self, position: int) -> int:
        """Return how many sentences end before a position."""
        return int(np.count_nonzero(self.tokens[:position] == _END))


def longest_chain(places: Sequence[Sequence[Place]]) -> list[tuple[int, Place]]:
    """Return a place for as many items as possible, so that the places are in the order of the items.

    Args:
        places: Where each item may be, ascending.

    Returns:
        Number of each item that has a place, and its place. Of all longest chains it is one of early ends.

    >>> longest_chain([[(0, 2), (7, 9)], [(8, 9)], [(1, 2), (3, 4)], [(5, 6)]])
    [(0, (0, 2)), (2, (3, 4)), (3, (5, 6))]
    """
    ends: list[int] = []  # of the chains of each length, the least end
    last: list[int] = []  # the steps that these chains end with
    steps: list[tuple[int, Place, int]] = []  # item, place, and the step before
    for item, candidates in enumerate(places):
        for begin, end in reversed(candidates):  # so no candidate follows another one of its item
            length = bisect_right(ends, begin)
            if length == len(ends) or end < ends[length]:
                ends[length : length + 1], last[length : length + 1] = [end], [len(steps)]
                steps.append((item, (begin, end), last[length - 1] if length else -1))
    chain = []
    step = last[-1] if last else -1
    while step >= 0:
        item, place, step = steps[step]
        chain.append((item, place))
    return chain[::-1]


def mention_finder(words: WordCache, rows: Path) -> MentionFinder:
    """Return a finder that encodes with `words` and knows the titles of a file of rows."""
    tokenizer = words.tokenizer
    return MentionFinder(words, TitleRows.load(rows), continuation_pieces(tokenizer), special_tokens(tokenizer).unk)
