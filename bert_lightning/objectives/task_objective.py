"""What the objectives of fine-tuning tasks share: scores, which predictions come from, and losses made of the scores.

A subclass gives `scores` and `sums`, never a `forward` of its own: whoever measures a model listens to the scores of
the one forward pass there is, so sharded and compiled models are measured as they are trained.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from bert_lightning.models.encoder import Encoder, initialize
from bert_lightning.models.layer_reading import LayerReading
from bert_lightning.models.useful_flops import step_flops
from bert_lightning.objectives.objective import Objective, Quantity
from bert_lightning.objectives.soft_targets import soft_losses
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import PackedBatch, PackedTokens
from data_pipeline.tasks.encoded import LABELS


class TaskObjective(Objective):
    """An encoder with a new head; a subclass sets the attributes below, and gives `scores` and `sums`.

    Args:
        encoder: The encoder.

    Attributes:
        quantities: What every sum means, by name.
        readers: Names of the linear layers that take hidden states.
        score_rows: Name of the target of which every row gets a row of scores; `task_packing.TOKENS` for one a token.
        counted_by: Name of the target whose labels say for which rows a teacher's scores count.
        listener: Called with every batch and its scores while it is set.
    """

    readers: tuple[str, ...]
    score_rows: str
    counted_by: str = LABELS
    listener: Callable[[PackedBatch, Tensor], None] | None = None

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self._reading = LayerReading()
        self._is_frozen = False
        self._teacher: tuple[TaskObjective, ...] = ()  # no submodule
        self._temperature = 1.0

    def encoders(self) -> dict[str, Encoder]:
        """Return the one encoder."""
        return {"encoder": self.encoder}

    def read_layers(self, reading: LayerReading) -> None:
        """Have the head read other hidden states than those of the last layer; it is widened if they are wider.

        Raises:
            ValueError: if the encoder does not have the layers.
        """
        config = self.encoder.config
        reading.check(config)
        width = reading.width(config.hidden_size)
        for name in self.readers:
            narrow = self.get_submodule(name)
            assert isinstance(narrow, nn.Linear)
            if narrow.in_features != width:
                bias, device = narrow.bias is not None, narrow.weight.device
                wide = nn.Linear(width, narrow.out_features, bias=bias, device=device)
                initialize(wide, config)
                self.set_submodule(name, wide)
        self._reading = reading

    def learn_from(self, teacher: "TaskObjective", weight: float = 1.0, temperature: float = 1.0) -> None:
        """Learn what a fine-tuned model scores, beside the labels or instead of them (Jiao et al., 2020, equation 10).

        Args:
            teacher: A model of the same task; it is frozen and has no dropout.
            weight: Share of the loss that the teacher's scores have; the labels have the rest.
            temperature: What the scores of both models are divided by before a softmax.
        """
        unit = next(iter(self.quantities.values())).unit
        self.quantities = {
            name: replace(each, loss_weight=(1 - weight) * each.loss_weight) for name, each in self.quantities.items()
        }
        self.quantities["soft_loss"] = Quantity(self.counted_by, weight, title="loss of soft labels", unit=unit)
        self._teacher = (teacher.requires_grad_(False).eval(),)
        self._temperature = temperature

    def frozen(self) -> list[nn.Module]:
        """Return the teacher, if there is one."""
        return list(self._teacher)

    def freeze_encoder(self) -> None:
        """Train the head alone: the encoder keeps its weights and has no dropout."""
        self._is_frozen = True
        self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "TaskObjective":
        """Set the mode of everything but a frozen encoder, which stays as it is evaluated."""
        super().train(mode)
        if self._is_frozen:
            self.encoder.eval()
        return self

    def hidden(self, tokens: PackedTokens, rows: Tensor | None = None) -> Tensor:
        """Return what the head reads of chosen tokens, (rows, hidden); without gradients if the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._is_frozen):
            return self._reading(self.encoder, tokens, rows)

    def scores(self, batch: PackedBatch) -> Tensor:
        """Return the output of the head, one row for each row of `score_rows`, filler included; no softmax."""
        raise NotImplementedError

    def sums(self, scores: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the sum of every quantity over the labels of a batch, from its scores."""
        raise NotImplementedError

    def soft_sum(self, scores: Tensor, taught: Tensor, batch: PackedBatch, temperature: float) -> Tensor:
        """Return the divergence from the scores of a teacher, summed over rows that have a label.

        Args:
            scores: What `scores` returns.
            taught: The same of a teacher.
            batch: The batch.
            temperature: What the scores of both are divided by before the softmax.
        """
        is_labeled = batch.targets[self.counted_by].labels != NO_LABEL
        return torch.where(is_labeled, soft_losses(scores, taught, temperature), 0.0).sum()

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the sum of every quantity over the labels of a batch: scalars, losses differentiable."""
        scores = self.scores(batch)
        if self.listener is not None:
            self.listener(batch, scores.detach())
        sums = self.sums(scores, batch)
        for teacher in self._teacher:
            with torch.no_grad():
                taught = teacher.scores(batch)
            sums["soft_loss"] = self.soft_sum(scores, taught, batch, self._temperature)
        return sums

    def useful_flops(self, tokens: float, squared_lengths: float, counts: Mapping[str, float]) -> float:
        """Return the operations of the encoders; a frozen one has no backward pass. The head counts for nothing."""
        own, *taught = (
            step_flops(each.encoder.config, tokens, squared_lengths, predictions=0) for each in (self, *self._teacher)
        )
        return (own / 3 if self._is_frozen else own) + sum(taught) / 3
