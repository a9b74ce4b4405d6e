"""Vectors of texts, tokens and words: hidden states of chosen layers, joined (Devlin et al., 2019, section 5.3).

Sequences are packed, without padding, and batched by length.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor

from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.text_inputs import EncodedInput
from bert_lightning.inference.words import words_of
from bert_lightning.models.layer_reading import layer_reading
from data_pipeline.streams.packed_texts import batches_by_length, pack_encodings

Groups = tuple[NDArray[np.int64], list[tuple[int, int]]]
"""Of the tokens of a text: the number of the vector that each is joined to, -1 for none; the characters of each."""


def _whole_text(encoding: Encoding, text: str) -> Groups:
    """Join all tokens, [CLS] and [SEP] included, as sentence-transformers does."""
    return np.zeros(len(encoding), dtype=np.int64), [(0, len(text))]


def _first_token(encoding: Encoding, text: str) -> Groups:
    group = np.full(len(encoding), -1)
    group[0] = 0
    return group, [(0, len(text))]


def _each_token(encoding: Encoding, text: str) -> Groups:
    return np.arange(len(encoding)), list(encoding.offsets)


def _each_word(encoding: Encoding, text: str) -> Groups:
    """Join the pieces of each word."""
    group = np.full(len(encoding), -1)
    words = list(words_of(encoding, text))
    for number, word in enumerate(words):
        group[word.pieces] = number
    return group, [(word.begin, word.end) for word in words]


POOLINGS: dict[str, Callable[[Encoding, str], Groups]] = {
    "mean": _whole_text,
    "cls": _first_token,
    "pooler": _first_token,
    "tokens": _each_token,
    "words": _each_word,
}


@dataclass(frozen=True, slots=True)
class Features:
    """Vectors, in the order of the texts.

    Attributes:
        vectors: (vectors, width), float32.
        rows: Text that each vector is of, counted from the first of the call, (vectors,).
        spans: Begin and end of the characters that each vector is of, (vectors, 2).
    """

    vectors: NDArray[np.float32]
    rows: NDArray[np.int64]
    spans: NDArray[np.int64]


class FeatureExtractor:
    """Makes vectors of encoded texts.

    Args:
        model: The model.
        layers: Hidden states to take: 0 is the output of the embeddings, 1 that of the first layer, -1 that of the
            last.
        combine: How several layers become one vector: one of `layer_reading.COMBINATIONS`.
        pooling: What a vector is of: one of `POOLINGS`. `mean` joins all tokens of a text, `cls` takes the first,
            `pooler` gives that to the pooler; `tokens` and `words` give several vectors of a text.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: naming the setting that is none of these, or that the model does not have.
    """

    def __init__(
        self,
        model: LoadedModel,
        layers: Sequence[int] = (-1,),
        combine: str = "concat",
        pooling: str = "mean",
        batch_tokens: int = 4096,
    ) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}; got {pooling}")
        self._reading = layer_reading(layers, combine, model.config)
        if pooling == "pooler" and not self._reading.is_last:
            raise ValueError(f"pooling=pooler reads the last layer, not layers={list(layers)}")
        self._model = model
        self._group = POOLINGS[pooling]
        self._pooler = model.pooler() if pooling == "pooler" else None
        self._batch_tokens = batch_tokens
        self.width = self._reading.width(model.config.hidden_size)

    @torch.inference_mode()
    def __call__(self, inputs: Sequence[EncodedInput]) -> Features:
        """Return the vectors of encoded texts, which may be as long as the model takes."""
        groups = [self._group(each.encoding, each.source.text) for each in inputs]
        vectors: list[NDArray[np.float32]] = [np.empty((0, self.width), np.float32)] * len(inputs)
        for rows in batches_by_length([len(each.encoding) for each in inputs], self._batch_tokens):
            tokens = pack_encodings([inputs[row].encoding for row in rows])
            sizes = [len(groups[row][1]) for row in rows]
            states = self._reading(self._model.encoder, tokens.to(self._model.device))  # (tokens, width)
            joined = self._join(states, [groups[row][0] for row in rows], sizes)
            for row, part in zip(rows, joined.split(sizes), strict=True):
                vectors[row] = part.float().cpu().numpy()
        spans = [span for _, each in groups for span in each]
        return Features(
            np.concatenate(vectors),
            np.repeat(np.arange(len(inputs)), [len(each) for _, each in groups]),
            np.array(spans, dtype=np.int64).reshape(-1, 2),
        )

    def _join(self, hidden: Tensor, groups: Iterable[NDArray[np.int64]], sizes: Sequence[int]) -> Tensor:
        """Return the mean of the hidden states (tokens, width) that belong to each vector, (vectors, width)."""
        begins = np.cumsum(sizes) - sizes
        shifted = [np.where(group < 0, -1, group + begin) for group, begin in zip(groups, begins, strict=True)]
        group = torch.from_numpy(np.concatenate(shifted)).to(hidden.device)  # (tokens,)
        is_used = group >= 0
        group, used = group[is_used], hidden[is_used]  # (used tokens,), (used tokens, width)
        sums = hidden.new_zeros(sum(sizes), hidden.shape[1]).index_add_(0, group, used)  # (vectors, width)
        means = sums / torch.bincount(group, minlength=len(sums))[:, None]
        return means if self._pooler is None else self._pooler(means)
