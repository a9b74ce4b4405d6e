"""How a task is asked: the settings, the examples that are asked about, and those that stand before each of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bert_lightning.finetuning.task import TRAIN
from bert_lightning.inference.prompting.prompts import Asked, few_shot_prompt
from data_pipeline import rng
from data_pipeline.rng import Purpose
from data_pipeline.whole_numbers import check_whole_number

NORMALIZATIONS = ("tokens", "none", "context")


@dataclass(frozen=True, slots=True)
class Prompting:
    """How a task is asked, as `prompting` in the settings of bert-evaluate describes it.

    Attributes:
        shots: Numbers of training examples that stand before the question; each is scored.
        examples: Examples that are scored, drawn once; None for all.
        template: The question; None for the wording of the task.
        answers: Text of each label by its name; None for the wording of the task.
        normalize: What likelihoods of answers are compared: those per token, those of the whole answers, or those of
            the whole answers divided by their likelihood without the question (Brown et al., 2020, section 2.4).
        seed: Seed of the drawn examples.
    """

    shots: list[int] = field(default_factory=lambda: [0])
    examples: int | None = None
    template: str | None = None
    answers: dict[str, str] | None = None
    normalize: str = "tokens"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.shots:
            raise ValueError("prompting.shots must be whole numbers, such as [0,1,4]; got []")
        for shots in self.shots:
            check_whole_number("prompting.shots", shots, least=0)
        check_whole_number("prompting.examples", self.examples, or_null=True)
        check_whole_number("prompting.seed", self.seed, least=0)
        if self.normalize not in NORMALIZATIONS:
            raise ValueError(f"prompting.normalize must be one of {', '.join(NORMALIZATIONS)}; got {self.normalize}")

    def check(self, split: str, labeled_splits: Collection[str], num_train: int) -> None:
        """Raise a ValueError if the split or the shots cannot be had.

        Args:
            split: Name of the split that is scored.
            labeled_splits: Names of the splits whose right answers are known.
            num_train: Number of training examples.
        """
        if split not in labeled_splits:
            raise ValueError(f"split must be one of {', '.join(labeled_splits)}; got {split}")
        if split == TRAIN and max(self.shots):
            raise ValueError(
                f"split={TRAIN} with prompting.shots={list(self.shots)}: a question would stand solved in "
                "its own prompt; take another split, or prompting.shots=[0]"
            )
        if max(self.shots) > num_train:
            raise ValueError(f"prompting.shots={max(self.shots)}, but there are {num_train} training examples")

    def rows(self, number: int) -> NDArray[np.int64]:
        """Return which of a number of examples are asked about, in their order, the same ones for every model."""
        if self.examples is None or self.examples >= number:
            return np.arange(number)
        order = rng.permutation(rng.fold(self.seed, Purpose.EXAMPLE_ORDER), number)
        return np.sort(order[: self.examples])

    def prompts(self, asked: Sequence[Asked], train: Sequence[Asked], shots: int) -> list[str]:
        """Return the prompt of every question, with a number of solved training examples before it."""
        return [few_shot_prompt(self.shown(train, shots, row), each) for row, each in enumerate(asked)]

    def shown(self, train: Sequence[Asked], shots: int, row: int) -> list[Asked]:
        """Return the examples before a question: drawn for each question; more shots begin with those of fewer."""
        if not shots:
            return []
        order = rng.permutation(rng.fold(self.seed, Purpose.EXAMPLE_ORDER, row + 1), len(train))
        return [train[each] for each in order[:shots]]
