"""Distillation of a masked language model into one with fewer layers (DistilBERT, Sanh et al., 2019).

The student learns the teacher's scores, made softer by a temperature, the masked tokens themselves, and the direction
of the teacher's last hidden states.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.objective import TOKENS, Quantity, real_tokens
from bert_lightning.objectives.soft_targets import soft_losses
from bert_lightning.objectives.teacher import EVENLY, Teacher, check_weights, named_layers
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import MLM, PackedBatch

ALL, MASKED = "all", "masked"
_MAY_DIFFER = ("num_hidden_layers", "type_vocab_size", "pad_token_id")
"""Sizes that a student which begins with layers of its teacher need not have in common with it."""


class Distillation(MaskedLM):
    """Soft targets, masked tokens and hidden states of a teacher.

    Args:
        config: Sizes of the student.
        teacher: The teacher; settings have its folder.
        attention: How packed sequences attend to themselves.
        soft_weight: Factor of the divergence from the teacher's scores.
        mlm_weight: Factor of the masked-token loss.
        cosine_weight: Factor of the distance between the directions of hidden states.
        temperature: What the scores of both models are divided by before the softmax.
        taught_tokens: Tokens on which the teacher teaches: "all", or the "masked" ones, which spares both models most
            of the last layer and of the scores.
        init_layers: Layers of the teacher, from 1, that the student begins with, its embeddings and its head besides;
            "evenly" for layers at equal distances, None for new weights.
        chunk_rows: Tokens whose scores are held at a time; None holds all.
    """

    def __init__(
        self,
        config: EncoderConfig,
        teacher: Teacher,
        attention: PackedAttention = looped_attention,
        soft_weight: float = 5.0,
        mlm_weight: float = 2.0,
        cosine_weight: float = 1.0,
        temperature: float = 2.0,
        taught_tokens: str = ALL,
        init_layers: str | Sequence[int] | None = EVENLY,
        chunk_rows: int | None = None,
    ) -> None:
        super().__init__(config, attention, mlm_weight, chunk_rows)
        check_weights(soft_weight=soft_weight, mlm_weight=mlm_weight, cosine_weight=cosine_weight)
        if not temperature > 0:
            raise ValueError(f"objective.temperature must be above 0; got {temperature}")
        if taught_tokens not in (ALL, MASKED):
            raise ValueError(f"objective.taught_tokens must be one of {ALL}, {MASKED}; got {taught_tokens}")
        if teacher.mlm_head is None:
            raise ValueError("objective.teacher has no head for masked tokens, which objective=distillation needs")
        if cosine_weight and teacher.config.hidden_size != config.hidden_size:
            raise ValueError(
                f"objective.cosine_weight={cosine_weight} compares hidden states, but model.hidden_size="
                f"{config.hidden_size} and objective.teacher has {teacher.config.hidden_size}; take 0"
            )
        self._teacher = (teacher,)  # no submodule
        self._temperature = temperature
        self._is_dense = taught_tokens == ALL
        self._has_cosine = cosine_weight > 0
        if init_layers is not None:
            self._begin_with(init_layers, teacher)
        target = TOKENS if self._is_dense else MLM
        self.quantities |= {
            "soft_loss": Quantity(target, loss_weight=soft_weight, title="loss of soft targets", unit="nats")
        }
        if self._has_cosine:
            self.quantities["cosine_loss"] = Quantity(
                target, loss_weight=cosine_weight, title="cosine distance", unit="distance"
            )

    def frozen(self) -> list[torch.nn.Module]:
        """Return the teacher."""
        return list(self._teacher)

    def external_inputs(self) -> dict[str, str]:
        """Return the teacher, by a digest of its weights."""
        (teacher,) = self._teacher
        return teacher.said()

    def useful_flops(self, tokens: float, squared_lengths: float, counts: Mapping[str, float]) -> float:
        """Return the operations of the student, and of the teacher's forward pass."""
        scored = tokens if self._is_dense else counts[MLM]
        (teacher,) = self._teacher
        student = super().useful_flops(tokens, squared_lengths, {**counts, MLM: scored})
        return student + teacher.useful_flops(tokens, squared_lengths, scored)

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return summed losses and the number of right answers."""
        target, (teacher,) = batch.targets[MLM], self._teacher
        rows = None if self._is_dense else target.positions
        is_counted = real_tokens(batch) if self._is_dense else target.labels != NO_LABEL  # (rows,)
        hidden, taught = self.encoder(batch.tokens, rows), teacher.hidden(batch.tokens, rows)  # (rows, hidden)
        masked = hidden.index_select(0, target.positions) if self._is_dense else hidden
        sums = self.mlm_sums(masked, target) | {"soft_loss": self._soft_sum(hidden, taught, is_counted)}
        if self._has_cosine:
            distances = 1 - F.cosine_similarity(hidden.float(), taught.float(), dim=-1)  # (rows,)
            sums["cosine_loss"] = torch.where(is_counted, distances, 0.0).sum()
        return sums

    def _soft_sum(self, hidden: Tensor, taught: Tensor, is_counted: Tensor) -> Tensor:
        """Return the summed loss of soft targets; scores of more rows than `chunk_rows` are computed again backward."""
        chunk_rows = self.mlm_head.chunk_rows
        # The compiler decides by itself what it computes again, and cannot follow `checkpoint` into the teacher.
        if chunk_rows is None or torch.compiler.is_compiling():
            return self._soft_part(hidden, taught, is_counted)
        parts = zip(*(each.split(chunk_rows) for each in (hidden, taught, is_counted)), strict=True)
        return torch.stack([checkpoint(self._soft_part, *part, use_reentrant=False) for part in parts]).sum()

    def _soft_part(self, hidden: Tensor, taught: Tensor, is_counted: Tensor) -> Tensor:
        (teacher,) = self._teacher
        size = self.encoder.config.vocab_size
        scores = self.mlm_head.scores(hidden, self.encoder.embeddings.token.weight)[:, :size]
        losses = soft_losses(scores, teacher.scores(taught)[:, :size], self._temperature)
        return torch.where(is_counted, losses, 0.0).sum()

    def _begin_with(self, layers: str | Sequence[int], teacher: Teacher) -> None:
        """Copy embeddings, layers and head of the teacher; those that the student does not have are left out."""
        config, depth = self.encoder.config, teacher.config.num_hidden_layers
        for name in config.differences(teacher.config):
            if name not in _MAY_DIFFER:
                raise ValueError(
                    f"model.{name}={getattr(config, name)}, but objective.teacher has {getattr(teacher.config, name)}; "
                    "they must be equal, or objective.init_layers=null"
                )
        count = config.num_hidden_layers
        if layers == EVENLY and count <= depth:
            numbers = [1 + number * depth // count for number in range(count)]
        else:
            numbers = named_layers("objective.init_layers", layers, teacher.config, count)
        _check_kinds(config, teacher.config, numbers)
        _check_shared(self.encoder, teacher.encoder, numbers)
        if self.mlm_head.bias.is_meta:  # another rank has the weights
            return
        given = teacher.encoder.embeddings.state_dict()
        own = self.encoder.embeddings.state_dict()
        kept = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
        self.encoder.embeddings.load_state_dict(own | kept)
        path = teacher.encoder.layers_in_order()
        for layer, number in zip(self.encoder.layers_in_order(), numbers, strict=True):
            layer.load_state_dict(path[number - 1].state_dict())
        if self.encoder.norm is not None and teacher.encoder.norm is not None:
            self.encoder.norm.load_state_dict(teacher.encoder.norm.state_dict())
        assert teacher.mlm_head is not None
        self.mlm_head.load_state_dict(teacher.mlm_head.state_dict())


def _check_shared(student: Encoder, taught: Encoder, numbers: Sequence[int]) -> None:
    """Raise a ValueError if weights that layers of the student share would get those of layers that do not share them.

    Args:
        student: Encoder of the student.
        taught: Encoder of the teacher.
        numbers: The layer of the teacher, from 1, for each layer of the student.
    """
    firsts: dict[int, tuple[int, Parameter]] = {}
    path = taught.layers_in_order()
    for layer, (own, number) in enumerate(zip(student.layers_in_order(), numbers, strict=True), 1):
        given = dict(path[number - 1].named_parameters())
        for name, parameter in own.named_parameters():
            first, wanted = firsts.setdefault(id(parameter), (layer, given[name]))
            if wanted is not given[name]:
                raise ValueError(
                    f"objective.init_layers gives the layers {first} and {layer} of the student, which share weights, "
                    f"those of layers {numbers[first - 1]} and {number} of the teacher, which do not; name layers of "
                    "one group, or null for new weights"
                )


def _check_kinds(config: EncoderConfig, taught: EncoderConfig, numbers: Sequence[int]) -> None:
    """Raise a ValueError if a layer of the student would get the weights of a layer of another kind.

    Args:
        config: Sizes of the student.
        taught: Sizes of the teacher.
        numbers: The layer of the teacher, from 1, for each layer of the student.
    """
    for layer, number in enumerate(numbers):
        other = number - 1
        kinds = {
            "local attention": (config.is_local(layer), taught.is_local(other)),
            "LayerNorm before its attention": (not config.reads_normalized(layer), not taught.reads_normalized(other)),
            "rotary base": (config.theta_of(layer), taught.theta_of(other)),
        }
        for what, (ours, theirs) in kinds.items():
            if ours != theirs:
                raise ValueError(
                    f"objective.init_layers gives layer {layer + 1} of the student the weights of layer {number} of "
                    f"the teacher, which differ in {what}: {ours} here, {theirs} there; name layers of the same kind, "
                    "or null for new weights"
                )
