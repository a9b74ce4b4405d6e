"""What the labels of two segments mean: each question about pairs has one entry, which heads, metrics and reports read.

A format of pairs names the labels that it gives, and an objective those that it learns.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PairLabels:
    """The labels of one question about two segments.

    Attributes:
        target: Name of the labels, with which the names of their head, loss and accuracy begin.
        names: Meaning of the labels 0 and 1; the second is also the name of the share of pairs with label 1.
        words: The same as a person reads it.
    """

    target: str
    names: tuple[str, str]
    words: tuple[str, str]


NEXT_SENTENCE = PairLabels("nsp", ("is_next", "random_next"), ("next", "random"))
"""Is the second segment the next one (Devlin et al., 2019, section 3.1)?"""
SENTENCE_ORDER = PairLabels("sop", ("in_order", "swapped"), ("in order", "swapped"))
"""Do two successive segments stand in their order (Lan et al., 2020, section 3.1)?"""
PAIR_LABELS = {each.target: each for each in (NEXT_SENTENCE, SENTENCE_ORDER)}
"""All of them, by the names of the labels."""
