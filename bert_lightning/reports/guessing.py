"""What was measured beside what guessing reaches: by the frequencies of tokens, and by the larger class."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_lightning.reports.shown_quantities import ShownQuantity
from bert_lightning.settings.finetuned_folder import VALIDATION, FinetunedFolder
from data_pipeline.pairs.pair_labels import PAIR_LABELS
from data_pipeline.streams.stream_statistics import entropy

MOST_LINES = 20_000
"""Predictions of a fine-tuned model whose right labels are counted."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A quantity beside guessing, in words.

    Attributes:
        title: The quantity.
        measured: What the model reaches.
        guessing: What guessing reaches.
        better_by: By how much the model is better.
        how: What the guesser knows.
    """

    title: str
    measured: str
    guessing: str
    better_by: str
    how: str


def guess_by_frequency(counts: NDArray[np.int64], quantities: Collection[str]) -> dict[str, float]:
    """Return the loss and the accuracy for masked tokens of a guesser that knows frequencies alone.

    Args:
        counts: How often each token stands in text, (vocabulary,).
        quantities: Names of the quantities of the objective; those that it does not have are left out.
    """
    if not counts.sum():
        return {}
    reached = {"mlm_loss": entropy(counts), "mlm_accuracy": float(counts.max() / counts.sum())}
    return {name: value for name, value in reached.items() if name in quantities}


def guess_by_share(share: float) -> dict[str, float]:
    """Return loss and accuracy for pairs of a guesser that knows the share of label 1 alone.

    >>> guess_by_share(0.5)
    {'loss': 0.6931471805599453, 'accuracy': 0.5}
    """
    parts = [part for part in (share, 1 - share) if part > 0]
    return {"loss": -sum(part * math.log(part) for part in parts), "accuracy": max(share, 1 - share)}


def beside_guessing(
    last: Mapping[str, float], guessing: Mapping[str, float], quantities: Sequence[ShownQuantity]
) -> list[Beside]:
    """Return the held-out quantities for which it is known what guessing reaches.

    Args:
        last: Last value of every metric.
        guessing: What guessing by frequencies reaches, by the name of the quantity.
        quantities: How those of the objective are shown.
    """
    by_frequency = "by how often each token stands in the training text"
    reached = {name: (value, by_frequency) for name, value in guessing.items()}
    for pairs, labels in PAIR_LABELS.items():
        share = labels.names[1]
        if f"val/{share}" in last:
            how = f"by the larger class: {last[f'val/{share}']:.1%} of the pairs are {labels.words[1]}"
            for name, value in guess_by_share(last[f"val/{share}"]).items():
                reached[f"{pairs}_{name}"] = (value, how)
    rows = []
    for shown in quantities:
        if shown.name in reached and f"val/{shown.name}" in last:
            measured, (guess, how) = last[f"val/{shown.name}"], reached[shown.name]
            gain = guess - measured if shown.unit == "nats" else measured - guess
            in_words = shown.format.format
            rows.append(Beside(shown.title, in_words(measured), in_words(guess), in_words(gain), how))
    return rows


def larger_class(folder: FinetunedFolder) -> str:
    """Return how often the commonest right label of a fine-tuning stands, in one line.

    It is empty if labels are not known, or are numbers or answers.

    Args:
        folder: Folder of the fine-tuning, or of a seed.

    Raises:
        ValueError: if a line of its predictions is damaged.
    """
    counts: Counter[str] = Counter()
    for line in islice(folder.read_predictions(VALIDATION), MOST_LINES):
        label = line.get("label") if "exact_match" not in line else None  # its labels are answers
        labels: list[Any] = label if isinstance(label, list) else [label]
        counts.update(labels if all(isinstance(each, str) for each in labels) else [])
    if not counts:
        return ""
    label, number = counts.most_common(1)[0]
    return f"Guessing always {label} is right in {number / counts.total():.1%} of the validation labels."
