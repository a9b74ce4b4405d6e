"""Encoders small enough for tests."""

from typing import Any

from bert_lightning.models.encoder_config import EncoderConfig
from tests.support.settings import SIZES


def tiny_encoder(vocab_size: int = 60, dropout: float = 0.0, **sizes: Any) -> EncoderConfig:
    """Return the sizes of the tiny model, apart from those that are given."""
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return EncoderConfig(vocab_size, **(SIZES | dropouts | sizes))
