"""Which documents are copies of one text: a source with a weight above 1 has them, and so has every web corpus."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng


@dataclass(frozen=True, slots=True)
class Copies:
    """Documents sorted so that copies stand together, texts in the order of their first copies.

    Documents whose sentences have the same lengths, in the same order, are taken for copies. Copies always are; others
    that happen to be only lose each other as a random partner.

    Attributes:
        order: The documents, sorted, (documents,).
        begin: Where in `order` the copies of each document begin, (documents,).
        end: Where they end, (documents,).
    """

    order: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    @staticmethod
    def find(sentence_offsets: NDArray[np.int64], document_offsets: NDArray[np.int64]) -> "Copies":
        """Compare documents by a hash of their sentence lengths; offsets are those of `Lengths`."""
        first, counts = document_offsets[:-1], np.diff(document_offsets)
        places = np.arange(len(sentence_offsets) - 1) - np.repeat(first, counts)
        hashes = np.add.reduceat(rng.bits(places, np.diff(sentence_offsets)), first)
        _, first_copy, text = np.unique(hashes, return_index=True, return_inverse=True)
        order = np.argsort(first_copy[text], kind="stable")
        place = np.searchsorted(first_copy[text][order], first_copy[text])
        return Copies(order, place, place + np.bincount(text)[text])

    @property
    def has_other(self) -> NDArray[np.bool_]:
        """True for documents beside which there is another text, (documents,)."""
        return self.end - self.begin < len(self.order)

    def draw_other(self, own: NDArray[np.int64], keys: rng.Keys, counter: int) -> NDArray[np.int64]:
        """Draw, for each of some documents, one that is no copy of it, all alike; its text must not be the only one."""
        begin, end = self.begin[own], self.end[own]
        place = rng.integers(keys, counter, len(self.order) - (end - begin))
        return self.order[np.where(place < begin, place, place + end - begin)]
