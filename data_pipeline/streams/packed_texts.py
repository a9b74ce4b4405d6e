"""Texts that a user gives, as packed tokens, and their order in batches; no stream of examples, no masks."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from data_pipeline.streams.packed_batch import PackedTokens


def pack_texts(tokenizer: Tokenizer, texts: Sequence[str], pairs: Sequence[str] | None = None) -> PackedTokens:
    """Return texts as an encoder takes them: [CLS] A [SEP], or [CLS] A [SEP] B [SEP] if there are second texts.

    `tokens.cu_seqlens.diff()` has the length of each text, by which hidden states can be split.

    Args:
        tokenizer: The model's tokenizer.
        texts: Texts, at least one.
        pairs: The second text of each; None for single texts.

    Raises:
        ValueError: if there is no text.
    """
    inputs = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
    return pack_encodings(tokenizer.encode_batch(inputs))


def pack_encodings(encodings: Sequence[Encoding]) -> PackedTokens:
    """Return encoded texts as an encoder takes them; ValueError if there is none."""
    return pack_sequences([encoding.ids for encoding in encodings], [encoding.type_ids for encoding in encodings])


def pack_sequences(
    input_ids: Sequence[Sequence[int] | NDArray[np.integer]],
    token_type_ids: Sequence[Sequence[int] | NDArray[np.integer]],
) -> PackedTokens:
    """Return sequences of token ids as an encoder takes them, without filler.

    Args:
        input_ids: Token ids of each sequence, special tokens included.
        token_type_ids: Segment of each token of each sequence.

    Raises:
        ValueError: if there is no sequence.
    """
    if not input_ids:
        raise ValueError("there is no text to encode")
    lengths = np.array([len(ids) for ids in input_ids])  # (sequences,)
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)])  # (sequences + 1,)
    position_ids = np.arange(cu_seqlens[-1]) - np.repeat(cu_seqlens[:-1], lengths)  # (tokens,)
    return PackedTokens(
        input_ids=_tensor(np.concatenate(input_ids)),
        position_ids=_tensor(position_ids),
        token_type_ids=_tensor(np.concatenate(token_type_ids)),
        cu_seqlens=_tensor(cu_seqlens),
        max_seqlen=int(lengths.max()),
    )


def _tensor(values: NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(values.astype(np.int32))


def batches_by_length(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Yield the rows of each batch, longest first; a batch has at most `most_tokens`, or a single longer sequence.

    >>> list(batches_by_length([3, 8, 5, 2], 10))
    [[1], [2, 0, 3]]
    """
    rows: list[int] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if rows and tokens + lengths[row] > most_tokens:
            yield rows
            rows, tokens = [], 0
        rows.append(row)
        tokens += lengths[row]
    if rows:
        yield rows
