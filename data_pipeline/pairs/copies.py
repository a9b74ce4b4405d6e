"""Documents that are copies of one text: sources of a weight above 1 have them, and web corpora do.

Copies have the same tokens. Documents of one shape, such as poems of four lines or notes from one template, are
different texts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng


@dataclass(frozen=True, slots=True)
class Copies:
    """Documents grouped by text; the groups are in the order of their first documents.

    Attributes:
        order: Documents, group by group, (documents,).
        begin: Index in `order` at which the group of each document begins, (documents,).
        end: Index in `order` at which the group of each document ends, (documents,).
    """

    order: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    @staticmethod
    def find(texts: NDArray[np.uint64]) -> "Copies":
        """Group documents by text; `texts` has the same number for documents that are copies, (documents,)."""
        _, first_copy, text = np.unique(texts, return_index=True, return_inverse=True)
        order = np.argsort(first_copy[text], kind="stable")
        begin = np.searchsorted(first_copy[text][order], first_copy[text])
        return Copies(order, begin, begin + np.bincount(text)[text])

    @property
    def has_other(self) -> NDArray[np.bool_]:
        """True for documents if the shard holds a document of another text, (documents,)."""
        return self.end - self.begin < len(self.order)

    def draw_other(self, documents: NDArray[np.int64], keys: rng.Keys, counter: int) -> NDArray[np.int64]:
        """Draw for each document one of another text, uniformly.

        Args:
            documents: Documents whose `has_other` is true, (draws,).
            keys: One key for each draw, (draws,).
            counter: Counter of the random numbers.

        Returns:
            One document for each draw, (draws,).
        """
        begin, end = self.begin[documents], self.end[documents]
        index = rng.integers(keys, counter, len(self.order) - (end - begin))
        return self.order[np.where(index < begin, index, index + end - begin)]
