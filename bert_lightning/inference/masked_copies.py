"""What a model says of single masked tokens: sequences with one mask each, packed, many in one forward pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bert_lightning.inference.loading import LoadedModel
from data_pipeline.streams.packed_texts import batches_by_length, pack_sequences


@dataclass(frozen=True, slots=True)
class MaskedCopy:
    """A sequence with one masked token.

    Attributes:
        input_ids: Token ids, with the mask in its position.
        position: Index of the masked token.
        answer: The token that belongs there.
    """

    input_ids: NDArray[np.int32]
    position: int
    answer: int


class MaskedCopyScorer:
    """Scores the answers of masked copies.

    Args:
        model: A model with an MLM head.
        purpose: What needs the head, for the error if there is none.
        batch_tokens: Most tokens of a batch.
    """

    def __init__(self, model: LoadedModel, purpose: str, batch_tokens: int) -> None:
        self._model = model
        self._head = model.mlm_head(purpose)
        self._batch_tokens = batch_tokens

    def log_probabilities(self, copies: Sequence[MaskedCopy]) -> NDArray[np.float64]:
        """Return the logarithm of the probability of each answer, (copies,)."""
        result = np.empty(len(copies))
        for rows, scores, answers in self._scores(copies):
            chosen = scores.log_softmax(-1).gather(1, answers[:, None])[:, 0]  # (rows,)
            result[rows] = chosen.double().cpu().numpy()
        return result

    def ranks(self, copies: Sequence[MaskedCopy]) -> NDArray[np.int64]:
        """Return the rank of each answer among all tokens, 1 for the best; tokens of the same score come first."""
        result = np.empty(len(copies), dtype=np.int64)
        for rows, scores, answers in self._scores(copies):
            own = scores.gather(1, answers[:, None])  # (rows, 1)
            result[rows] = (scores >= own).sum(-1).cpu().numpy()
        return result

    def _scores(self, copies: Sequence[MaskedCopy]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Yield the rows of each batch, the scores (rows, padded vocabulary) of their masks, and their answers."""
        table = self._model.encoder.embeddings.token.weight
        for rows in batches_by_length([len(copy.input_ids) for copy in copies], self._batch_tokens):
            batch = [copies[row] for row in rows]
            tokens = pack_sequences(
                [copy.input_ids for copy in batch], [np.zeros_like(copy.input_ids) for copy in batch]
            )
            positions = tokens.cu_seqlens[:-1] + torch.tensor([copy.position for copy in batch])
            answers = torch.tensor([copy.answer for copy in batch], device=self._model.device)
            with torch.inference_mode():
                scores = self._head.scores(self._model.hidden(tokens, positions), table).float()
            yield rows, scores, answers
