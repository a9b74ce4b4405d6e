"""Distillation layer by layer: what TinyBERT learns from a general teacher (Jiao et al., 2020, section 3).

The student may be narrower than the teacher. It has no head: masked tokens are no part of what it learns.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import Encoder, initialize
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.padded_heads import padded_heads, real_places
from bert_lightning.models.recorded_attention import RecordedAttention, recorded_layers
from bert_lightning.models.useful_flops import step_flops
from bert_lightning.objectives.objective import TOKENS, Objective, Quantity, real_tokens
from bert_lightning.objectives.teacher import EVENLY, Teacher, check_all_pairs, check_weights, named_layers
from data_pipeline.streams.packed_batch import PackedBatch, PackedTokens
from data_pipeline.whole_numbers import number_of


class LayerDistillation(Objective):
    """Embeddings, attention scores and hidden states of a teacher, as squared differences.

    Attention scores are compared before the softmax. One learned linear layer makes embeddings and hidden states as
    wide as the teacher's. A loss is a mean for each token, summed over the layers of the student.

    Args:
        config: Sizes of the student.
        teacher: The teacher; settings have its folder.
        attention: How packed sequences attend to themselves.
        embedding_weight: Factor of the loss of the embeddings.
        attention_weight: Factor of the loss of the attention scores.
        hidden_weight: Factor of the loss of the hidden states.
        teacher_layers: The layer of the teacher, from 1, that each layer of the student learns from; "evenly" for the
            last one of each of as many blocks of equal size.
    """

    def __init__(
        self,
        config: EncoderConfig,
        teacher: Teacher,
        attention: PackedAttention = looped_attention,
        embedding_weight: float = 1.0,
        attention_weight: float = 1.0,
        hidden_weight: float = 1.0,
        teacher_layers: str | Sequence[int] = EVENLY,
    ) -> None:
        super().__init__()
        check_weights(embedding_weight=embedding_weight, attention_weight=attention_weight, hidden_weight=hidden_weight)
        check_all_pairs("layer_distillation", student=config, teacher=teacher.config)
        heads, taught_heads = config.num_attention_heads, teacher.config.num_attention_heads
        if heads != taught_heads:
            raise ValueError(
                f"model.num_attention_heads={heads}, but objective.teacher has {taught_heads}: objective="
                "layer_distillation compares the scores of each head; objective=relation_distillation takes any number"
            )
        self._teacher = (teacher,)  # no submodule
        self._numbers = _teacher_layers(teacher_layers, config, teacher.config)
        self._recorded = RecordedAttention(attention)
        self.encoder = Encoder(config, self._recorded)
        self.width_projection = nn.Linear(config.hidden_size, teacher.config.hidden_size)
        initialize(self.width_projection, config)
        self.quantities = {
            "embedding_loss": Quantity(TOKENS, embedding_weight, title="loss of embeddings", unit="squared"),
            "attention_loss": Quantity(TOKENS, attention_weight, title="loss of attention scores", unit="squared"),
            "hidden_loss": Quantity(TOKENS, hidden_weight, title="loss of hidden states", unit="squared"),
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
        """Return the operations of the student and its linear layer, and of the teacher's forward pass."""
        config, (teacher,) = self.encoder.config, self._teacher
        states = config.num_hidden_layers + 1
        projection = 6 * states * config.hidden_size * teacher.config.hidden_size * tokens
        student = step_flops(config, tokens, squared_lengths, 0)
        return student + projection + teacher.useful_flops(tokens, squared_lengths, 0)

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the summed losses."""
        (teacher,) = self._teacher
        taught = teacher.layers(batch.tokens, [0, *self._numbers])
        is_real = real_tokens(batch)  # (tokens,)
        hidden_losses, attention_losses = [], []
        layers = recorded_layers(self.encoder, self._recorded, batch.tokens)
        for number, (hidden, qkv) in zip((0, *self._numbers), layers, strict=True):
            wanted, wanted_qkv = taught[number]
            hidden_losses.append(self._hidden_loss(hidden, wanted, is_real))
            if qkv is not None and wanted_qkv is not None:
                attention_losses.append(attention_loss(qkv, wanted_qkv, batch.tokens, is_real))
        return {
            "embedding_loss": hidden_losses[0],
            "attention_loss": torch.stack(attention_losses).sum(),
            "hidden_loss": torch.stack(hidden_losses[1:]).sum(),
        }

    def _hidden_loss(self, hidden: Tensor, wanted: Tensor, is_real: Tensor) -> Tensor:
        """Return the mean squared difference of each token, summed over tokens; states are (tokens, hidden)."""
        difference = self.width_projection(hidden).float() - wanted.float()  # (tokens, the teacher's hidden)
        return torch.where(is_real, difference.square().mean(-1), 0.0).sum()


def attention_loss(qkv: Tensor, wanted: Tensor, tokens: PackedTokens, is_real: Tensor) -> Tensor:
    """Return the squared difference of attention scores, a mean over heads and keys, summed over queries.

    Args:
        qkv: Queries, keys and values of the student, (tokens, 3, heads, head_dim).
        wanted: Those of the teacher; head_dim may be another.
        tokens: The sequences.
        is_real: Which tokens are no filler, (tokens,).
    """
    difference = _scores(qkv, tokens) - _scores(wanted, tokens)  # (sequences, heads, queries, keys)
    is_key = real_places(tokens)  # (sequences, keys)
    is_query = is_key & padded_heads(is_real[:, None, None], tokens)[:, 0, :, 0]  # (sequences, queries)
    losses = torch.where(is_key[:, None, None], difference.square(), 0.0).sum(-1).mean(1)  # (sequences, queries)
    return torch.where(is_query, losses / is_key.sum(-1, keepdim=True).clamp(min=1), 0.0).sum()


def _scores(qkv: Tensor, tokens: PackedTokens) -> Tensor:
    """Return attention scores before the softmax, in fp32, (sequences, heads, queries, keys)."""
    query, key = (padded_heads(each, tokens) for each in qkv.unbind(1)[:2])
    return (query @ key.mT).float() * query.shape[-1] ** -0.5


def _teacher_layers(layers: str | Sequence[int], config: EncoderConfig, taught: EncoderConfig) -> list[int]:
    """Return the layer of the teacher for each layer of the student (Jiao et al., 2020, equation 6)."""
    count, depth = config.num_hidden_layers, taught.num_hidden_layers
    if layers != EVENLY:
        return named_layers("objective.teacher_layers", layers, taught, count)
    if depth % count:
        raise ValueError(
            f"objective.teacher_layers=evenly needs a teacher whose {depth} layers are a multiple of "
            f"model.num_hidden_layers={count}; give a list of {number_of(count, 'layer')}"
        )
    return [(number + 1) * depth // count for number in range(count)]
