"""What is predicted from hidden states, and how wrong it is: masked tokens and the relation of two segments.

Called, a head returns the sums that it is trained with; `scores` is what a model that is trained says.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_lightning.models.activations import ACTIVATIONS
from bert_lightning.models.embeddings import computing_dtype
from bert_lightning.models.encoder import initialize
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.linear_cross_entropy import chunked_cross_entropy
from data_pipeline.records import NO_LABEL
from data_pipeline.whole_numbers import check_whole_number


class MaskedLMHead(nn.Module):
    """Scores over the vocabulary for hidden states of masked positions; the decoder is the token embedding table.

    The padded entries of the vocabulary get minus infinity, so they are never predicted and get no gradient.

    Args:
        config: Sizes of the encoder.
        chunk_rows: Hidden states whose scores are held at a time while training; None holds all.
    """

    padding_bias: Tensor

    def __init__(self, config: EncoderConfig, chunk_rows: int | None = None) -> None:
        super().__init__()
        check_whole_number("objective.chunk_rows", chunk_rows, or_null=True)
        self.chunk_rows = chunk_rows
        self.transform = nn.Linear(config.hidden_size, config.embedding_width, bias=config.use_bias)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.norm = nn.LayerNorm(config.embedding_width, eps=config.layer_norm_eps, bias=config.use_bias)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        num_padded = config.padded_vocab_size - config.vocab_size
        self.register_buffer("padding_bias", torch.full((num_padded,), -torch.inf), persistent=False)
        initialize(self, config)

    def forward(self, hidden: Tensor, token_table: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed loss and the number of right answers, for hidden states (rows, hidden).

        Args:
            hidden: Hidden states of the masked positions, (rows, hidden).
            token_table: (padded vocabulary, embedding).
            labels: The tokens that were there, `NO_LABEL` for filler, (rows,).
        """
        return decoder_loss(self._features(hidden), token_table, self._padded_bias(), labels, self.chunk_rows)

    def scores(self, hidden: Tensor, token_table: Tensor) -> Tensor:
        """Return scores, (rows, padded vocabulary), for hidden states (rows, hidden)."""
        return F.linear(self._features(hidden), token_table, self._padded_bias())

    def _features(self, hidden: Tensor) -> Tensor:
        return self.norm(self.activation(self.transform(hidden)))

    def _padded_bias(self) -> Tensor:
        return torch.cat([self.bias, self.padding_bias])


class NextTokenHead(nn.Module):
    """Scores over the vocabulary for the token after each one, by the token embeddings alone (Radford et al., 2019).

    Args:
        config: Sizes of the encoder.
        chunk_rows: Hidden states whose scores are held at a time while training; None holds all.
    """

    bias: Tensor

    def __init__(self, config: EncoderConfig, chunk_rows: int | None = None) -> None:
        super().__init__()
        check_whole_number("objective.chunk_rows", chunk_rows, or_null=True)
        self.chunk_rows = chunk_rows
        bias = torch.zeros(config.padded_vocab_size)
        bias[config.vocab_size :] = -torch.inf
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, hidden: Tensor, token_table: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed loss and the number of right answers.

        Args:
            hidden: Hidden states, (tokens, hidden).
            token_table: (padded vocabulary, hidden).
            labels: The tokens that follow, `NO_LABEL` after the last one, (tokens,).
        """
        return decoder_loss(hidden, token_table, self.bias, labels, self.chunk_rows)

    def scores(self, hidden: Tensor, token_table: Tensor) -> Tensor:
        """Return scores, (rows, padded vocabulary), for hidden states (rows, hidden)."""
        return F.linear(hidden, token_table, self.bias)


class Pooler(nn.Module):
    """A tanh layer on the hidden state of [CLS]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        initialize(self, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (pairs, hidden) for the hidden states of [CLS], (pairs, hidden)."""
        return torch.tanh(self.dense(hidden))


class PredictionHead(nn.Module):
    """A dense layer, the activation and a LayerNorm before the classifier of a task (Warner et al., 2024).

    Args:
        config: Sizes of the encoder.
        width: Width of what is read; None for that of a hidden state.
    """

    def __init__(self, config: EncoderConfig, width: int | None = None) -> None:
        super().__init__()
        self.dense = nn.Linear(width or config.hidden_size, config.hidden_size, bias=config.use_bias)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, bias=config.use_bias)
        initialize(self, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (rows, hidden) for hidden states, (rows, width)."""
        return self.norm(self.activation(self.dense(hidden)))


class SentencePairHead(nn.Module):
    """Is the second segment the true next one (0) or a random or swapped one (1)?"""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pooler = Pooler(config)
        self.classifier = nn.Linear(config.hidden_size, 2)
        initialize(self, config)

    def forward(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed loss and the number of right answers, for [CLS] (pairs, hidden) and labels (pairs,)."""
        return summed_loss(self.scores(hidden), labels)

    def scores(self, hidden: Tensor) -> Tensor:
        """Return scores, (pairs, 2), for the hidden states of [CLS], (pairs, hidden)."""
        return self.classifier(self.pooler(hidden))


class ReplacedTokenHead(nn.Module):
    """Was a token replaced? One logit for each token (Clark et al., 2020, section 2)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.prediction = nn.Linear(config.hidden_size, 1)
        initialize(self, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits, (tokens,), for hidden states (tokens, hidden)."""
        return self.prediction(self.activation(self.dense(hidden))).squeeze(-1)


def decoder_loss(
    features: Tensor, token_table: Tensor, bias: Tensor, labels: Tensor, chunk_rows: int | None
) -> tuple[Tensor, Tensor]:
    """Return the summed loss and the number of right answers of scores over the vocabulary.

    Args:
        features: What the token table is multiplied with, (rows, embedding).
        token_table: (padded vocabulary, embedding).
        bias: (padded vocabulary,).
        labels: The right tokens, `NO_LABEL` for filler, (rows,).
        chunk_rows: Rows whose scores are held at a time; None holds all.
    """
    if chunk_rows is None and features.device.type != "cpu":
        return summed_loss(F.linear(features, token_table, bias), labels)
    features = features.to(computing_dtype(features))
    return chunked_cross_entropy(features, token_table, bias, labels.long(), chunk_rows)


def summed_loss(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy in fp32 and the number of right answers, summed over rows that have a label."""
    scores, labels = scores.float(), labels.long()
    right = (scores.detach().argmax(-1) == labels).sum()
    return F.cross_entropy(scores, labels, ignore_index=NO_LABEL, reduction="sum"), right
