"""Masked tokens that enter the encoder at a later layer, so that the layers before cost less (Liao et al., 2022)."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.late_tokens import LateTokens, encode_late
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.useful_flops import step_flops
from bert_lightning.objectives.mlm import MaskedLM
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import MLM, PackedBatch
from data_pipeline.whole_numbers import check_whole_number


class LateMaskedLM(MaskedLM):
    """Predict the tokens that were masked; the layers before `mask_layer` run on the other tokens alone.

    All tokens that were chosen for prediction enter late, whatever masking has put in their place.

    Args:
        config: Sizes of the encoder.
        attention: How packed sequences attend to themselves.
        mlm_weight: Factor of the masked-token loss.
        chunk_rows: Masked positions whose scores are held at a time; None holds all.
        mask_layer: The first layer, from 0, that chosen tokens pass through; 0 for ordinary masks, None for the one
            after half of the layers.
    """

    keeps_shapes = False

    def __init__(
        self,
        config: EncoderConfig,
        attention: PackedAttention = looped_attention,
        mlm_weight: float = 1.0,
        chunk_rows: int | None = None,
        mask_layer: int | None = None,
    ) -> None:
        super().__init__(config, attention, mlm_weight, chunk_rows)
        check_whole_number("objective.mask_layer", mask_layer, least=0, or_null=True)
        layers = config.num_hidden_layers
        if mask_layer is not None and mask_layer >= layers:
            raise ValueError(f"objective.mask_layer={mask_layer} is not below model.num_hidden_layers={layers}")
        self.mask_layer = layers // 2 if mask_layer is None else mask_layer

    def useful_flops(self, tokens: float, squared_lengths: float, counts: Mapping[str, float]) -> float:
        """Return the operations, of which the first layers have those of the tokens that are there.

        All tokens are embedded.
        """
        whole = super().useful_flops(tokens, squared_lengths, counts)
        if not self.mask_layer:
            return whole
        config, share = self.encoder.config, 1 - counts[MLM] / max(tokens, 1)
        groups = min(config.num_hidden_groups, self.mask_layer)
        first = replace(config, num_hidden_layers=self.mask_layer, num_hidden_groups=groups, embedding_size=None)
        saved = step_flops(first, tokens, squared_lengths, 0)
        return whole - saved + step_flops(first, share * tokens, share**2 * squared_lengths, 0)

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return summed losses and the number of right answers."""
        target, tokens = batch.targets[MLM], batch.tokens
        has_label = (target.labels != NO_LABEL).to(torch.int32)
        chosen = torch.zeros_like(tokens.input_ids, dtype=torch.int32).index_add(0, target.positions.long(), has_label)
        late = LateTokens.of(tokens, chosen > 0, target.count)
        return self.mlm_sums(encode_late(self.encoder, tokens, late, self.mask_layer, target.positions), target)
