"""How often letters occur: those that occur once would fill the vocabulary of a small corpus with many scripts."""

from collections import Counter
from collections.abc import Iterable

from tokenizers import normalizers


def num_frequent_letters(texts: Iterable[str], normalizer: normalizers.Normalizer, min_frequency: int) -> int:
    """Return how many letters of texts occur at least `min_frequency` times after normalization.

    >>> num_frequent_letters(["Ab a", "cb"], normalizers.Lowercase(), 2)
    2
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    return sum(count >= min_frequency and not letter.isspace() for letter, count in counts.items())
