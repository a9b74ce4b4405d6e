"""Which entities a model is given for mentions: not always the right ones (ERNIE; Zhang et al., 2019, section 3.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bert_lightning.models.generator import keyed_uniform
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import PackedTokens, Targets


@dataclass(frozen=True, slots=True)
class GivenEntities:
    """The entities that a model is given for the mentions of a batch.

    Attributes:
        entities: Row of each entity in the table, (mentions,); any for a mention that gets none.
        is_shown: Mentions that get an entity, (mentions,).
        is_noised: Mentions that get another entity than theirs, or none, (mentions,); no filler.
    """

    entities: Tensor
    is_shown: Tensor
    is_noised: Tensor


@dataclass(frozen=True, slots=True)
class EntityNoise:
    """Replaces the entities of some mentions, and leaves out those of others (Zhang et al., 2019, section 3.4).

    Attributes:
        num_entities: Entities of the table, from which others are drawn.
        replaced_prob: Probability that a mention gets the entity of another one of the table.
        hidden_prob: Probability that a mention gets no entity.
    """

    num_entities: int
    replaced_prob: float
    hidden_prob: float

    def __post_init__(self) -> None:
        for name in ("replaced_prob", "hidden_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"objective.{name} must be from 0 to 1; got {getattr(self, name)}")
        if self.replaced_prob + self.hidden_prob > 1:
            raise ValueError(
                f"objective.replaced_prob={self.replaced_prob} and objective.hidden_prob={self.hidden_prob} "
                "must be at most 1 together"
            )

    def __call__(self, tokens: PackedTokens, target: Targets) -> GivenEntities:
        """Return what the mentions of a batch are given; their examples decide it, as they decide replaced tokens.

        Args:
            tokens: Packed sequences, masked.
            target: First tokens of the mentions, and their entities.
        """
        is_real, labels = target.labels != NO_LABEL, target.labels.long()
        chance = keyed_uniform(tokens, target.positions)  # (mentions,)
        is_replaced = is_real & (chance < self.replaced_prob)
        is_hidden = is_real & ~is_replaced & (chance < self.replaced_prob + self.hidden_prob)
        others = self.num_entities - 1
        drawn = (keyed_uniform(tokens, target.positions, draw=1) * others).long().clamp(max=others - 1)
        drawn = drawn + (drawn >= labels)  # any but the right one
        entities = torch.where(is_replaced, drawn, labels.clamp(min=0))
        return GivenEntities(entities, is_real & ~is_hidden, is_replaced | is_hidden)
