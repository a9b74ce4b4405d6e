"""Random numbers as a pure function of a key and a counter: no state, the same on every machine and numpy version.

A key is folded from the integers that a decision depends on (seed, purpose, epoch, sample, ...), so a mask does not
depend on the worker, the order or the batch in which it is drawn. The mixing function is SplitMix64's finalizer
(Steele, Lea and Flood, 2014), applied once to the key and once to the counter; everything is vectorized over arrays.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_TO_UNIT = 1.0 / (1 << 53)


class Purpose(IntEnum):
    """What a random number decides; part of its key, so no two decisions share their numbers."""

    SHARD_ORDER = 1
    EXAMPLE_ORDER = 2
    TARGET_LENGTH = 3
    SEGMENT_SPLIT = 4
    RANDOM_NEXT = 5
    RANDOM_DOCUMENT = 6
    TRUNCATION = 7
    MASK_CHOICE = 8
    MASK_ACTION = 9
    MASK_TOKEN = 10
    SEGMENT_ORDER = 11
    MASK_COUNT = 12
    SPAN_LENGTH = 13
    STATIC_MASK = 14


def _mix(words: Keys) -> Keys:
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def fold(*parts: ArrayLike) -> Keys:
    """Fold integers, or arrays of them that broadcast, into one 64-bit key each.

    >>> int(fold(1, 2)[()]) == int(fold(1, 2)[()]) != int(fold(2, 1)[()])
    True
    """
    with np.errstate(over="ignore"):
        key = np.zeros((), dtype=np.uint64)
        for part in parts:
            key = _mix((key + _GOLDEN) ^ np.asarray(part).astype(np.uint64))
        return key


def bits(key: ArrayLike, counter: ArrayLike) -> Keys:
    """Return 64 random bits for every (key, counter) that broadcast together."""
    with np.errstate(over="ignore"):
        counters = np.asarray(counter).astype(np.uint64) + np.uint64(1)
        return _mix(np.asarray(key, dtype=np.uint64) + counters * _GOLDEN)


def uniform(key: ArrayLike, counter: ArrayLike) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1) for every (key, counter)."""
    return (bits(key, counter) >> np.uint64(11)).astype(np.float64) * _TO_UNIT


def integers(key: ArrayLike, counter: ArrayLike, bound: ArrayLike) -> NDArray[np.int64]:
    """Return uniform integers in [0, bound) for every (key, counter); bound is at most 2**32."""
    high = bits(key, counter) >> np.uint64(32)
    return ((high * np.asarray(bound).astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def permutation(key: ArrayLike, size: int) -> NDArray[np.int64]:
    """Return a random order of range(size)."""
    return np.argsort(bits(key, np.arange(size)), kind="stable")


def fair_coins(keys: Keys, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of `sizes` fair coins show heads, one draw from Binomial(size, 1/2) for each key."""
    if not len(sizes):
        return np.zeros_like(sizes)
    words = np.arange(int(sizes.max()) // 64 + 1)
    wanted = np.clip(sizes[..., None] - 64 * words, 0, 64).astype(np.uint64)
    unwanted = np.where(wanted == 64, np.uint64(0), ~np.uint64(0) << (wanted % np.uint64(64)))
    return np.bitwise_count(bits(np.asarray(keys)[..., None], words) & ~unwanted).sum(axis=-1, dtype=np.int64)
