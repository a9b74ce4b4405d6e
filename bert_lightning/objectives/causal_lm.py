"""The next token, from the tokens before it: GPT (Radford et al., 2018, 2019), and BERT's ablation "LTR & no NSP".

Examples of pairs=token_blocks and of pairs=full_sentences are contiguous text, in which [SEP] ends each document, as
GPT-2's end-of-text token does.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import NextTokenHead
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.useful_flops import step_flops
from bert_lightning.objectives.objective import NEXT_TOKENS, Objective, Quantity, real_tokens
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import MLM, PackedBatch


class CausalLM(Objective):
    """Predict each token but the first one of a sequence from those before it.

    Tokens that the stream has masked are put back: a causal model reads the text as it is.

    Args:
        config: Sizes of the encoder, which must be causal.
        attention: How packed sequences attend to themselves.
        causal_weight: Factor of the loss.
        chunk_rows: Tokens whose scores are held at a time; None holds all.
    """

    reads_in_order = True

    def __init__(
        self,
        config: EncoderConfig,
        attention: PackedAttention = looped_attention,
        causal_weight: float = 1.0,
        chunk_rows: int | None = None,
    ) -> None:
        super().__init__()
        if not config.is_causal:
            raise ValueError("model.is_causal=false sees the next token, which objective=causal_lm predicts")
        if config.embedding_width != config.hidden_size:
            raise ValueError(
                f"model.embedding_size={config.embedding_size} is not model.hidden_size={config.hidden_size}, which "
                "objective=causal_lm needs"
            )
        self.encoder = Encoder(config, attention)
        self.causal_head = NextTokenHead(config, chunk_rows)
        self.quantities = {
            "causal_loss": Quantity(
                NEXT_TOKENS, loss_weight=causal_weight, perplexity="perplexity", title="next-token loss", unit="nats"
            ),
            "causal_accuracy": Quantity(NEXT_TOKENS, short_name="next", title="next-token accuracy", unit="share"),
        }

    def encoders(self) -> dict[str, Encoder]:
        """Return the one encoder."""
        return {"encoder": self.encoder}

    def check_targets(self, given: Collection[str], source: str) -> None:
        """Raise a ValueError if half of the examples have a random second segment, which no text before it tells."""
        if "nsp" in given:
            raise ValueError(
                f"objective=causal_lm reads contiguous text, but {source} joins segments at random for nsp; take "
                "pairs=token_blocks or pairs=full_sentences"
            )
        super().check_targets(given, source)

    def useful_flops(self, tokens: float, squared_lengths: float, counts: Mapping[str, float]) -> float:
        """Return the operations of the encoder, and of scores over the vocabulary for all tokens."""
        config = self.encoder.config
        head = 6 * config.hidden_size * config.vocab_size * tokens
        return step_flops(config, tokens, squared_lengths, 0) + head

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the summed loss and the number of right answers."""
        ids = unmasked(batch)
        hidden = self.encoder(replace(batch.tokens, input_ids=ids))
        loss, right = self.causal_head(hidden, self.encoder.embeddings.token.weight, next_tokens(ids, batch))
        return {"causal_loss": loss, "causal_accuracy": right}


def unmasked(batch: PackedBatch) -> Tensor:
    """Return the token ids of a batch before they were masked, (tokens,)."""
    ids, target = batch.tokens.input_ids, batch.targets.get(MLM)
    if target is None:
        return ids
    index = target.positions.long()
    labels = target.labels.to(ids.dtype)
    return ids.scatter(0, index, torch.where(labels != NO_LABEL, labels, ids.index_select(0, index)))


def next_tokens(ids: Tensor, batch: PackedBatch) -> Tensor:
    """Return the token after each one, `NO_LABEL` for the last one of a sequence and for filler, (tokens,).

    Args:
        ids: Token ids, (tokens,).
        batch: The batch that they are of.
    """
    offsets = batch.tokens.cu_seqlens.long()
    is_last = torch.zeros_like(ids, dtype=torch.bool).scatter(0, (offsets[1:] - 1).clamp(min=0), True)
    return ids.roll(-1).masked_fill(is_last | ~real_tokens(batch), NO_LABEL)
