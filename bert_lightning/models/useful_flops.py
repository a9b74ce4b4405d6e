"""Useful floating-point operations of a training step, by one formula.

    F/token = 6 N + 12 L h s_eff + 6 m (h^2 + h V)        N = L (4 h^2 + 2 h i), i = 4 h for BERT: 12 L h^2

with L layers of width h and feed-forward width i, a vocabulary of V, a share m of tokens that are predicted, and
s_eff = E[len^2] / E[len] over the sequences, the length attention works on. Embeddings of another width e add e h to N
for their projection, and the head then has h e + e V. Layers that share weights count as often as tokens pass them.
A gated network has 3 h i in place of 2 h i. A layer whose tokens see a window counts the pairs in it: (len^2 + len) / 2
if it is causal, and no more than its width for each token if it is local.
Recomputation, dropout and filler are not counted: they are not useful work. NVIDIA's, Composer's and DeepSpeed's
published figures follow from the formula.
"""

from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.windows import Window

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
    matrices = 3 if config.feed_forward == "gated" else 2
    projection = hidden * width if width != hidden else 0
    linear = 6 * (layers * (4 * hidden**2 + matrices * hidden * config.intermediate_size) + projection) * tokens
    pairs = sum(_pairs(config.window_of(layer), tokens, squared_lengths) for layer in range(layers))
    head = 6 * (hidden * width + width * config.vocab_size) * predictions
    return float(linear + 12 * hidden * pairs + head)


def _pairs(window: Window, tokens: float, squared_lengths: float) -> float:
    """Return the pairs of tokens that see each other; a few too many if a window ends beyond its sequence."""
    before, after = window
    pairs = squared_lengths if after else (squared_lengths + tokens) / 2
    return pairs if before < 0 else min(pairs, (before + 1 + after) * tokens)
