"""Useful floating-point operations of a training step, by one formula.

    F/token = 6 N + 12 L h s_eff + 6 m (h^2 + h V)        N = L (4 h^2 + 2 h i), i = 4 h for BERT: 12 L h^2

with L layers of width h and feed-forward width i, a vocabulary of V, a share m of tokens that are predicted, and
s_eff = E[len^2] / E[len] over the sequences, the length attention works on. Recomputation, dropout and filler are not
counted: they are not useful work. NVIDIA's, Composer's and DeepSpeed's published figures follow from the formula.
"""

FORMULA = (
    "useful operations a token = 6 N + 12 L h s_eff + 6 m (h^2 + h V), N = L (4 h^2 + 2 h i): L layers of width h, "
    "feed-forward width i, V words, m the share of tokens predicted, s_eff = E[len^2] / E[len]"
)


def step_flops(config: object, tokens: float, squared_lengths: float, predictions: float) -> float:
    """Return the operations of forward and backward passes over real tokens.

    Args:
        config: An encoder config with the published `config.json` names.
        tokens: Number of real tokens.
        squared_lengths: Sum of the squared lengths of the sequences.
        predictions: Number of masked tokens that are predicted.

    >>> from types import SimpleNamespace
    >>> base = SimpleNamespace(num_hidden_layers=12, hidden_size=768, intermediate_size=3072, vocab_size=30528)
    >>> round(step_flops(base, 512, 512 ** 2, 0.15 * 512) / 512 / 1e9, 3)  # a full row of 512
    0.588
    """
    layers, hidden, intermediate, vocabulary = (
        getattr(config, name) for name in ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
    )
    linear = 6 * layers * (4 * hidden**2 + 2 * hidden * intermediate) * tokens
    attention = 12 * layers * hidden * squared_lengths
    head = 6 * (hidden**2 + hidden * vocabulary) * predictions
    return float(linear + attention + head)
