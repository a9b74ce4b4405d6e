"""Which tokens of a packed batch the model has to predict, and what it sees instead of them.

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
from data_pipeline.whole_numbers import check_whole_number

Positions = NDArray[np.int64]
LONGEST_EXAMPLE = 1 << 14
"""Tokens of an example at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What masking has to know about token ids.

    Attributes:
        size: Number of token ids.
        mask: Id of [MASK].
        cls: Id of [CLS].
        sep: Id of [SEP].
        pad: Id of [PAD].
        is_continuation: True for ids that continue a word (`##` pieces), (size,).
        unk: Id of [UNK], if there is one.
        num_bytes: UTF-8 bytes of the text that each id stands for, (size,); None if they do not matter.
    """

    size: int
    mask: int
    cls: int
    sep: int
    pad: int
    is_continuation: NDArray[np.bool_]
    unk: int | None = None
    num_bytes: NDArray[np.int64] | None = None

    @property
    def unmaskable(self) -> list[int]:
        """The ids that are never chosen."""
        return [self.cls, self.sep, self.pad]

    def text_bytes(self, ids: TokenIds) -> int:
        """Return the UTF-8 bytes of the text that ids stand for together; 0 if `num_bytes` is unknown."""
        return 0 if self.num_bytes is None else int(self.num_bytes[ids].sum())

    def ordinary(self) -> TokenIds:
        """Return the ids of all tokens but the special ones, ascending."""
        is_ordinary = np.ones(self.size, dtype=bool)
        is_ordinary[[self.mask, *self.unmaskable, *([] if self.unk is None else [self.unk])]] = False
        return np.flatnonzero(is_ordinary).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The tokens of a packed batch that may be predicted, in reading order.

    Attributes:
        positions: Positions in the batch, (candidates,).
        owner: The example of each candidate, (candidates,).
        offset: Position in that example, (candidates,).
        begins: Position in the batch at which each example begins, (examples,).
        keys: One key an example, (examples,).
    """

    positions: Positions
    owner: Positions
    offset: Positions
    begins: Positions
    keys: Keys


class Masking(Protocol):
    """How positions are chosen; one class a method, chosen by the `masking` config group."""

    static_masks: int | None

    @property
    def prediction_share(self) -> float | None:
        """Share of its tokens that an example has predicted, rounded and at least one; None if nothing bounds it."""

    def __call__(
        self, input_ids: TokenIds, cu_seqlens: Positions, keys: Keys, vocabulary: Vocabulary
    ) -> tuple[Positions, TokenIds]:
        """Mask packed ids in place; return the chosen positions, ascending, and the ids that stood there."""

    def describe(self) -> dict[str, object]:
        """Everything that decides the masks, for the fingerprint of the stream."""


class NoMasking:
    """Mask nothing: the examples of tasks are read as they are."""

    static_masks: int | None = None
    prediction_share: float | None = 0.0

    def __call__(
        self, input_ids: TokenIds, cu_seqlens: Positions, keys: Keys, vocabulary: Vocabulary
    ) -> tuple[Positions, TokenIds]:
        """Return no positions and no ids."""
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)

    def describe(self) -> dict[str, object]:
        """Say that nothing is masked."""
        return {"method": "none"}


