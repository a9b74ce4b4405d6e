"""A trained model that another one learns from: frozen, without dropout, and neither trained nor saved with it."""

import hashlib
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import MaskedLMHead
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.recorded_attention import RecordedAttention, recorded_layers
from bert_lightning.models.useful_flops import step_flops
from data_pipeline.streams.packed_batch import PackedTokens

TEACHER = "teacher"
"""What a teacher is called among what is read besides the text."""
_DIGESTED = 64
"""Numbers of each tensor that tell a teacher from others: training changes them all, and so few cost nothing."""
EVENLY = "evenly"
"""Word for layers of the teacher at equal distances."""


class Teacher(nn.Module):
    """An encoder and, if it has one, its head for masked tokens; nothing that it returns has gradients.

    Whoever learns from it keeps it in a tuple, so that it is no submodule.

    Args:
        config: Sizes of the teacher.
        has_mlm_head: Whether it has a head for masked tokens.
        attention: How packed sequences attend to themselves.
    """

    def __init__(
        self, config: EncoderConfig, has_mlm_head: bool = True, attention: PackedAttention = looped_attention
    ) -> None:
        super().__init__()
        self._recorded = RecordedAttention(attention)
        self.encoder = Encoder(config, self._recorded)
        self.mlm_head = MaskedLMHead(config) if has_mlm_head else None
        self.requires_grad_(False).eval()

    @property
    def config(self) -> EncoderConfig:
        """Sizes of the teacher."""
        return self.encoder.config

    def said(self) -> dict[str, str]:
        """Return what tells this teacher from others, as `Objective.external_inputs` does."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.flatten()[:_DIGESTED].float().cpu().numpy().tobytes())
        return {TEACHER: f"a teacher of digest {digest.hexdigest()[:16]}"}

    def hidden(self, tokens: PackedTokens, rows: Tensor | None = None) -> Tensor:
        """Return the last hidden states of packed tokens, (tokens, hidden), or those of some rows."""
        with torch.no_grad():
            return self.encoder(tokens, rows)

    def scores(self, hidden: Tensor) -> Tensor:
        """Return scores over the vocabulary, (rows, padded vocabulary), for hidden states (rows, hidden)."""
        assert self.mlm_head is not None
        with torch.no_grad():
            return self.mlm_head.scores(hidden, self.encoder.embeddings.token.weight)

    def layers(self, tokens: PackedTokens, numbers: Collection[int]) -> dict[int, tuple[Tensor, Tensor | None]]:
        """Return what some layers compute; layers above them are not run.

        Args:
            tokens: Sequences, one after another.
            numbers: The layers, from 1; 0 for the embeddings.

        Returns:
            Hidden states, (tokens, hidden), with queries, keys and values, (tokens, 3, heads, head_dim), by number.
        """
        found = {}
        with torch.no_grad():
            for number, layer in enumerate(recorded_layers(self.encoder, self._recorded, tokens)):
                if number in numbers:
                    found[number] = layer
                if number == max(numbers):
                    break
        return found

    def useful_flops(self, tokens: float, squared_lengths: float, predictions: float) -> float:
        """Return the operations of its forward pass; the arguments are those of `step_flops`."""
        return step_flops(self.config, tokens, squared_lengths, predictions) / 3


def check_weights(**weights: float) -> None:
    """Raise a ValueError if the weight of a loss is negative."""
    for name, weight in weights.items():
        if not weight >= 0:
            raise ValueError(f"objective.{name} must be a number from 0; got {weight}")


def named_layers(key: str, layers: str | Sequence[int], config: EncoderConfig, count: int) -> list[int]:
    """Return layers of a teacher that a user has named.

    Args:
        key: The setting.
        layers: The layers, from 1.
        config: Sizes of the teacher.
        count: The number of layers that is wanted.

    Raises:
        ValueError: if there are more or fewer, or the teacher does not have one of them.
    """
    depth, numbers = config.num_hidden_layers, list(layers)
    if len(numbers) != count or not all(type(number) is int and 1 <= number <= depth for number in numbers):
        raise ValueError(f"{key} must be {EVENLY}, or {count} numbers from 1 to {depth}; got {layers}")
    return [number for number in numbers if isinstance(number, int)]


def check_all_pairs(objective: str, **configs: EncoderConfig) -> None:
    """Raise a ValueError if there are tokens that do not see the whole of their sequence.

    Args:
        objective: Name of the objective.
        **configs: Sizes of the models by their names.
    """
    for name, config in configs.items():
        if config.has_windows:
            what = "is_causal=true" if config.is_causal else f"local_attention={config.local_attention}"
            raise ValueError(
                f"objective={objective} compares all pairs of tokens of a sequence, but the {name} has {what}"
            )
