"""What is predicted from hidden states: masked tokens and the relation of two segments."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_lightning.encoder import ACTIVATIONS, EncoderConfig, initialize


class MaskedLMHead(nn.Module):
    """Scores over the vocabulary for hidden states of masked positions; the decoder is the token embedding table.

    The padded entries of the vocabulary get minus infinity, so they are never predicted and get no gradient.
    """

    padding_bias: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.transform = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        num_padded = config.padded_vocab_size - config.vocab_size
        self.register_buffer("padding_bias", torch.full((num_padded,), -torch.inf), persistent=False)
        initialize(self, config)

    def forward(self, hidden: Tensor, token_table: Tensor) -> Tensor:
        """Score hidden states (rows, hidden) against the token table (padded vocabulary, hidden).

        Returns:
            Scores, (rows, padded vocabulary).
        """
        transformed = self.norm(self.activation(self.transform(hidden)))
        return F.linear(transformed, token_table, torch.cat([self.bias, self.padding_bias]))


class Pooler(nn.Module):
    """A tanh layer on the hidden state of [CLS]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        initialize(self, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (pairs, hidden) for the hidden states of [CLS], (pairs, hidden)."""
        return torch.tanh(self.dense(hidden))


class SentencePairHead(nn.Module):
    """Is the second segment the true next one (0) or a random or swapped one (1)?"""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pooler = Pooler(config)
        self.classifier = nn.Linear(config.hidden_size, 2)
        initialize(self, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return scores, (pairs, 2), for the hidden states of [CLS], (pairs, hidden)."""
        return self.classifier(self.pooler(hidden))
