"""Steps that the formats of two segments share: target lengths, random segments, truncation."""

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Offsets
from data_pipeline.rng import Purpose
from data_pipeline.whole_numbers import check_whole_number

NUM_SPECIAL_TOKENS = 3
"""Special tokens of [CLS] A [SEP] B [SEP]."""


def check_probabilities(**values: float) -> None:
    """Raise a ValueError that names the first setting of the `pairs` group outside [0, 1]."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"pairs.{name} must be a probability in [0, 1]; got {value}")


def check_dupe_factor(value: int) -> None:
    """Raise a ValueError if the number of cuts of the corpus is not a whole number of at least 1."""
    check_whole_number("pairs.dupe_factor", value)


def target_lengths(num_documents: int, seq_len: int, short_seq_prob: float, key: rng.Keys) -> NDArray[np.int64]:
    """Return the number of tokens at which the chunks of each document aim, (documents,).

    It is the most that an example can hold or, with `short_seq_prob`, a random number from 2 to that.
    """
    longest = seq_len - NUM_SPECIAL_TOKENS
    target_key, documents = rng.fold(key, Purpose.TARGET_LENGTH), np.arange(num_documents)
    is_short = rng.uniform(target_key, 2 * documents) < short_seq_prob
    short = 2 + rng.integers(target_key, 2 * documents + 1, longest - 1)
    return np.where(is_short, short, longest)


def planned_segments(chunks: Chunks, layout: Layout) -> tuple[Offsets, Offsets]:
    """Return the first token, and one past the last, of both segments of each chunk, (examples, 2) each."""
    offsets = layout.sentence_offsets
    start = np.stack([offsets[chunks.first], offsets[chunks.split]], axis=1)
    stop = np.stack([offsets[chunks.split], offsets[chunks.last]], axis=1)
    return start, stop


def random_segments(
    layout: Layout, first_sentences: Offsets, num_tokens: Offsets, keys: rng.Keys
) -> tuple[Offsets, Offsets]:
    """Draw for each example a run of sentences from a document of another text.

    The document is uniform over those of other texts, and the first sentence is uniform over the document. The run
    holds at least one sentence and ends once it has enough tokens, or with its document.

    Args:
        layout: Sentences and documents to draw from.
        first_sentences: A sentence of each example, which tells the example's document, (examples,).
        num_tokens: Tokens that are enough for each example, (examples,).
        keys: One key for each example, (examples,).

    Returns:
        First token, and one past the last, of each run, (examples,) each.
    """
    documents, offsets = layout.document_offsets, layout.sentence_offsets
    document = np.searchsorted(documents, first_sentences, side="right") - 1
    draw_keys = rng.fold(keys, Purpose.RANDOM_DOCUMENT)
    other = layout.copies.draw_other(document, draw_keys, 0)
    first = documents[other] + rng.integers(draw_keys, 1, documents[other + 1] - documents[other])
    last = np.searchsorted(offsets, offsets[first] + num_tokens, side="left")
    last = np.clip(last, first + 1, documents[other + 1])
    return offsets[first], offsets[last]


def truncate(start: Offsets, stop: Offsets, longest: int, keys: rng.Keys) -> None:
    """Shorten pairs of segments to `longest` tokens in place, each (examples, 2).

    google-research/bert (`truncate_seq_pair`) drops one token at a time from the longer segment, at a random end. In
    closed form: the longer segment first loses tokens until both are equally long; then both lose tokens in turn, the
    second segment first. Binomial(losses, 1/2) of the tokens that a segment loses are at its front.

    Example: segments of 9 and 5 tokens and `longest=10`. The surplus is 4, and all 4 tokens come from the first
    segment. With `longest=7` the surplus is 7: 4 tokens come from the first segment, which then has 5 too, and of the
    remaining 3 the second segment loses 2 and the first 1.
    """
    surplus = (stop - start).sum(axis=1) - longest
    rows = np.flatnonzero(surplus > 0)
    excess = (stop - start)[rows] @ np.array([1, -1])  # tokens by which the first segment is longer
    level = np.minimum(surplus[rows], np.abs(excess))
    rest = surplus[rows] - level
    losses = np.stack([level * (excess > 0) + rest // 2, level * (excess <= 0) + (rest + 1) // 2], axis=1)
    front = rng.fair_coins(rng.fold(keys[rows, None], Purpose.TRUNCATION, [0, 1]), losses)
    start[rows] += front
    stop[rows] -= losses - front
