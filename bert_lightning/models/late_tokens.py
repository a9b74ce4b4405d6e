"""Tokens that enter an encoder at a later layer: the layers before it neither compute nor see them.

"Mask more and mask later" (Liao et al., 2022) lets [MASK] enter late. The encoder and its weights stay as they are.
Local attention counts the tokens that are there: without half of them it reaches twice as far in the text. Positions
stay those of the whole sequence.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.models.encoder import Encoder
from data_pipeline.streams.packed_batch import PackedTokens


@dataclass(frozen=True, slots=True)
class LateTokens:
    """Which tokens of a packed batch enter late.

    Attributes:
        early: Indices of the other tokens, in order, (early tokens,).
        tokens: The other tokens, packed, with the positions that they have in the whole sequences.
    """

    early: Tensor
    tokens: PackedTokens

    @staticmethod
    def of(tokens: PackedTokens, is_late: Tensor, count: int) -> "LateTokens":
        """Return the division of packed tokens, without waiting for the device.

        Args:
            tokens: All tokens.
            is_late: Whether a token enters late, (tokens,); at least one token of every sequence does not.
            count: How many do.
        """
        early = is_late.to(torch.int8).argsort(stable=True)[: len(is_late) - count]
        before = F.pad((~is_late).cumsum(0), (1, 0))  # early tokens before each token, (tokens + 1,)
        offsets = before.index_select(0, tokens.cu_seqlens.long()).to(tokens.cu_seqlens.dtype)
        chosen = {name: getattr(tokens, name).index_select(0, early) for name in ("input_ids", "position_ids")}
        segments = tokens.token_type_ids.index_select(0, early)
        return LateTokens(early, replace(tokens, **chosen, token_type_ids=segments, cu_seqlens=offsets))


def encode_late(encoder: Encoder, tokens: PackedTokens, late: LateTokens, layer: int, rows: Tensor) -> Tensor:
    """Encode packed tokens of which some enter late, with their embeddings.

    Args:
        encoder: The encoder.
        tokens: All tokens.
        late: Which of them enter late.
        layer: The first layer, from 0, that they pass through.
        rows: Indices of the tokens whose last hidden state is wanted, (rows,).

    Returns:
        (rows, hidden).
    """
    whole = encoder.embeddings(tokens)  # (tokens, hidden)
    hidden = whole.index_select(0, late.early)  # (early tokens, hidden)
    *earlier, last = encoder.layers_in_order()
    for block in earlier[:layer]:
        hidden = block(hidden, late.tokens)
    hidden = whole.index_copy(0, late.early, hidden.to(whole.dtype))  # (tokens, hidden)
    for block in earlier[layer:]:
        hidden = block(hidden, tokens)
    return encoder.finish(last(hidden, tokens, rows))
