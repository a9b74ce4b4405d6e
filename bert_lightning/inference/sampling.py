"""How the next token is chosen from its scores: the likeliest one, or one drawn from those that are kept."""

from dataclasses import dataclass

import torch
from torch import Tensor

from data_pipeline.whole_numbers import check_whole_number


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which tokens may come next; if nothing is set, only the likeliest one, which is greedy decoding.

    Attributes:
        temperature: What scores are divided by; low values prefer likely tokens.
        top_k: Tokens that are kept, the likeliest ones (Fan et al., 2018); None keeps all.
        top_p: Probability that the kept tokens have together at least, the likeliest first: the nucleus (Holtzman et
            al., 2020); None keeps all.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        check_whole_number("top_k", self.top_k, or_null=True)
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be null or a number above 0; got {self.temperature}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be null or a number above 0 and at most 1; got {self.top_p}")

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self == Sampling()

    def kept(self, scores: Tensor) -> Tensor:
        """Return the scores divided by the temperature, minus infinity for tokens that are not kept, (tokens,).

        The top k are chosen before the nucleus, which is then that of their probabilities.

        Args:
            scores: Scores of all tokens, (tokens,).
        """
        scores = scores / (self.temperature or 1.0)
        if self.top_k is not None:
            least = scores.topk(min(self.top_k, len(scores))).values[-1]
            scores = scores.masked_fill(scores < least, -torch.inf)
        if self.top_p is not None:
            ascending, order = scores.sort()
            is_tail = ascending.softmax(-1).cumsum(-1) <= 1 - self.top_p
            is_tail[-1] = False  # the likeliest one stays
            scores = scores.masked_fill(is_tail.scatter(0, order, is_tail), -torch.inf)
        return scores

    def choose(self, scores: Tensor, generator: torch.Generator) -> int:
        """Return the next token.

        Args:
            scores: Scores of all tokens, (tokens,), in fp32 on the CPU.
            generator: Source of the random numbers; greedy decoding uses none.
        """
        if self.is_greedy:
            return int(scores.argmax())
        return int(torch.multinomial(self.kept(scores).softmax(-1), 1, generator=generator))
