"""What the formats of two segments share: target lengths, segments of other documents, truncation."""

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.pairs.chunks import Lengths, Offsets
from data_pipeline.rng import Purpose
from data_pipeline.whole_numbers import check_whole_number

NUM_SPECIAL_TOKENS = 3
"""[CLS] A [SEP] B [SEP]."""


def check_probabilities(**values: float) -> None:
    """Raise a ValueError that names the first setting of the `pairs` group outside [0, 1]."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"pairs.{name} must be a probability in [0, 1], not {value}")


def check_dupe_factor(value: int) -> None:
    """Raise a ValueError if the number of cuts of the corpus is none."""
    check_whole_number("pairs.dupe_factor", value)


def target_lengths(num_documents: int, seq_len: int, short_seq_prob: float, key: rng.Keys) -> NDArray[np.int64]:
    """Return the tokens that the chunks of each document aim at: all there is room for, or at random fewer."""
    longest = seq_len - NUM_SPECIAL_TOKENS
    target_key, documents = rng.fold(key, Purpose.TARGET_LENGTH), np.arange(num_documents)
    is_short = rng.uniform(target_key, 2 * documents) < short_seq_prob
    short = 2 + rng.integers(target_key, 2 * documents + 1, longest - 1)
    return np.where(is_short, short, longest)


def random_segments(
    lengths: Lengths, own_sentence: Offsets, wanted: Offsets, keys: rng.Keys
) -> tuple[Offsets, Offsets]:
    """Pick, for each key, a run of sentences of at least `wanted` tokens from a document of another text than the own.

    The document is uniform over those that are no copies of the own one, the first sentence uniform over the document;
    the run ends with the document where that comes first, and holds at least one sentence.
    """
    documents, offsets = lengths.document_offsets, lengths.sentence_offsets
    own = np.searchsorted(documents, own_sentence, side="right") - 1
    draw_keys = rng.fold(keys, Purpose.RANDOM_DOCUMENT)
    other = lengths.copies.draw_other(own, draw_keys, 0)
    first = documents[other] + rng.integers(draw_keys, 1, documents[other + 1] - documents[other])
    last = np.searchsorted(offsets, offsets[first] + wanted, side="left")
    last = np.clip(last, first + 1, documents[other + 1])
    return offsets[first], offsets[last]


def truncate(start: Offsets, stop: Offsets, longest: int, keys: rng.Keys) -> None:
    """Shorten pairs to `longest` tokens in place, token by token from the longer segment, at a random end each time.

    The loop of google-research/bert (`truncate_seq_pair`) in closed form: the longer segment loses its surplus first,
    then both lose in turn, the second one first; of a segment's losses Binomial(losses, 1/2) fall on its front.
    """
    surplus = (stop - start).sum(axis=1) - longest
    rows = np.flatnonzero(surplus > 0)
    excess = (stop - start)[rows] @ np.array([1, -1])  # how much longer A is
    level = np.minimum(surplus[rows], np.abs(excess))
    rest = surplus[rows] - level
    losses = np.stack([level * (excess > 0) + rest // 2, level * (excess <= 0) + (rest + 1) // 2], axis=1)
    front = rng.fair_coins(rng.fold(keys[rows, None], Purpose.TRUNCATION, [0, 1]), losses)
    start[rows] += front
    stop[rows] -= losses - front
