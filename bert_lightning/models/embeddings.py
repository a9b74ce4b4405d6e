"""What an encoder begins with: the embeddings of tokens, positions and segments, added up."""

import torch
from torch import Tensor, nn

from bert_lightning.models.dropout import Dropout
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.streams.packed_batch import PackedTokens


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

    Embeddings that are narrower or wider than the layers pass through a linear layer last (Lan et al., 2019). With
    norm=pre they begin a residual stream that no layer normalizes, which stays in fp32 under autocast.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.position_offset = config.position_offset
        self.token = nn.Embedding(config.padded_vocab_size, width)
        num_positions = config.max_position_embeddings + config.position_offset
        self.position = nn.Embedding(num_positions, width) if config.positions == "learned" else None
        self.segment = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        norm = nn.LayerNorm(width, eps=config.layer_norm_eps, bias=config.use_bias)
        self.norm = norm if config.embedding_norm else nn.Identity()
        self.dropout = Dropout(config.hidden_dropout_prob)
        projection = nn.Linear(width, config.hidden_size, bias=config.use_bias) if width != config.hidden_size else None
        self.projection = projection
        self.is_precise = config.norm == "pre"

    def forward(self, tokens: PackedTokens) -> Tensor:
        """Embed packed tokens; returns (tokens, hidden), in autocast's precision under autocast with norm=post."""
        embedded = self.unprojected(tokens)
        return embedded if self.projection is None else self.projection(embedded).to(embedded.dtype)

    def unprojected(self, tokens: PackedTokens) -> Tensor:
        """Return the embeddings of packed tokens before the linear layer, (tokens, embedding)."""
        embedded = self.token(tokens.input_ids)  # (tokens, embedding)
        if self.position is not None:
            embedded = embedded + self.position(self._rows(tokens.position_ids))
        if self.segment is not None:
            embedded = embedded + self._segments(self.segment, tokens)
        dtype = embedded.dtype if self.is_precise else computing_dtype(embedded)
        return self.dropout(self.norm(embedded).to(dtype))

    def _rows(self, position_ids: Tensor) -> Tensor:
        """Return the rows of the table of positions, (tokens,)."""
        return position_ids + self.position_offset if self.position_offset else position_ids

    def _segments(self, table: nn.Embedding, tokens: PackedTokens) -> Tensor:
        """Return segment embeddings, (tokens, embedding); a table of one row is the same for all, (1, embedding)."""
        return table.weight if table.num_embeddings == 1 else table(tokens.token_type_ids)
