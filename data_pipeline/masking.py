"""Which tokens of a packed batch the model has to predict, and what it sees in their place.

A masking chooses positions; what happens at a chosen position is the same for all of them (80% [MASK], 10% a random
token, 10% unchanged). Every number is drawn by the example's key and the token's position in its example, so a mask
does not depend on the batch the example is in, and changes from one pass over the corpus to the next.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.records import TokenIds
from data_pipeline.rng import Keys, Purpose

Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What masking has to know about token ids.

    Attributes:
        size: Number of token ids.
        mask: Id of [MASK].
        unmaskable: Ids that are never chosen: [CLS], [SEP] and [PAD].
        is_continuation: True for ids that continue a word (`##` pieces), (size,).
    """

    size: int
    mask: int
    unmaskable: tuple[int, ...]
    is_continuation: NDArray[np.bool_]


class Masking(Protocol):
    """How positions are chosen; one class a method, chosen by the `masking` config group."""

    def __call__(
        self, input_ids: TokenIds, cu_seqlens: Positions, keys: Keys, vocabulary: Vocabulary
    ) -> tuple[Positions, TokenIds]:
        """Mask packed ids in place; return the chosen positions, ascending, and the ids that stood there."""

    def describe(self) -> dict[str, object]:
        """Everything that decides the masks, for the fingerprint of the stream."""


class TokenMasking:
    """Choose tokens one by one, a fixed share of every example (Devlin et al., 2019, section 3.1).

    An example of n tokens, [CLS] and [SEP] included, gets min(max_predictions, max(1, round(n * mask_prob)))
    predictions, as in google-research/bert.

    Args:
        mask_prob: Share of the tokens to predict.
        mask_token_prob: Share of the chosen tokens that become [MASK].
        random_token_prob: Share of the chosen tokens that become a token drawn from the whole vocabulary.
        max_predictions: Most predictions of one example; None for no limit.
    """

    def __init__(
        self,
        mask_prob: float = 0.15,
        mask_token_prob: float = 0.8,
        random_token_prob: float = 0.1,
        max_predictions: int | None = None,
    ) -> None:
        if not 0 < mask_prob <= 1:
            raise ValueError(f"masking.mask_prob must be in (0, 1], not {mask_prob}")
        if min(mask_token_prob, random_token_prob) < 0 or mask_token_prob + random_token_prob > 1:
            raise ValueError(
                "masking.mask_token_prob and masking.random_token_prob are shares of one whole, "
                f"not {mask_token_prob} and {random_token_prob}"
            )
        if max_predictions is not None and max_predictions < 1:
            raise ValueError(f"masking.max_predictions must be at least 1 or null, not {max_predictions}")
        self.mask_prob = mask_prob
        self.mask_token_prob = mask_token_prob
        self.random_token_prob = random_token_prob
        self.max_predictions = max_predictions

    def describe(self) -> dict[str, object]:
        """Everything that decides the masks, for the fingerprint of the stream."""
        return {"method": type(self).__name__, **vars(self)}

    def __call__(
        self, input_ids: TokenIds, cu_seqlens: Positions, keys: Keys, vocabulary: Vocabulary
    ) -> tuple[Positions, TokenIds]:
        """Mask packed ids in place.

        Args:
            input_ids: Ids of all examples, one after another, (tokens,).
            cu_seqlens: Where each example begins, and the end, (examples + 1,).
            keys: One key an example, (examples,).
            vocabulary: Facts about the ids.

        Returns:
            The chosen positions, ascending, and the ids that stood there, both (predictions,).
        """
        lengths = np.diff(cu_seqlens)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(input_ids)) - cu_seqlens[owner]
        maskable = np.flatnonzero(~np.isin(input_ids, vocabulary.unmaskable))
        chosen = self._choose(input_ids, maskable, owner, place, self._budgets(lengths), keys, vocabulary)
        labels = input_ids[chosen]
        self._replace(input_ids, chosen, keys[owner[chosen]], place[chosen], vocabulary)
        return chosen, labels

    def _budgets(self, lengths: Positions) -> Positions:
        budgets = np.maximum(np.rint(lengths * self.mask_prob).astype(np.int64), 1)
        return budgets if self.max_predictions is None else np.minimum(budgets, self.max_predictions)

    def _choose(
        self,
        input_ids: TokenIds,
        maskable: Positions,
        owner: Positions,
        place: Positions,
        budgets: Positions,
        keys: Keys,
        vocabulary: Vocabulary,
    ) -> Positions:
        """Return the positions of the `budget` lowest draws of every example, ascending."""
        candidates = owner[maskable]
        draws = rng.uniform(rng.fold(keys, Purpose.MASK_CHOICE)[candidates], place[maskable])
        return np.sort(maskable[_lowest(candidates, draws, budgets)])

    def _replace(
        self, input_ids: TokenIds, chosen: Positions, keys: Keys, place: Positions, vocabulary: Vocabulary
    ) -> None:
        action = rng.uniform(rng.fold(keys, Purpose.MASK_ACTION), place)
        to_mask = action < self.mask_token_prob
        to_random = (action >= self.mask_token_prob) & (action < self.mask_token_prob + self.random_token_prob)
        input_ids[chosen[to_mask]] = vocabulary.mask
        drawn = rng.integers(rng.fold(keys[to_random], Purpose.MASK_TOKEN), place[to_random], vocabulary.size)
        input_ids[chosen[to_random]] = drawn.astype(np.int32)


class WholeWordMasking(TokenMasking):
    """Choose whole words: a piece and the `##` pieces that follow it are predicted together or not at all.

    Words come in random order until the example's budget of tokens is used; a word that would exceed it is passed
    over, as google-research/bert does. What a chosen piece becomes is still drawn piece by piece. A word never crosses
    [CLS] or [SEP].
    """

    def _choose(
        self,
        input_ids: TokenIds,
        maskable: Positions,
        owner: Positions,
        place: Positions,
        budgets: Positions,
        keys: Keys,
        vocabulary: Vocabulary,
    ) -> Positions:
        begins = ~vocabulary.is_continuation[input_ids[maskable]]
        begins[1:] |= np.diff(maskable) > 1  # a [CLS] or [SEP] stands between
        begins[:1] = True
        heads = np.flatnonzero(begins)
        sizes = np.diff(np.append(heads, len(maskable)))
        word_owner = owner[maskable[heads]]
        draws = rng.uniform(rng.fold(keys, Purpose.MASK_CHOICE)[word_owner], place[maskable[heads]])
        order = np.argsort(word_owner + draws, kind="stable")
        taken = _fill(word_owner[order].tolist(), sizes[order].tolist(), budgets.tolist())
        is_taken = np.zeros(len(heads), dtype=bool)
        is_taken[order[taken]] = True
        return maskable[np.repeat(is_taken, sizes)]


def _lowest(groups: Positions, draws: NDArray[np.float64], budgets: Positions) -> Positions:
    """Return the indices of the `budgets[g]` lowest draws of every group g, draws in [0, 1), groups ascending."""
    order = np.argsort(groups + draws, kind="stable")
    ordered = groups[order]
    begin = np.searchsorted(ordered, np.arange(len(budgets)))
    return order[np.arange(len(order)) - begin[ordered] < budgets[ordered]]


def _fill(groups: list[int], sizes: list[int], budgets: list[int]) -> list[int]:
    """Return the indices that fit when items, in the order given, are put into the budget of their group."""
    left, taken = list(budgets), []
    for index, (group, size) in enumerate(zip(groups, sizes, strict=True)):
        if size <= left[group]:
            left[group] -= size
            taken.append(index)
    return taken
