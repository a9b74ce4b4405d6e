"""The mentions of a document: the texts that its links show, found again in its tokens.

Cleaning and sentence splitting change a text between its wiki page and its tokens, so no offsets are kept. The links
are in the order of the text: each is looked for behind the one before it.
"""

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
        mentions: list[Mention] = []
        behind = 0
        for (_, row), *forms in zip(wanted, encoded, encoded, strict=True):
            patterns = [ids for ids in forms if ids and self.unknown not in ids]
            places = [(begin, len(ids)) for ids in patterns if (begin := text.find(ids, behind)) is not None]
            if places:
                begin, size = min(places)
                mentions.append(Mention(begin - text.ends_before(begin), size, row))
                behind = begin + size
        counts.update(links=len(every), entity_links=len(wanted), mentions=len(mentions))
        return mentions


@dataclass(frozen=True, slots=True)
class _Text:
    """The sentences of a document, one after another, with `_END` behind each."""

    tokens: NDArray[np.uint32]
    continues: NDArray[np.bool_]
    content: bytes

    @staticmethod
    def of(sentences: Sequence[Sequence[int]], continues: NDArray[np.bool_]) -> "_Text":
        """Return the text of sentences; no sentence begins inside a word."""
        tokens = np.array([each for sentence in sentences for each in (*sentence, _END)], dtype=np.uint32)
        is_token = tokens != _END
        inside = np.zeros(len(tokens), dtype=bool)
        inside[is_token] = continues[tokens[is_token]]
        inside[1:] &= is_token[:-1]
        inside[:1] = False
        return _Text(tokens, inside, tokens.tobytes())

    def find(self, ids: Sequence[int], behind: int) -> int | None:
        """Return where ids stand first, at or behind a position, as whole words; None if they do not."""
        width = self.tokens.itemsize
        pattern = np.array(ids, dtype=np.uint32).tobytes()
        found = self.content.find(pattern, behind * width)
        while found >= 0:
            begin, inside_token = divmod(found, width)
            if not (inside_token or self.continues[begin] or self.continues[begin + len(ids)]):
                return begin
            found = self.content.find(pattern, found + 1)
        return None

    def ends_before(self, position: int) -> int:
        """Return how many sentences end before a position."""
        return int(np.count_nonzero(self.tokens[:position] == _END))


def mention_finder(words: WordCache, rows: Path) -> MentionFinder:
    """Return a finder that encodes with `words` and knows the titles of a file of rows."""
    tokenizer = words.tokenizer
    return MentionFinder(words, TitleRows.load(rows), continuation_pieces(tokenizer), special_tokens(tokenizer).unk)
