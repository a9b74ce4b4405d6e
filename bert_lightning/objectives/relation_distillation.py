"""Distillation of relations between tokens in one layer: MiniLM, version 2 (Wang et al., 2021).

Queries are compared with queries, keys with keys and values with values, so student and teacher may differ in width,
depth and number of attention heads.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.padded_heads import padded_heads, real_places
from bert_lightning.models.recorded_attention import RecordedAttention
from bert_lightning.models.useful_flops import step_flops
from bert_lightning.objectives.objective import TOKENS, Objective, Quantity, real_tokens
from bert_lightning.objectives.teacher import Teacher, check_all_pairs, check_weights
from data_pipeline.streams.packed_batch import PackedBatch, PackedTokens
from data_pipeline.whole_numbers import check_whole_number, number_of

RELATIONS = ("query", "key", "value")


class RelationDistillation(Objective):
    """The relations of the last layer's queries, keys and values to each other, as a teacher has them.

    A relation is a softmax over the tokens of a sequence of the products of their vectors, cut into relation heads.
    What the student's last layer does after its queries, keys and values is no part of the loss: its first weights
    only decay, and fine-tuning trains it.

    Args:
        config: Sizes of the student.
        teacher: The teacher; settings have its folder.
        attention: How packed sequences attend to themselves.
        relation_heads: Number of relation heads; both widths are multiples of it.
        teacher_layer: The layer of the teacher, from 1; None for its last one.
        query_weight: Factor of the loss of queries.
        key_weight: Factor of the loss of keys.
        value_weight: Factor of the loss of values.
    """

    def __init__(
        self,
        config: EncoderConfig,
        teacher: Teacher,
        attention: PackedAttention = looped_attention,
        relation_heads: int = 48,
        teacher_layer: int | None = None,
        query_weight: float = 1.0,
        key_weight: float = 1.0,
        value_weight: float = 1.0,
    ) -> None:
        super().__init__()
        weights = {"query_weight": query_weight, "key_weight": key_weight, "value_weight": value_weight}
        check_weights(**weights)
        check_all_pairs("relation_distillation", student=config, teacher=teacher.config)
        check_whole_number("objective.relation_heads", relation_heads)
        check_whole_number("objective.teacher_layer", teacher_layer, or_null=True)
        for name, width in (("model", config.hidden_size), ("objective.teacher", teacher.config.hidden_size)):
            if width % relation_heads:
                raise ValueError(
                    f"objective.relation_heads={relation_heads} does not divide {width}, the hidden_size of {name}"
                )
        depth = teacher.config.num_hidden_layers
        if teacher_layer is not None and teacher_layer > depth:
            raise ValueError(
                f"objective.teacher_layer={teacher_layer}, but objective.teacher has {number_of(depth, 'layer')}"
            )
        self._teacher = (teacher,)  # no submodule
        self._teacher_layer = teacher_layer or depth
        self._relation_heads = relation_heads
        self._recorded = RecordedAttention(attention)
        self.encoder = Encoder(config, self._recorded)
        self.quantities = {
            f"{name}_loss": Quantity(TOKENS, weights[f"{name}_weight"], title=f"loss of {name} relations", unit="nats")
            for name in RELATIONS
        }

    def encoders(self) -> dict[str, Encoder]:
        """Return the student."""
        return {"encoder": self.encoder}

    def frozen(self) -> list[nn.Module]:
        """Return the teacher."""
        return list(self._teacher)

    def external_inputs(self) -> dict[str, str]:
        """Return the teacher, by a digest of its weights."""
        (teacher,) = self._teacher
        return teacher.said()

    def useful_flops(self, tokens: float, squared_lengths: float, counts: Mapping[str, float]) -> float:
        """Return the operations of the student, and of the teacher's forward pass."""
        (teacher,) = self._teacher
        student = step_flops(self.encoder.config, tokens, squared_lengths, 0)
        return student + teacher.useful_flops(tokens, squared_lengths, 0)

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the summed losses."""
        (teacher,) = self._teacher
        ((_, wanted),) = teacher.layers(batch.tokens, [self._teacher_layer]).values()
        assert wanted is not None
        first = self.encoder(batch.tokens, batch.tokens.cu_seqlens[:1])  # (1, hidden): all but one row is spared
        qkv, is_real = self._recorded.taken(), real_tokens(batch)
        # DDP and FSDP2 wait for a gradient of every parameter, also of those after the last layer's queries.
        nothing = 0.0 * first.float().sum()
        losses = {
            f"{name}_loss": relation_loss(qkv[:, part], wanted[:, part], batch.tokens, is_real, self._relation_heads)
            for part, name in enumerate(RELATIONS)
        }
        return {name: loss + nothing for name, loss in losses.items()}


def relation_loss(said: Tensor, wanted: Tensor, tokens: PackedTokens, is_real: Tensor, relation_heads: int) -> Tensor:
    """Return the divergence of relations from a teacher's, a mean over relation heads, summed over tokens.

    Args:
        said: Queries, keys or values of the student, (tokens, heads, head_dim).
        wanted: Those of the teacher; heads and head_dim may be others.
        tokens: The sequences.
        is_real: Which tokens are no filler, (tokens,).
        relation_heads: Number of relation heads.
    """
    ours, theirs = (_log_relations(each.flatten(1), tokens, relation_heads) for each in (said, wanted))
    is_key = real_places(tokens)  # (sequences, keys)
    is_query = is_key & padded_heads(is_real[:, None, None], tokens)[:, 0, :, 0]  # (sequences, queries)
    losses = F.kl_div(ours, theirs, reduction="none", log_target=True)  # (sequences, heads, queries, keys)
    losses = torch.where(is_key[:, None, None], losses, 0.0).sum(-1).mean(1)  # (sequences, queries)
    return torch.where(is_query, losses, 0.0).sum()


def _log_relations(vectors: Tensor, tokens: PackedTokens, relation_heads: int) -> Tensor:
    """Return logarithms of the relations of vectors (tokens, hidden), in fp32, (sequences, heads, queries, keys)."""
    rows = padded_heads(vectors.unflatten(1, (relation_heads, -1)), tokens)  # (sequences, heads, max_seqlen, width)
    products = (rows @ rows.mT).float() * rows.shape[-1] ** -0.5
    lowest = torch.finfo(products.dtype).min
    return products.masked_fill(~real_places(tokens)[:, None, None], lowest).log_softmax(-1)
