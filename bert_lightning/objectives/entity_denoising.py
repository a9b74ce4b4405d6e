"""Masked tokens, pairs, and the entities that a text mentions (ERNIE; Zhang et al., 2019).

Layers of the encoder read the entities of mentions. Some entities are replaced by random ones, some are left out; for
every mention the objective asks which of the entities of its example is meant (section 3.4, dEA).
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import SentencePairHead
from bert_lightning.models.knowledge.entity_fusion import (
    EntitySizes,
    Mentions,
    encode_with_entities,
    fuse,
    fusion_flops,
    same_example,
)
from bert_lightning.models.knowledge.entity_head import Choices, EntityHead
from bert_lightning.models.knowledge.entity_noise import EntityNoise, GivenEntities
from bert_lightning.models.knowledge.entity_vectors import EntityVectors
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_pairs import pair_quantities, pair_sums
from bert_lightning.objectives.objective import Quantity
from data_pipeline.pairs.pair_labels import PAIR_LABELS
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import ENTITIES, MLM, PackedBatch, PackedTokens, Targets


class EntityDenoising(MaskedLM):
    """Masked tokens, a label for every pair if the examples are pairs, and the entity of every mention.

    Args:
        config: Sizes of the encoder.
        entities: Vectors of the entities, those of the prepared data.
        attention: How packed sequences attend to themselves.
        mlm_weight: Factor of the masked-token loss.
        pair_target: Name of the pair labels, "nsp" or "sop"; None for masked tokens and entities alone.
        pair_weight: Factor of the pair loss.
        entity_weight: Factor of the loss of entities.
        fusion_layers: Layers, from 1, that read entities; None for the upper half.
        entity_heads: Attention heads of the entities.
        replaced_prob: Probability that a mention gets the entity of another one of the table.
        hidden_prob: Probability that a mention gets no entity.
        chunk_rows: Masked positions whose scores are held at a time; None holds all.
    """

    keeps_shapes = False
    reads_entities = True

    def __init__(
        self,
        config: EncoderConfig,
        entities: EntityVectors,
        attention: PackedAttention = looped_attention,
        mlm_weight: float = 1.0,
        pair_target: str | None = "nsp",
        pair_weight: float = 1.0,
        entity_weight: float = 1.0,
        fusion_layers: Sequence[int] | None = None,
        entity_heads: int = 4,
        replaced_prob: float = 0.05,
        hidden_prob: float = 0.15,
        chunk_rows: int | None = None,
    ) -> None:
        super().__init__(config, attention, mlm_weight, chunk_rows)
        if config.shared_parameters != "none":
            raise ValueError(
                f"model.shared_parameters={config.shared_parameters}, but objective=entity_denoising needs layers "
                "with weights of their own; take none"
            )
        self.noise = EntityNoise(entities.num_entities, replaced_prob, hidden_prob)
        self._entities = (entities,)  # no submodule
        numbers = chosen_layers(fusion_layers, config.num_hidden_layers)
        self._num_fused = len(numbers)
        fuse(self.encoder, attention, numbers, EntitySizes(entities.entity_size, entity_heads))
        self.entity_head = EntityHead(config, entities.entity_size)
        self._pair_target = checked_pairs(pair_target)
        if self._pair_target is not None:
            self.add_module(f"{self._pair_target}_head", SentencePairHead(config))
            self.quantities |= pair_quantities(self._pair_target, pair_weight)
        self.quantities |= {
            "entity_loss": Quantity(ENTITIES, loss_weight=entity_weight, title="entity loss", unit="nats"),
            "entity_accuracy": Quantity(ENTITIES, short_name="entity", title="entity accuracy", unit="share"),
            "entity_chance": Quantity(ENTITIES, title="entity accuracy of guesses", unit="share"),
            "noised_share": Quantity(ENTITIES),
            "recovered_share": Quantity(ENTITIES),
        }

    def frozen(self) -> list[nn.Module]:
        """Return the vectors of the entities."""
        return list(self._entities)

    def external_inputs(self) -> dict[str, str]:
        """Return the vectors of the entities by their hash."""
        (entities,) = self._entities
        return {"entity vectors": f"entity vectors of sha256 {entities.sha256}"}

    def check_targets(self, given: Collection[str], source: str) -> None:
        """Raise a ValueError if batches have no labels of the pairs that the objective asks about."""
        if self._pair_target is not None and self._pair_target not in given:
            raise ValueError(
                f"objective.pair_target={self._pair_target}, but {source} gives {', '.join(given)} only; take "
                "objective.pair_target=null, or other pairs"
            )
        super().check_targets(given, source)

    def useful_flops(self, tokens: float, squared_lengths: float, counts: Mapping[str, float]) -> float:
        """Return the operations of the encoder, of scores over the vocabulary, and of the entities' side."""
        (entities,), config, mentions = self._entities, self.encoder.config, counts[ENTITIES]
        head = 6 * config.hidden_size * entities.entity_size * mentions
        fusion = fusion_flops(config, entities.entity_size, self._num_fused, mentions)
        return super().useful_flops(tokens, squared_lengths, counts) + fusion + head

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return summed losses and numbers of right answers."""
        names = [MLM, ENTITIES] if self._pair_target is None else [MLM, ENTITIES, self._pair_target]
        asked = [batch.targets[name] for name in names]
        mlm, mentioned, *pairs = asked
        (entities,) = self._entities
        given = self.noise(batch.tokens, mentioned)
        rows = torch.cat([target.positions for target in asked])  # (predictions + mentions + pairs,)
        mentions = Mentions.of(batch.tokens, mentioned.positions, given.is_shown)
        hidden = encode_with_entities(self.encoder, batch.tokens, mentions, entities(given.entities), rows)
        masked, first_tokens, *cls = hidden.split([len(target.positions) for target in asked])
        sums = self.mlm_sums(masked, mlm) | self._entity_sums(first_tokens, batch.tokens, mentioned, given)
        if self._pair_target is None:
            return sums
        return sums | pair_sums(getattr(self, f"{self._pair_target}_head"), self._pair_target, cls[0], pairs[0])

    def _entity_sums(
        self, hidden: Tensor, tokens: PackedTokens, target: Targets, given: GivenEntities
    ) -> dict[str, Tensor]:
        """Return the sums over mentions for the hidden states of their first tokens, (mentions, hidden)."""
        (entities,), is_asked = self._entities, target.labels != NO_LABEL
        meant = target.labels.clamp(min=0)
        choices = Choices.of(same_example(tokens, target.positions, is_asked), meant, is_asked)
        loss, is_found = self.entity_head(hidden, entities(meant), choices)
        return {
            "entity_loss": loss,
            "entity_accuracy": is_found.sum(),
            "entity_chance": choices.chance(),
            "noised_share": given.is_noised.sum(),
            "recovered_share": (is_found & given.is_noised).sum(),
        }


def chosen_layers(layers: Sequence[int] | None, depth: int) -> list[int]:
    """Return layers, counted from 0, that a user has counted from 1; the upper half for None.

    >>> chosen_layers(None, 5), chosen_layers([2], 5)
    ([2, 3, 4], [1])

    Raises:
        ValueError: if the encoder does not have one of them, or one is named twice.
    """
    if layers is None:
        return list(range(depth // 2, depth))
    numbers = list(layers)
    is_whole = all(type(number) is int and 1 <= number <= depth for number in numbers)
    if not numbers or not is_whole or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"objective.fusion_layers must be null, or different numbers from 1 to model.num_hidden_layers={depth}; "
            f"got {layers}"
        )
    return [number - 1 for number in numbers]


def checked_pairs(target: str | None) -> str | None:
    """Return the name of pair labels; ValueError if there are none of the name."""
    if target not in (None, *PAIR_LABELS):
        raise ValueError(f"objective.pair_target must be one of null, {', '.join(PAIR_LABELS)}; got {target}")
    return target
