"""What an encoder begins with: the embeddings of tokens, positions and segments, added up."""

import torch
from torch import Tensor, nn

from bert_lightning.models.dropout import Dropout
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.streams.packing import PackedTokens


def computing_dtype(tensor: Tensor) -> torch.dtype:
    """Return the precision in which matrix products of a tensor are computed: its dtype, or the dtype of autocast.

    The meta device has no autocast and is asked for none. Dynamo of torch 2.11 can follow these calls, but cannot
    follow `torch.amp.is_autocast_available`.
    """
    device = tensor.device.type
    is_autocast = device != "meta" and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if is_autocast else tensor.dtype


class Embeddings(nn.Module):
    """Sum of token, position and segment embeddings, normalized (Devlin et al., 2019, section 3.2).

    Embeddings that are narrower or wider than the layers pass through a linear layer last (Lan et al., 2019).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.position_offset = config.position_offset
        self.token = nn.Embedding(config.padded_vocab_size, width)
        self.position = nn.Embedding(config.max_position_embeddings + config.position_offset, width)
        self.segment = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.projection = nn.Linear(width, config.hidden_size) if width != config.hidden_size else None

    def forward(self, tokens: PackedTokens) -> Tensor:
        """Embed packed tokens; returns (tokens, hidden), in autocast's precision under autocast."""
        positions = tokens.position_ids + self.position_offset if self.position_offset else tokens.position_ids
        embedded = self.token(tokens.input_ids) + self.position(positions)  # (tokens, embedding)
        if self.segment is not None:
            embedded = embedded + self._segments(self.segment, tokens)
        embedded = self.dropout(self.norm(embedded).to(computing_dtype(embedded)))
        return embedded if self.projection is None else self.projection(embedded)

    def _segments(self, table: nn.Embedding, tokens: PackedTokens) -> Tensor:
        """Return segment embeddings, (tokens, embedding); a table of one row is the same for all, (1, embedding)."""
        return table.weight if table.num_embeddings == 1 else table(tokens.token_type_ids)
