"""How often the token behind a mask is among the first guesses: a model's, and those that need no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bert_lightning.inference.loading import LoadedModel
from data_pipeline.streams.packed_batch import MLM, PackedBatch
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.validation_stream import ValidationStream


@dataclass(frozen=True, slots=True)
class Hits:
    """Shares of masks whose token is among the first k guesses, by k.

    Attributes:
        model: Guesses of the model.
        commonest: The same guesses for every mask: the commonest tokens.
        masks: Number of masks.
    """

    model: dict[int, float]
    commonest: dict[int, float]
    masks: int


def held_out_hits(
    model: LoadedModel,
    samples: PretrainingSamples,
    counts: NDArray[np.int64],
    guesses: Sequence[int] = (1, 5),
    micro_batch_size: int = 64,
    max_samples: int | None = None,
) -> Hits:
    """Return the hits over the masks of a split.

    Args:
        model: A model with an MLM head.
        samples: The split, not shuffled.
        counts: How often each token stands in the training split, (vocabulary,).
        guesses: Numbers of guesses.
        micro_batch_size: Examples of one forward pass.
        max_samples: Examples to stop after; None for the whole split.

    Raises:
        ValueError: if the model has no MLM head.
    """
    head, table = model.mlm_head("hits"), model.encoder.embeddings.token.weight
    order = torch.from_numpy(np.argsort(-counts, kind="stable")[: max(guesses)].copy())

    def ranks(batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Return the ranks, from 0, of the true tokens of a batch among both kinds of guesses, (masks,) each."""
        target = batch.targets[MLM]
        labels = target.labels[: target.count].long()  # (masks,)
        scores = head.scores(model.encoder(batch.tokens, target.positions[: target.count]), table)
        truth = scores.gather(1, labels[:, None])  # (masks, 1)
        is_same = order.to(labels.device) == labels[:, None]  # (masks, guesses)
        fixed = torch.where(is_same.any(1), is_same.int().argmax(1), len(order))
        return (scores > truth).sum(1).cpu(), fixed.cpu()

    stream = ValidationStream(samples, micro_batch_size, max_samples=max_samples)
    with torch.inference_mode():
        found = [ranks(batch.to(model.device)) for batches in stream for batch in batches]
    ours, fixed = (torch.cat(each).numpy() for each in zip(*found, strict=True))
    return Hits(_shares(ours, guesses), _shares(fixed, guesses), len(ours))


def _shares(ranks: NDArray[np.int64], guesses: Sequence[int]) -> dict[int, float]:
    return {most: float((ranks < most).mean()) for most in guesses}
