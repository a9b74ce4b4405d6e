"""Counts behind the health table, gathered while text is tokenized."""

import heapq
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from tokenizers import Tokenizer

from data_pipeline.tokenizers.word_cache import WordCache

MARKS_EVERY = 16
"""Marks and accents are counted in one of so many documents."""
WORDS_SEARCHED = 2000
"""Sentences with an unknown token, of each task, in which the unknown word is looked for."""
WORDS_LISTED = 10
LONGEST_LISTED = 40
_AROUND = (
    string.punctuation + "\u2018\u2019\u201c\u201d\u00ab\u00bb\u2026\u2014\u3001\u3002\u300c\u300d\uff08\uff09\uff0c"
)
"""Marks that are left out around a listed word."""
_JOINERS = "\u200c\u200d"
_VOICING = "\u3099\u309a"
_ACCENTS = re.compile("[\u0300-\u036f]")
_MARKS = re.compile(
    f"[{_JOINERS}{_VOICING}{''.join(chr(n) for n in range(0x900, 0x1100) if unicodedata.category(chr(n))[0] == 'M')}]"
)


@dataclass(slots=True)
class HealthCounts:
    """Counts of tokenized text.

    Attributes:
        totals: Numbers by name: documents, those of one sentence, sentences, words, tokens, unknown tokens, tokens
            beyond the 128th and the 512th of their sentence; letters that were searched for marks, and marks removed;
            words that were searched for accents, and those that lose them;
            links, those to entities, and those that were found as mentions.
        longest_sentence: Tokens of the longest sentence.
        unknown_words: Unknown words and how often they were met.
    """

    totals: Counter[str] = field(default_factory=Counter)
    longest_sentence: int = 0
    unknown_words: Counter[str] = field(default_factory=Counter)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "HealthCounts":
        """Return the counts that `to_json` gave."""
        return cls(Counter(content["totals"]), content["longest_sentence"], Counter(content["unknown_words"]))

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values, with the commonest unknown words."""
        kept = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**kept, "unknown_words": dict(self.unknown_words.most_common(100 * WORDS_LISTED))}

    def add(self, sentences: Sequence[str], ids: Sequence[Sequence[int]], words: WordCache, unknown: int) -> None:
        """Count a document.

        Args:
            sentences: Its text.
            ids: Token ids of each sentence.
            words: The encoder, which finds the words that are unknown.
            unknown: Id of the unknown token.
        """
        totals = self.totals
        sizes = [len(sentence) for sentence in ids]
        if totals["documents"] % MARKS_EVERY == 0:
            text = " ".join(sentences)
            self._count_marks(text, words.tokenizer)
            self._count_accents(text.split(), words.tokenizer)
        totals["documents"] += 1
        totals["one_sentence"] += len(sentences) == 1
        totals["sentences"] += len(sentences)
        totals["words"] += sum(sentence.count(" ") + 1 for sentence in sentences)
        totals["tokens"] += sum(sizes)
        self.longest_sentence = max([self.longest_sentence, *sizes])
        for size in sizes:
            if size > 128:
                totals["beyond_128"] += size - 128
                totals["beyond_512"] += max(0, size - 512)
        for sentence, tokens in zip(sentences, ids, strict=True):
            if unknown in tokens:
                totals["unknown"] += tokens.count(unknown)
                self._find_unknown(sentence, words, unknown)

    def _find_unknown(self, sentence: str, words: WordCache, unknown: int) -> None:
        self.totals["searched"] += 1
        if self.totals["searched"] <= WORDS_SEARCHED:
            pieces = sentence.split()
            found = zip(pieces, words.encode(pieces), strict=True)
            self.unknown_words.update(
                (word.strip(_AROUND) or word)[:LONGEST_LISTED] for word, ids in found if unknown in ids
            )

    def _count_marks(self, text: str, tokenizer: Tokenizer) -> None:
        if text.isascii() or tokenizer.normalizer is None:
            return
        before, after = (
            len(_MARKS.findall(unicodedata.normalize("NFD", each)))
            for each in (text, tokenizer.normalizer.normalize_str(text))
        )
        self.totals["marks_removed"] += max(0, before - after)
        self.totals["marks_letters"] += len(text)

    def _count_accents(self, words: Sequence[str], tokenizer: Tokenizer) -> None:
        self.totals["accent_words"] += len(words)
        if tokenizer.normalizer is None:
            return
        for word, number in Counter(word for word in words if not word.isascii()).items():
            if _has_accent(word) and not _has_accent(tokenizer.normalizer.normalize_str(word)):
                self.totals["accents_removed"] += number

    def merge(self, other: "HealthCounts") -> None:
        """Add the counts of another task."""
        self.totals += other.totals
        self.longest_sentence = max(self.longest_sentence, other.longest_sentence)
        self.unknown_words += other.unknown_words

    def figures(self) -> dict[str, object]:
        """Return the figures of the health table that follow from these counts."""
        totals = self.totals
        links = totals["entity_links"]
        of_links = {
            "mentions_per_document": round(totals["mentions"] / max(totals["documents"], 1), 2),
            "entity_links_share": links / max(totals["links"], 1),
            "links_not_found_share": 1 - totals["mentions"] / max(links, 1),
        }
        commonest = heapq.nsmallest(WORDS_LISTED, self.unknown_words.items(), key=lambda each: (-each[1], each[0]))
        return {
            "unknown_share": totals["unknown"] / max(totals["tokens"], 1),
            "unknown_words": dict(commonest),
            "tokens_per_word": round(totals["tokens"] / max(totals["words"], 1), 4),
            "one_sentence_share": totals["one_sentence"] / max(totals["documents"], 1),
            "longest_sentence": self.longest_sentence,
            "beyond_128_share": totals["beyond_128"] / max(totals["tokens"], 1),
            "beyond_512_share": totals["beyond_512"] / max(totals["tokens"], 1),
            "marks_removed_share": totals["marks_removed"] / max(totals["marks_letters"], 1),
            "accents_removed_share": totals["accents_removed"] / max(totals["accent_words"], 1),
            **(of_links if totals["links"] else {}),
        }


def _has_accent(word: str) -> bool:
    return _ACCENTS.search(unicodedata.normalize("NFD", word)) is not None
