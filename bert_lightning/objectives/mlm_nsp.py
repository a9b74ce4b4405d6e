"""BERT's joint objective: masked tokens and next-sentence prediction (Devlin et al., 2019, section 3.1)."""

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.mlm_pairs import MaskedLMWithPairs


class MaskedLMWithNSP(MaskedLMWithPairs):
    """Masked tokens, and whether the second segment is the next one (0) or a random one (1).

    Args:
        config: Sizes of the encoder.
        attention: How packed sequences attend to themselves.
        mlm_weight: Factor of the masked-token loss.
        nsp_weight: Factor of the next-sentence loss.
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
        super().__init__(config, attention, mlm_weight, chunk_rows, pair_weight=nsp_weight, pair_target="nsp")
