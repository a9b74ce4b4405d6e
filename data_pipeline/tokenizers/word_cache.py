"""Ids of sentences, put together from the ids of their words, which are kept from sentence to sentence.

The ids of a text between two spaces depend on that text alone if nothing in the tokenizer looks across a space. Text
repeats its words, so a dictionary gives most ids without the tokenizer, and the words that it lacks are encoded
together. Tokenizers in which something may look across a space encode every sentence as a whole.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from tokenizers import Tokenizer

from data_pipeline.tokenizers.pieces import SPACE
from data_pipeline.tokenizers.spaces import Spaces, spaces_of

MOST_WORDS = 1 << 18
"""With their ids, about 100 MB."""
LONGEST_WORD = 64
"""Letters of a word that is kept; longer ones are rare, or text without spaces that does not come again."""
_PUNCTUATION = r"!-/:-@\[-`{-~"
_ASCII_WORDS = re.compile(rf"[^{_PUNCTUATION}]+|[{_PUNCTUATION}]")


@dataclass(slots=True)
class WordCache:
    """Encoder of sentences, without special tokens around them, that remembers words.

    Attributes:
        tokenizer: The tokenizer; the ids are those of its `encode_batch_fast`.
        most_words: When more words are kept, all but those of the last sentences are forgotten.
    """

    tokenizer: Tokenizer
    most_words: int = MOST_WORDS
    _spaces: Spaces = field(init=False)
    _ids: dict[str, tuple[int, ...]] = field(init=False, default_factory=dict)
    _joining: set[str] = field(init=False, default_factory=set)
    """Words that could be in one piece with a neighbor; a sentence with such a word is encoded as a whole."""

    def __post_init__(self) -> None:
        self._spaces = spaces_of(self.tokenizer)

    def __len__(self) -> int:
        """Return the number of words that are kept."""
        return len(self._ids)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each sentence."""
        if self._spaces is Spaces.MAY_JOIN:
            return self._encode_whole(sentences)
        split = [self._split(sentence) for sentence in sentences]
        missing = set(chain.from_iterable(split)).difference(self._ids)
        learned = self._learn(missing)
        encoded = [list(chain.from_iterable(map(self._ids.__getitem__, words))) for words in split]
        if self._joining:
            joined = [number for number, words in enumerate(split) if not self._joining.isdisjoint(words)]
            for number, ids in zip(joined, self._encode_whole([sentences[n] for n in joined]), strict=True):
                encoded[number] = ids
        self._forget(learned, split)
        return encoded

    def _split(self, sentence: str) -> list[str]:
        """Cut a sentence at its spaces; where a word keeps the space before it, the space stays with the word."""
        if self._spaces is not Spaces.BEGIN_WORDS:
            return sentence.split(" ")
        return [sentence] if "\n" in sentence else sentence.replace(" ", "\n ").split("\n")

    def _learn(self, words: set[str]) -> set[str]:
        """Add the ids of words, and return what was added: these, and the parts of those that are cut.

        A word of ASCII is put together from its letters and its marks, if they are apart.
        """
        parts = {word: _ASCII_WORDS.findall(word) if self._cuts_at_marks(word) else [word] for word in words}
        missing = list(set(chain.from_iterable(parts.values())).difference(self._ids))
        self._ids.update(zip(missing, map(tuple, self._encode_whole(missing)), strict=True))
        if self._spaces is Spaces.BEGIN_WORDS:
            self._joining.update(filter(self._may_join, missing))
        for word, inner in parts.items():
            if word not in self._ids:
                self._ids[word] = tuple(chain.from_iterable(map(self._ids.__getitem__, inner)))
        return words.union(missing)

    def _cuts_at_marks(self, word: str) -> bool:
        return self._spaces is Spaces.DROPPED_LIKE_MARKS and word.isascii()

    def _may_join(self, word: str) -> bool:
        """Return whether a word could be in one piece with a neighbor: its ends are white space, or nothing is left."""
        normalizer = self.tokenizer.normalizer
        inner = (word if normalizer is None else normalizer.normalize_str(word)).removeprefix(" ")
        return not inner or inner[0].isspace() or inner[-1].isspace() or SPACE in inner

    def _encode_whole(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def _forget(self, new: Iterable[str], last: Sequence[Sequence[str]]) -> None:
        """Forget new words that are long and, if the words are too many, all but those of the last sentences."""
        for word in [word for word in new if len(word) > LONGEST_WORD]:
            del self._ids[word]
            self._joining.discard(word)
        if len(self._ids) > self.most_words:
            kept = set(chain.from_iterable(last)).intersection(self._ids)
            self._ids = {word: self._ids[word] for word in kept}
            self._joining &= kept
