"""What a model is trained on: a batch goes in, sums over its predictions come out.

Sums, not means: the trainer divides them by how many predictions the whole step has on all ranks, so gradients do not
depend on how a global batch is split. An objective says everything about itself: which targets of a batch it reads,
what its sums mean and how they are shown, what is useful work, and which encoders it trains.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bert_lightning.models.encoder import Encoder
from data_pipeline.streams.packed_batch import PackedBatch

TOKENS = "tokens"
"""What a sum is over that has a term for every real token of a batch, whatever its targets."""

NEXT_TOKENS = "next_tokens"
"""What a sum is over that has a term for every real token but the last one of each sequence."""
_WHOLE_BATCH = (TOKENS, NEXT_TOKENS)


@dataclass(frozen=True, slots=True)
class Quantity:
    """What one sum of an objective means.

    Attributes:
        target: Name of the targets that the sum is over, `TOKENS` or `NEXT_TOKENS`.
        loss_weight: Factor of its mean in the loss that is minimized; 0 for a metric.
        per_byte: Whether the mean is per byte of text that the labels stand for, not per label.
        perplexity: Name under which exp(mean) is reported too; empty for none.
        short_name: Name in progress lines, where the mean is shown in percent; empty leaves it out of them.
        title: Name in reports, such as "MLM loss"; empty leaves it out of them.
        unit: Unit of the mean in reports: "nats", "squared", "distance", or "share", which is shown in percent.
    """

    target: str
    loss_weight: float = 0.0
    per_byte: bool = False
    perplexity: str = ""
    short_name: str = ""
    title: str = ""
    unit: str = ""

    def count(self, batch: PackedBatch) -> int:
        """Return what the sum of a batch is divided by for a mean, from what the host knows."""
        if self.target in _WHOLE_BATCH:
            return batch.num_tokens - (batch.num_examples if self.target == NEXT_TOKENS else 0)
        target = batch.targets[self.target]
        return target.num_bytes if self.per_byte else target.count


class Objective(nn.Module):
    """A model with its losses and metrics; a subclass gives `forward` and sets `quantities`.

    Attributes:
        name: What is typed after `objective=`: the name of the module, which the option in conf/objective shares.
        quantities: What every sum means, by name.
        keeps_shapes: Whether all layers run on as many tokens as a batch has.
        reads_entities: Whether batches need the mentions of entities.
        reads_in_order: Whether the segments of an example must stand in the order of the text.
    """

    quantities: dict[str, Quantity]
    keeps_shapes = True
    reads_entities = False
    reads_in_order = False

    def __init__(self) -> None:
        super().__init__()
        self.name = type(self).__module__.rpartition(".")[2]  # now: sharding gives a module another class

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the sum of every quantity over the predictions of a batch: scalars, losses differentiable."""
        raise NotImplementedError

    def encoders(self) -> dict[str, Encoder]:
        """Return the encoders by name, that which the run is for first."""
        raise NotImplementedError

    def frozen(self) -> list[nn.Module]:
        """Return the models that are read and not trained: they are no submodules, so no checkpoint has them."""
        return []

    def external_inputs(self) -> dict[str, str]:
        """Return what is read besides the text and must be the same when a run goes on, in words, by what it is."""
        return {}

    def main_encoder(self) -> Encoder:
        """Return the encoder that the run is for."""
        return next(iter(self.encoders().values()))

    def useful_flops(self, tokens: float, squared_lengths: float, counts: Mapping[str, float]) -> float:
        """Return the useful operations of forward and backward passes; see `models.useful_flops`.

        Args:
            tokens: Number of real tokens.
            squared_lengths: Sum of the squared lengths of the sequences.
            counts: Number of labels of each of the targets.
        """
        raise NotImplementedError

    def counts(self, batch: PackedBatch) -> dict[str, int]:
        """Return what the sum of each quantity is divided by for its mean over a batch."""
        return {name: quantity.count(batch) for name, quantity in self.quantities.items()}

    def target_names(self) -> set[str]:
        """Return the names of the targets that a batch must have."""
        return {quantity.target for quantity in self.quantities.values()} - set(_WHOLE_BATCH)

    def check_weights(self) -> None:
        """Raise a ValueError if no loss has a weight, or one has a negative weight."""
        weights = {name: each.loss_weight for name, each in self.quantities.items()}
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"objective={self.name} has {name} with the weight {weight}, which is below 0")
        if not any(weights.values()):
            losses = ", ".join(name for name in weights if name.endswith("_loss"))
            raise ValueError(
                f"objective={self.name} has the weight 0 for all of its losses ({losses}); give one of its "
                "settings *_weight a number above 0"
            )

    def check_targets(self, given: Collection[str], source: str) -> None:
        """Raise a ValueError if batches lack targets that the objective reads.

        Args:
            given: Names of the targets of the batches, that of the masks first.
            source: The setting that decides them, such as pairs=FullSentences.
        """
        if missing := sorted(self.target_names() - set(given)):
            raise ValueError(
                f"objective={self.name} needs {', '.join(missing)} labels, but {source} gives "
                f"{', '.join(given)} only; take objective={'_'.join(given)}, or other pairs"
            )


def real_tokens(batch: PackedBatch) -> Tensor:
    """Return which tokens of a batch are no filler, (tokens,)."""
    ids = batch.tokens.input_ids
    end = batch.tokens.cu_seqlens.index_select(0, (batch.sample_ids >= 0).sum()[None])
    return torch.arange(len(ids), device=ids.device) < end


def weighted_loss(
    quantities: Mapping[str, Quantity], sums: Mapping[str, Tensor], scales: Mapping[str, Tensor | float]
) -> Tensor:
    """Return the loss that is minimized, a scalar.

    A differentiable sum of weight 0 adds nothing, whatever it is, and gives its parameters gradients of 0: DDP and
    FSDP2 wait for a gradient of every parameter.

    Args:
        quantities: What every sum means.
        sums: Sum of every quantity over a batch, scalars.
        scales: Factor that makes a mean of each sum.
    """
    weights = {name: quantity.loss_weight for name, quantity in quantities.items()}
    losses = [weight * scales[name] * sums[name] for name, weight in weights.items() if weight]
    unweighted = [sums[name] for name, weight in weights.items() if not weight and sums[name].requires_grad]
    return torch.stack([*losses, *(0.0 * each.nan_to_num(0.0, 0.0, 0.0) for each in unweighted)]).sum()
