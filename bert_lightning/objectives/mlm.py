"""Masked-token prediction alone, as RoBERTa trains (Liu et al., 2019, section 4.2): no pairs, no pair head."""

from collections.abc import Mapping

from torch import Tensor

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import MaskedLMHead
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.useful_flops import step_flops
from bert_lightning.objectives.objective import Objective, Quantity
from data_pipeline.streams.packed_batch import MLM, PackedBatch, Targets


class MaskedLM(Objective):
    """Predict the tokens that were masked (Devlin et al., 2019, section 3.1).

    Args:
        config: Sizes of the encoder.
        attention: How packed sequences attend to themselves.
        mlm_weight: Factor of the masked-token loss.
        chunk_rows: Masked positions whose scores are held at a time; None holds all.
    """

    def __init__(
        self,
        config: EncoderConfig,
        attention: PackedAttention = looped_attention,
        mlm_weight: float = 1.0,
        chunk_rows: int | None = None,
    ) -> None:
        super().__init__()
        if config.is_causal:
            raise ValueError("model.is_causal=true sees nothing after a mask, which objectives with masked tokens need")
        self.encoder = Encoder(config, attention)
        self.mlm_head = MaskedLMHead(config, chunk_rows)
        self.quantities = mlm_quantities(mlm_weight)

    def encoders(self) -> dict[str, Encoder]:
        """Return the one encoder."""
        return {"encoder": self.encoder}

    def useful_flops(self, tokens: float, squared_lengths: float, counts: Mapping[str, float]) -> float:
        """Return the operations of the encoder and of the scores over the vocabulary."""
        return step_flops(self.encoder.config, tokens, squared_lengths, counts[MLM])

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return summed losses and the number of right answers."""
        target = batch.targets[MLM]
        return self.mlm_sums(self.encoder(batch.tokens, target.positions), target)

    def mlm_sums(self, hidden: Tensor, target: Targets) -> dict[str, Tensor]:
        """Return the sums of `mlm_quantities` for the hidden states of masked positions, (predictions, hidden)."""
        loss, right = self.mlm_head(hidden, self.encoder.embeddings.token.weight, target.labels)
        return {"mlm_loss": loss, "mlm_loss_per_byte": loss.detach(), "mlm_accuracy": right}


def mlm_quantities(mlm_weight: float) -> dict[str, Quantity]:
    """Return what the sums over masked tokens mean."""
    return {
        "mlm_loss": Quantity(MLM, loss_weight=mlm_weight, perplexity="perplexity", title="MLM loss", unit="nats"),
        "mlm_loss_per_byte": Quantity(MLM, per_byte=True),
        "mlm_accuracy": Quantity(MLM, short_name="mlm", title="MLM accuracy", unit="share"),
    }
