"""The health of a corpus: figures that the manifest keeps, and what to do about those that are beyond their limits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Figures = Mapping[str, object]
LEAST_HELD_OUT = 100 * 128
"""Tokens of a hundred examples, whose accuracy at two labels is known to five points."""


@dataclass(frozen=True, slots=True)
class HealthRow:
    """One row of the health table.

    Attributes:
        name: The figure, in words.
        value: Its value, in words.
        advice: Setting that mends it; "" if the figure is within its limit.
    """

    name: str
    value: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure that may be in the manifest: its name in words, how it is shown, its limit, and what mends it."""

    name: str
    show: Callable[[float], str]
    limit: float
    advice: str


def _share(value: float) -> str:
    return f"{value:.2%}"


def _number(value: float) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


_NO_LIMIT = float("inf")
_FIGURES = {
    "unknown_share": _Figure(
        "tokens that are unknown",
        _share,
        0.005,
        "a vocabulary that fits the text: a larger tokenizer.vocab_size, tokenizer.lowercase as in the vocabulary, or "
        "tokenizer=byte_bpe",
    ),
    "tokens_per_word": _Figure(
        "tokens a word",
        _number,
        2.5,
        "a larger tokenizer.vocab_size, or a vocabulary of this language; text without spaces has long words",
    ),
    "one_sentence_share": _Figure(
        "documents of one sentence",
        _share,
        0.5,
        "corpus.sentence_per_line=true for notes, or objective=mlm pairs=full_sentences: one sentence makes no pair",
    ),
    "longest_sentence": _Figure("tokens of the longest sentence", _number, _NO_LIMIT, ""),
    "beyond_128_share": _Figure("tokens beyond the 128th of their sentence", _share, _NO_LIMIT, ""),
    "beyond_512_share": _Figure(
        "tokens beyond the 512th of their sentence, which are hardly ever read",
        _share,
        0.01,
        "corpus.language as it is, or shorter lines if every line is a sentence",
    ),
    "copy_share": _Figure(
        "documents that are exact copies of others", _share, 0.01, "deduplication=minhash keeps one of each"
    ),
    "held_out_in_training": _Figure(
        "held-out documents that are also trained on",
        _number,
        0,
        "preparing again: bert-prepare now drops held-out copies; with them the held-out loss is too low",
    ),
    "marks_removed_share": _Figure(
        "vowel signs, voicing marks and joiners that the tokenizer removes",
        _share,
        0.01,
        "tokenizer.strip_accents=false: these marks are letters in this language",
    ),
    "accents_removed_share": _Figure(
        "words that lose their accents",
        _share,
        0.02,  # 0.2% of the words of the English Wikipedia have accents, about 4% of Italian, 8% of German
        "corpus.language=<code>, such as de or fr: a tokenizer that is trained for it keeps the accents",
    ),
    "entities": _Figure("entities, the pages that are linked often enough", _number, _NO_LIMIT, ""),
    "entity_links_share": _Figure("links that lead to entities", _share, _NO_LIMIT, ""),
    "mentions_per_document": _Figure("mentions of entities a document", _number, _NO_LIMIT, ""),
    "links_not_found_share": _Figure(
        "links to entities whose words were not found in the tokens",
        _share,
        0.1,
        "a vocabulary that fits the text, or fewer formatters: words that are changed or unknown are not found",
    ),
}


def health_rows(figures: Figures) -> list[HealthRow]:
    """Return the table of the figures of a manifest; figures that this program does not know are left out."""
    rows = []
    for key, about in _FIGURES.items():
        value = figures.get(key)
        if isinstance(value, int | float):
            rows.append(HealthRow(about.name, about.show(value), about.advice if value > about.limit else ""))
    words = figures.get("unknown_words")
    if isinstance(words, Mapping) and words:
        rows.append(HealthRow("commonest unknown words", ", ".join(f"{word} ({words[word]})" for word in words)))
    removed = figures.get("removed")
    if isinstance(removed, Mapping) and removed:
        rows.append(HealthRow("removed from kept text", ", ".join(f"{kind} ({removed[kind]})" for kind in removed)))
    held_out = figures.get("held_out_share")
    if isinstance(held_out, Mapping):
        for source, share in held_out.items():
            if isinstance(share, int | float):
                rows.append(HealthRow(f"held-out documents of {source}", _share(share)))
    rows += _held_out_text(figures.get("held_out_documents"), figures.get("held_out_tokens"))
    if figures.get("distinct_documents") == 1:
        advice = "a corpus of different texts: all documents are copies of one, and no pair of them is random"
        rows.append(HealthRow("different documents", "1", advice))
    return rows


def _held_out_text(documents: object, tokens: object) -> list[HealthRow]:
    """Return a row if there is held-out text, with advice if scores on it would be mostly chance."""
    if not (isinstance(documents, int) and isinstance(tokens, int) and documents):
        return []
    few = (
        "more text, or a larger validation_fraction, such as 0.1: scores of fewer than 100 examples of 128 tokens are "
        "mostly chance"
    )
    value = f"{documents:,} documents, {tokens:,} tokens"
    return [HealthRow("held-out text", value, few if tokens < LEAST_HELD_OUT else "")]
