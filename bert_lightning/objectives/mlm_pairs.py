"""Masked tokens and a question about two segments, trained together; what differs between NSP and SOP is the question.

One pass over the last layer serves both heads: it is run for the masked positions and the [CLS] tokens only.
"""

import torch
from torch import Tensor

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import SentencePairHead
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.objective import Quantity
from data_pipeline.pairs.pair_labels import PAIR_LABELS
from data_pipeline.streams.packed_batch import MLM, PackedBatch, Targets


class MaskedLMWithPairs(MaskedLM):
    """Masked tokens, and a label for every pair.

    Args:
        config: Sizes of the encoder.
        attention: How packed sequences attend to themselves.
        mlm_weight: Factor of the masked-token loss.
        chunk_rows: Masked positions whose scores are held at a time; None holds all.
        pair_weight: Factor of the pair loss.
        pair_target: Name of the pair labels; also begins the names of their head, loss and accuracy.
    """

    def __init__(
        self,
        config: EncoderConfig,
        attention: PackedAttention,
        mlm_weight: float,
        chunk_rows: int | None,
        *,
        pair_weight: float,
        pair_target: str,
    ) -> None:
        super().__init__(config, attention, mlm_weight, chunk_rows)
        self.add_module(f"{pair_target}_head", SentencePairHead(config))
        self._pair_target = pair_target
        self.quantities |= pair_quantities(pair_target, pair_weight)

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return summed losses and numbers of right answers."""
        mlm, pairs = batch.targets[MLM], batch.targets[self._pair_target]
        rows = torch.cat([mlm.positions, pairs.positions])  # (predictions + pairs,)
        hidden = self.encoder(batch.tokens, rows)
        masked, first = hidden.split([len(mlm.positions), len(pairs.positions)])
        head = getattr(self, f"{self._pair_target}_head")
        return self.mlm_sums(masked, mlm) | pair_sums(head, self._pair_target, first, pairs)


def pair_quantities(target: str, weight: float) -> dict[str, Quantity]:
    """Return what the sums over pairs mean.

    Args:
        target: Name of the pair labels.
        weight: Factor of the pair loss.
    """
    title = target.upper()
    return {
        f"{target}_loss": Quantity(target, loss_weight=weight, title=f"{title} loss", unit="nats"),
        f"{target}_accuracy": Quantity(target, short_name=target, title=f"{title} accuracy", unit="share"),
        PAIR_LABELS[target].names[1]: Quantity(target),
    }


def pair_sums(head: SentencePairHead, target: str, hidden: Tensor, pairs: Targets) -> dict[str, Tensor]:
    """Return the sums of `pair_quantities`.

    Args:
        head: The head for pairs.
        target: Name of the pair labels.
        hidden: Hidden states of [CLS], (pairs, hidden).
        pairs: The labels.
    """
    loss, right = head(hidden, pairs.labels)
    return {
        f"{target}_loss": loss,
        f"{target}_accuracy": right,
        PAIR_LABELS[target].names[1]: (pairs.labels == 1).sum(),
    }
