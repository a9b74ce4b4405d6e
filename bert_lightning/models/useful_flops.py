"""Useful floating-point operations of a training step, by one formula.

    F/token = 6 N + 12 L h s_eff + 6 m (h^2 + h V)        N = L (4 h^2 + 2 h i), i = 4 h for BERT: 12 L h^2

with L layers of width h and feed-forward width i, a vocabulary of V, a share m of tokens that are predicted, and
s_eff = E[len^2] / E[len] over the sequences, the length attention works on. Embeddings of another width e add e h to N
for their projection, and the head then has h e + e V. Layers that share weights count as often as tokens pass them.
Recomputation, dropout and filler are not counted: they are not useful work. NVIDIA's, Composer's and DeepSpeed's
published figures follow from the formula.
"""

from bert_lightning.models.encoder_config import EncoderConfig

FORMULA = (
    "useful operations a token = 6 N + 12 L h s_eff + 6 m (h^2 + h V), N = L (4 h^2 + 2 h i): L layers of width h, "
    "feed-forward width i, V words, m the share of tokens predicted, s_eff = E[len^2] / E[len]"
)


def step_flops(config: EncoderConfig, tokens: float, squared_lengths: float, predictions: float) -> float:
    """Return the operations of forward and backward passes over real tokens.

    Args:
        config: The encoder's sizes.
        tokens: Number of real tokens.
        squared_lengths: Sum of the squared lengths of the sequences.
        predictions: Number of masked tokens that are predicted.

    >>> base, length = EncoderConfig(vocab_size=30528), 512
    >>> round(step_flops(base, length, length**2, 0.15 * length) / length / 1e9, 3)
    0.588
    """
    layers, hidden, width = config.num_hidden_layers, config.hidden_size, config.embedding_width
    projection = hidden * width if width != hidden else 0
    linear = 6 * (layers * (4 * hidden**2 + 2 * hidden * config.intermediate_size) + projection) * tokens
    attention = 12 * layers * hidden * squared_lengths
    head = 6 * (hidden * width + width * config.vocab_size) * predictions
    return float(linear + attention + head)