class TokenMasking:
    """Choose tokens one by one, a fixed share of every example (Devlin et al., 2019, section 3.1).

    An example of n tokens, [CLS] and [SEP] included, gets min(max_predictions, max(1, round(n * mask_prob)))
    predictions, as in google-research/bert. With `exact_count=False` the number is drawn from the binomial
    distribution, as if every ordinary token were predicted with probability `mask_prob`.

    Args:
        mask_prob: Share of the tokens to predict.
        mask_token_prob: Share of the chosen tokens that become [MASK].
        random_token_prob: Share of the chosen tokens that become a token drawn from the vocabulary.
        max_predictions: Most predictions of one example; None for no limit.
        exact_count: False draws the number of predictions of an example.
        static_masks: Number of masks that an example goes through, one each time its cut of the corpus comes again
            (every `dupe_factor` epochs), for ever; None masks anew each time
            (Liu et al., 2019, section 4.1, compares 10 with new ones).
        exclude_special_replacements: Whether special tokens are never drawn; google-research/bert draws them too.
    """

    def __init__(
        self,
        mask_prob: float = 0.15,
        mask_token_prob: float = 0.8,
        random_token_prob: float = 0.1,
        max_predictions: int | None = None,
        exact_count: bool = True,
        static_masks: int | None = None,
        exclude_special_replacements: bool = True,
    ) -> None:
        if not 0 < mask_prob <= 1:
            raise ValueError(f"masking.mask_prob must be in (0, 1]; got {mask_prob}")
        if min(mask_token_prob, random_token_prob) < 0 or mask_token_prob + random_token_prob > 1:
            raise ValueError(
                "masking.mask_token_prob and masking.random_token_prob are shares of one whole, "
                f"not {mask_token_prob} and {random_token_prob}"
            )
        for name, value in (("max_predictions", max_predictions), ("static_masks", static_masks)):
            check_whole_number(f"masking.{name}", value, or_null=True)
        self.mask_prob = mask_prob
        self.mask_token_prob = mask_token_prob
        self.random_token_prob = random_token_prob
        self.max_predictions = max_predictions
        self.exact_count = exact_count
        self.static_masks = static_masks
        self.exclude_special_replacements = exclude_special_replacements

    @property
    def prediction_share(self) -> float | None:
        """Share of its tokens that an example has predicted at most; None if the number is drawn."""
        return self.mask_prob if self.exact_count else None

    def describe(self) -> dict[str, object]:
        """Everything that decides the masks, for the fingerprint of the stream."""
        return {"method": type(self).__name__, **vars(self)}

    def __call__(
        self, input_ids: TokenIds, cu_seqlens: Positions, keys: Keys, vocabulary: Vocabulary
    ) -> tuple[Positions, TokenIds]:
        """Mask packed ids in place.

        Args:
            input_ids: Ids of all examples, one after another, (tokens,).
            cu_seqlens: Start of each example, and the end of the last, (examples + 1,).
            keys: One key an example, (examples,).
            vocabulary: Facts about the ids.

        Returns:
            The chosen positions, ascending, and the ids that stood there, both (predictions,).
        """
        lengths = np.diff(cu_seqlens)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        offset = np.arange(len(input_ids)) - cu_seqlens[owner]
        is_maskable = np.ones(vocabulary.size, dtype=bool)
        is_maskable[vocabulary.unmaskable] = False
        positions = np.flatnonzero(is_maskable[input_ids])
        candidates = Candidates(positions, owner[positions], offset[positions], cu_seqlens[:-1], keys)
        budgets = self._budgets(lengths, candidates)
        chosen = self._choose(input_ids, candidates, budgets, vocabulary)
        labels = input_ids[chosen]
        self._replace(input_ids, chosen, keys[owner[chosen]], offset[chosen], vocabulary)
        return chosen, labels

    def _budgets(self, lengths: Positions, candidates: Candidates) -> Positions:
        """Return the number of predictions of every example."""
        if self.exact_count:
            budgets = np.maximum(np.rint(lengths * self.mask_prob).astype(np.int64), 1)
        else:
            count_keys = rng.fold(candidates.keys, Purpose.MASK_COUNT)
            heads = rng.uniform(count_keys[candidates.owner], candidates.offset) < self.mask_prob
            budgets = np.bincount(candidates.owner[heads], minlength=len(lengths))
        return budgets if self.max_predictions is None else np.minimum(budgets, self.max_predictions)

    def _choose(
        self, input_ids: TokenIds, candidates: Candidates, budgets: Positions, vocabulary: Vocabulary
    ) -> Positions:
        """Return the positions of as many random candidates of every example as its budget says, ascending."""
        owner, offset = shuffled(candidates.owner, candidates.offset, candidates.keys)
        begin = np.searchsorted(owner, np.arange(len(budgets)))
        kept = np.flatnonzero(np.arange(len(owner)) - begin[owner] < budgets[owner])
        return np.sort(candidates.begins[owner[kept]] + offset[kept])

    def _replace(
        self, input_ids: TokenIds, chosen: Positions, keys: Keys, offset: Positions, vocabulary: Vocabulary
    ) -> None:
        action = rng.uniform(rng.fold(keys, Purpose.MASK_ACTION), offset)
        to_mask = action < self.mask_token_prob
        to_random = (action >= self.mask_token_prob) & (action < self.mask_token_prob + self.random_token_prob)
        input_ids[chosen[to_mask]] = vocabulary.mask
        pool = vocabulary.ordinary() if self.exclude_special_replacements else np.arange(vocabulary.size)
        drawn = rng.integers(rng.fold(keys[to_random], Purpose.MASK_TOKEN), offset[to_random], len(pool))
        input_ids[chosen[to_random]] = pool[drawn]


def shuffled(owner: Positions, offset: Positions, keys: Keys) -> tuple[Positions, Positions]:
    """Put the entries of every example in a random order that its key alone decides.

    One sort of numbers that hold the example, 30 random bits and the offset (which also orders equal draws).

    Args:
        owner: The example of each entry, ascending, (entries,).
        offset: The position of each entry in its example, (entries,).
        keys: One key an example, (examples,).

    Returns:
        Owner and offset of the entries in their new order.
    """
    draws = rng.bits(rng.fold(keys, Purpose.MASK_CHOICE)[owner], offset) >> np.uint64(34)
    words = np.sort(owner.astype(np.uint64) << np.uint64(44) | draws << np.uint64(14) | offset.astype(np.uint64))
    return (words >> np.uint64(44)).astype(np.int64), (words & np.uint64(LONGEST_EXAMPLE - 1)).astype(np.int64)
