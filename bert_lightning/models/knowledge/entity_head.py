"""Which entity does a mention mean? A choice among the entities of its example (ERNIE; Zhang et al., 2019, eq. 6)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bert_lightning.models.encoder import initialize
from bert_lightning.models.encoder_config import EncoderConfig


@dataclass(frozen=True, slots=True)
class Choices:
    """The entities that each mention is asked to choose from: those of its example, each once.

    Attributes:
        is_candidate: Whether the entity of a mention, a column, is a candidate of another mention, a row, (mentions,
            mentions). An entity that an example mentions twice is the candidate at its first mention.
        is_right: Whether it is the right one; true once in each row, (mentions, mentions).
        is_asked: Mentions that are no filler, (mentions,).
    """

    is_candidate: Tensor
    is_right: Tensor
    is_asked: Tensor

    @staticmethod
    def of(is_same_example: Tensor, entities: Tensor, is_asked: Tensor) -> "Choices":
        """Return the choices of all mentions.

        Args:
            is_same_example: Which mentions are in the example of which, (mentions, mentions); filler is with itself.
            entities: Row of each mention's entity in the table, (mentions,).
            is_asked: Mentions that are no filler, (mentions,).
        """
        is_same_entity = is_same_example & (entities[:, None] == entities)
        is_first = ~is_same_entity.tril(-1).any(-1)  # (mentions,)
        return Choices(is_same_example & is_first, is_same_entity & is_first, is_asked)

    def chance(self) -> Tensor:
        """Return how many right answers are expected of guesses, a scalar."""
        return torch.where(self.is_asked, 1 / self.is_candidate.sum(-1), 0.0).sum()


class EntityHead(nn.Module):
    """Scores of entities for the hidden state of a mention's first token: linear(w) . e, e from the frozen table.

    Args:
        config: Sizes of the encoder.
        entity_size: Length of an entity's vector.
    """

    def __init__(self, config: EncoderConfig, entity_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(config.hidden_size, entity_size)
        initialize(self, config)

    def forward(self, hidden: Tensor, vectors: Tensor, choices: Choices) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy, and which mentions are answered right, (mentions,).

        An answer is right if every other candidate has a lower score.

        Args:
            hidden: Hidden states of the first tokens of mentions, (mentions, hidden).
            vectors: Vectors of the entities that are meant, (mentions, entity).
            choices: What each mention is to choose from.
        """
        scores = (self.projection(hidden) @ vectors.mT).float()  # (mentions, mentions)
        of_right = torch.where(choices.is_right, scores, 0.0).sum(-1)  # (mentions,)
        losses = scores.masked_fill(~choices.is_candidate, -torch.inf).logsumexp(-1) - of_right
        is_beaten = (scores >= of_right[:, None]) & choices.is_candidate & ~choices.is_right
        is_found = choices.is_asked & ~is_beaten.detach().any(-1)
        return torch.where(choices.is_asked, losses, 0.0).sum(), is_found
