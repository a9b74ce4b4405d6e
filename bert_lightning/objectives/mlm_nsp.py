"""What a model is trained on: a batch goes in, sums of losses and metrics come out.

Sums, not means: the trainer divides by how many predictions the whole step has on all ranks, so gradients do not depend
on how a global batch is split.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from bert_lightning.models.attention import PackedAttention, looped_attention
from bert_lightning.models.encoder import Encoder, EncoderConfig
from bert_lightning.models.heads import MaskedLMHead, SentencePairHead
from data_pipeline.streams.packing import PackedBatch


class ObjectiveOutput(NamedTuple):
    """Sums over the predictions of a batch.

    Attributes:
        losses: Differentiable sums in fp32, by name.
        metrics: Sums without gradient, by name.
    """

    losses: dict[str, Tensor]
    metrics: dict[str, Tensor]


class Objective(Protocol):
    """What the training module needs of an objective, which is also an nn.Module."""

    encoder: Encoder
    loss_weights: dict[str, float]

    def counts(self, batch: PackedBatch) -> dict[str, int]:
        """Return how many predictions each loss and metric sums over, from what the host knows."""

    def __call__(self, batch: PackedBatch) -> ObjectiveOutput:
        """Return the sums of a batch."""


class MaskedLMWithNSP(nn.Module):
    """BERT's joint objective: masked tokens and next-sentence (or sentence-order) prediction (section 3.1).

    Args:
        config: The encoder.
        attention: How packed sequences attend to themselves.
        mlm_weight: Factor of the masked-token loss.
        nsp_weight: Factor of the sentence-pair loss.
        chunk_rows: Masked positions whose scores are held at a time; None holds all.
    """

    def __init__(
        self,
        config: EncoderConfig,
        attention: PackedAttention = looped_attention,
        mlm_weight: float = 1.0,
        nsp_weight: float = 1.0,
        chunk_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(config, attention)
        self.mlm_head = MaskedLMHead(config, chunk_rows)
        self.nsp_head = SentencePairHead(config)
        self.loss_weights = {"mlm_loss": mlm_weight, "nsp_loss": nsp_weight}

    def counts(self, batch: PackedBatch) -> dict[str, int]:
        """Return how many predictions each loss and metric sums over, from what the host knows."""
        masked, pairs = batch.num_predictions, batch.num_labelled_pairs
        return {
            "mlm_loss": masked,
            "mlm_accuracy": masked,
            "nsp_loss": pairs,
            "nsp_accuracy": pairs,
            "random_next": pairs,
        }

    def forward(self, batch: PackedBatch) -> ObjectiveOutput:
        """Return summed losses and numbers of right answers.

        One pass over the last layer serves both heads: it is run for the masked positions and the [CLS] tokens only.
        """
        rows = torch.cat([batch.masked_positions, batch.cls_positions])  # (predictions + pairs,)
        hidden = self.encoder(batch, rows)
        masked, first = hidden.split([len(batch.masked_positions), len(batch.cls_positions)])
        mlm_loss, mlm_right = self.mlm_head(masked, self.encoder.embeddings.token.weight, batch.mlm_labels)
        nsp_loss, nsp_right = self.nsp_head(first, batch.nsp_labels)
        return ObjectiveOutput(
            losses={"mlm_loss": mlm_loss, "nsp_loss": nsp_loss},
            metrics={
                "mlm_accuracy": mlm_right,
                "nsp_accuracy": nsp_right,
                "random_next": (batch.nsp_labels == 1).sum(),
            },
        )
