"""Encoders small enough for tests."""

from typing import Any

from bert_lightning.models.encoder_config import EncoderConfig
from tests.support.settings import SIZES

MODERN: dict[str, Any] = {
    "type_vocab_size": 0,
    "positions": "rotary",
    "rope_theta": 160_000.0,
    "local_rope_theta": 10_000.0,
    "norm": "pre",
    "use_bias": False,
    "feed_forward": "gated",
    "layer_norm_eps": 1e-5,
    "local_attention": 8,
}
"""What makes an encoder a ModernBERT, with a local attention that short texts notice."""
GPT: dict[str, Any] = {"embedding_norm": False, "is_causal": True, "type_vocab_size": 0, "layer_norm_eps": 1e-5}
"""What makes an encoder a GPT, apart from its activation and sizes."""
GPT2: dict[str, Any] = GPT | {"norm": "pre", "hidden_act": "gelu_new"}
"""What makes an encoder a GPT-2, apart from its sizes."""


def tiny_encoder(vocab_size: int = 60, dropout: float = 0.0, **sizes: Any) -> EncoderConfig:
    """Return the sizes of the tiny model, apart from those that are given."""
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return EncoderConfig(vocab_size, **(SIZES | dropouts | sizes))
