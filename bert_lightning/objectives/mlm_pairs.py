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
from data_pipeline.streams.packing import MLM, PackedBatch, Targets


class MaskedLMWithPairs(MaskedLM):
    """Masked tokens, and a label for every pair.

    Args:
        config: Sizes of the encoder.
        attention: How packed sequences attend to themselves.
        mlm_weight: Factor of the masked-token loss.
        chunk_rows: Masked positions whose scores are held at a time; None holds all.
        pair_weight: Factor of the pair loss.
        pair_target: Name of the pair labels; also begins the names of their head, loss and accuracy.
        share_name: Name of the metric that is the share of pairs with label 1.
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
        share_name: str,
    ) -> None:
        super().__init__(config, attention, mlm_weight, chunk_rows)
        self.add_module(f"{pair_target}_head", SentencePairHead(config))
        self._pair_target = pair_target
        self._share_name = share_name
        self.quantities |= {
            f"{pair_target}_loss": Quantity(
                pair_target, loss_weight=pair_weight, title=f"{pair_target.upper()} loss", unit="nats"
            ),
            f"{pair_target}_accuracy": Quantity(
                pair_target, short_name=pair_target, title=f"{pair_target.upper()} accuracy", unit="share"
            ),
            share_name: Quantity(pair_target),
        }

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return summed losses and numbers of right answers."""
        mlm, pairs = batch.targets[MLM], batch.targets[self._pair_target]
        rows = torch.cat([mlm.positions, pairs.positions])  # (predictions + pairs,)
        hidden = self.encoder(batch.tokens, rows)
        masked, first = hidden.split([len(mlm.positions), len(pairs.positions)])
        return self.mlm_sums(masked, mlm) | self._pair_sums(first, pairs)

    def _pair_sums(self, hidden: Tensor, target: Targets) -> dict[str, Tensor]:
        """Return the sums over pairs for the hidden states of [CLS], (pairs, hidden)."""
        loss, right = getattr(self, f"{self._pair_target}_head")(hidden, target.labels)
        return {
            f"{self._pair_target}_loss": loss,
            f"{self._pair_target}_accuracy": right,
            self._share_name: (target.labels == 1).sum(),
        }
