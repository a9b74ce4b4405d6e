"""Replaced-token detection (Clark et al., 2020): a generator fills masks in, a discriminator says which tokens changed.

The encoder of the run is the discriminator; the generator is kept beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.generator import Generator, draw_tokens, generator_config, keyed_uniform
from bert_lightning.models.heads import MaskedLMHead, ReplacedTokenHead, summed_loss
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.useful_flops import step_flops
from bert_lightning.objectives.mlm import mlm_quantities
from bert_lightning.objectives.objective import TOKENS, Objective, Quantity, real_tokens
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import MLM, PackedBatch, PackedTokens


class ReplacedTokens(Objective):
    """Masked tokens for a generator, and for the encoder the question which tokens the generator has replaced.

    A token that the generator fills in as it was counts as original. What the generator fills in is drawn from its
    scores; no gradient passes from the discriminator to it, except into the embeddings that both have.

    Args:
        config: Sizes of the discriminator.
        attention: How packed sequences attend to themselves.
        generator_attention: Function that returns the same for the generator, whose heads may be of another size.
        generator_size: Width of the generator as a share of `hidden_size`.
        mlm_weight: Factor of the generator's loss.
        replaced_weight: Factor of the discriminator's loss.
    """

    def __init__(
        self,
        config: EncoderConfig,
        attention: PackedAttention = looped_attention,
        generator_attention: Callable[[EncoderConfig], PackedAttention] = lambda config: looped_attention,
        generator_size: float = 0.25,
        mlm_weight: float = 1.0,
        replaced_weight: float = 50.0,
    ) -> None:
        super().__init__()
        if config.is_causal:
            raise ValueError("model.is_causal=true sees nothing after a mask, which objectives with masked tokens need")
        if not 0 < generator_size <= 1:
            raise ValueError(f"objective.generator_size must be in (0, 1]; got {generator_size}")
        narrow = generator_config(config, round(config.hidden_size * generator_size))
        self.encoder = Encoder(config, attention)
        self.rtd_head = ReplacedTokenHead(config)
        self.generator = Generator(narrow, self.encoder.embeddings, generator_attention(narrow))
        self.generator_head = MaskedLMHead(narrow)
        self.quantities = mlm_quantities(mlm_weight) | {
            "replaced_loss": Quantity(TOKENS, loss_weight=replaced_weight, title="replaced-token loss", unit="nats"),
            "replaced_accuracy": Quantity(TOKENS, short_name="replaced", title="replaced-token accuracy", unit="share"),
            "replaced_share": Quantity(MLM),
            "detected_share": Quantity(MLM),
        }

    def encoders(self) -> dict[str, Encoder]:
        """Return the discriminator, then the generator."""
        return {"encoder": self.encoder, "generator": self.generator}

    def useful_flops(self, tokens: float, squared_lengths: float, counts: Mapping[str, float]) -> float:
        """Return the operations of both encoders, of scores over the vocabulary, and of the other head."""
        config = self.encoder.config
        generator = step_flops(self.generator.config, tokens, squared_lengths, counts[MLM])
        return generator + step_flops(config, tokens, squared_lengths, 0) + 6 * config.hidden_size**2 * tokens

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Return summed losses and numbers of right answers."""
        target = batch.targets[MLM]
        hidden = self.generator(batch.tokens, target.positions)
        scores = self.generator_head.scores(hidden, self.encoder.embeddings.token.weight)
        loss, right = summed_loss(scores, target.labels)
        uniform = keyed_uniform(batch.tokens, target.positions)
        drawn = draw_tokens(scores.detach(), uniform, self.encoder.config.vocab_size)
        tokens, is_replaced = filled_in(batch.tokens, target.positions, target.labels, drawn)
        sums = {"mlm_loss": loss, "mlm_loss_per_byte": loss.detach(), "mlm_accuracy": right}
        return sums | replaced_sums(self.rtd_head(self.encoder(tokens)), is_replaced, batch)


def filled_in(tokens: PackedTokens, positions: Tensor, labels: Tensor, drawn: Tensor) -> tuple[PackedTokens, Tensor]:
    """Return the tokens with all that were chosen for prediction filled in, and which of them are not what they were.

    Args:
        tokens: Packed sequences, masked.
        positions: Indices of the chosen tokens, (rows,).
        labels: What they were, `NO_LABEL` for filler, (rows,).
        drawn: What the generator says, (rows,).

    Returns:
        The tokens, and whether each is replaced, (tokens,).
    """
    index, is_chosen = positions.long(), labels != NO_LABEL
    ids = tokens.input_ids
    drawn = torch.where(is_chosen, drawn.to(ids.dtype), ids.index_select(0, index))  # (rows,)
    is_other = is_chosen & (drawn != labels)
    is_replaced = torch.zeros_like(ids, dtype=torch.bool).scatter(0, index, is_other)
    return replace(tokens, input_ids=ids.scatter(0, index, drawn)), is_replaced


def replaced_sums(logits: Tensor, is_replaced: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
    """Return the sums over all real tokens, special ones too, as google-research/electra has them.

    Args:
        logits: The discriminator's, (tokens,); above 0 for a replaced token.
        is_replaced: The answers, (tokens,).
        batch: The batch.
    """
    is_real = real_tokens(batch)  # (tokens,)
    logits = logits.float()
    losses = F.binary_cross_entropy_with_logits(logits, is_replaced.to(logits.dtype), reduction="none")
    is_said = logits.detach() > 0
    return {
        "replaced_loss": torch.where(is_real, losses, 0.0).sum(),
        "replaced_accuracy": (is_real & (is_said == is_replaced)).sum(),
        "replaced_share": is_replaced.sum(),
        "detected_share": (is_said & is_replaced).sum(),
    }
