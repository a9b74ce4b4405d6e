"""Sizes of packed micro-batches: how many tokens and predictions a batch is filled up to."""

from dataclasses import dataclass, field
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from data_pipeline.masking.masking import Masking

LOWEST, HIGHEST = -1.5, 3.5
"""Standard deviations between the usual number of tokens and the first and last level of `FewShapes` but the full."""
LEAST_DEVIATION = 0.02
"""Standard deviation that is assumed at least, as a share of the usual number of tokens: the latter is an estimate."""


@dataclass(frozen=True, slots=True)
class PackedShape:
    """Sizes of the batches of a run, rounded up.

    Rounding to 1/64 of a usual batch wastes under 1% of the tokens and leaves about a hundred shapes.

    Attributes:
        num_examples: Examples a batch has room for.
        seq_len: Most tokens of an example.
        usual_length: About how many tokens an example has; None: `seq_len`.
    """

    num_examples: int
    seq_len: int
    usual_length: int | None = None

    @property
    def usual_tokens(self) -> int:
        """About how many tokens a batch has."""
        return self.num_examples * (self.usual_length or self.seq_len)

    @property
    def token_multiple(self) -> int:
        """What the number of tokens is rounded up to: a power of two below 1/64 of a usual batch, at least 8."""
        return 1 << max(3, (self.usual_tokens // 64).bit_length() - 1)

    @property
    def prediction_multiple(self) -> int:
        """What the number of masked positions is rounded up to."""
        return max(8, self.token_multiple // 8)

    @property
    def num_sequences(self) -> int:
        """Entries of `cu_seqlens` less one: the examples and room for the filler."""
        return self.num_examples + -(-self.token_multiple // self.seq_len)

    def sizes(self, num_tokens: int, num_predictions: int) -> tuple[int, int]:
        """Return the numbers of tokens and predictions that a batch is filled up to."""
        return _round_up(num_tokens, self.token_multiple), _round_up(num_predictions, self.prediction_multiple)

    def mention_rows(self, num_mentions: int) -> int:
        """Return the number that the mentions of a batch are filled up to."""
        return _round_up(num_mentions, self.prediction_multiple)


@dataclass(frozen=True, slots=True)
class FewShapes(PackedShape):
    """A few fixed sizes, for graphs that are compiled or recorded for one shape each.

    A batch takes the smallest level that holds its tokens and its predictions. The levels lie evenly around the usual
    number of tokens, as far apart as batches differ; the last level holds a batch of full examples, so no batch is ever
    too large. On the lengths of novels 1 to 4% of the tokens are filler with 32 examples in a batch, at most 2.5% with
    128, and 1 to 8% with 8.

    Attributes:
        length_deviation: Standard deviation of the lengths of examples, in tokens.
        num_shapes: Most levels; levels above the full batch are left out.
        prediction_share: Predictions of an example, as a share of its tokens (`Masking.prediction_share`).
    """

    length_deviation: float = field(kw_only=True)
    num_shapes: int = 8
    prediction_share: float = 0.15

    @property
    def num_sequences(self) -> int:
        """Entries of `cu_seqlens` less one: the examples and room for a whole batch of filler."""
        return self.num_examples + -(-self.levels[-1][0] // self.seq_len)

    @property
    def levels(self) -> list[tuple[int, int]]:
        """Tokens and predictions of each shape, ascending.

        >>> FewShapes(32, 128, 64, num_shapes=5, length_deviation=37.0).levels
        [(1760, 264), (2016, 304), (2304, 352), (2560, 384), (4096, 648)]
        """
        full = _round_up(self.num_examples * self.seq_len, self.token_multiple)
        deviation = max(self.length_deviation * sqrt(self.num_examples) / self.usual_tokens, LEAST_DEVIATION)
        highest = min(2 + 0.2 * full / self.usual_tokens, HIGHEST)  # the larger the full level, the rarer it has to be
        step = (highest - LOWEST) / max(1, self.num_shapes - 2)
        factors = [1 + deviation * (LOWEST + step * level) for level in range(self.num_shapes - 1)]
        rounded = {_round_up(int(self.usual_tokens * max(factor, 0)), self.token_multiple) for factor in factors}
        tokens = sorted({min(size, full) for size in rounded} | {full})
        predictions = [self.prediction_share * size for size in tokens]
        predictions[-1] += self.num_examples  # an example's share is rounded, and at least 1
        sizes = [_round_up(int(-(-number // 1)), self.prediction_multiple) for number in predictions]
        return list(zip(tokens, sizes, strict=True))

    def sizes(self, num_tokens: int, num_predictions: int) -> tuple[int, int]:
        """Return the smallest level that holds a batch.

        Raises:
            ValueError: if the masking predicts more than its `prediction_share`.
        """
        for tokens, predictions in self.levels:
            if num_tokens <= tokens and num_predictions <= predictions:
                return tokens, predictions
        raise ValueError(
            f"a micro-batch of {num_tokens} tokens has {num_predictions} predictions, more than the fixed shapes of "
            f"compile.dynamic=false hold with a prediction_share of {self.prediction_share}"
        )


def bounded_share(masking: Masking) -> float:
    """Return the share of the tokens that a masking predicts.

    Raises:
        ValueError: if nothing bounds the predictions of an example.
    """
    if masking.prediction_share is None:
        raise ValueError(
            "compile.dynamic=false needs masking.exact_count=true: fixed shapes need a bound on the predictions of a "
            "micro-batch, and exact_count=false draws their number"
        )
    return masking.prediction_share


def few_shapes(
    num_examples: int, seq_len: int, lengths: NDArray[np.int64], masking: Masking, num_shapes: int
) -> FewShapes:
    """Return `num_shapes` sizes for batches of examples of which some lengths are known, (examples,)."""
    usual_length, share = max(1, round(float(lengths.mean()))), bounded_share(masking)
    deviation = float(lengths.std())
    return FewShapes(num_examples, seq_len, usual_length, num_shapes, share, length_deviation=deviation)


def _round_up(number: int, multiple: int) -> int:
    """Round up to a multiple, at least one of them: a batch of filler alone still has a token for heads to read."""
    return max(1, -(-number // multiple)) * multiple
