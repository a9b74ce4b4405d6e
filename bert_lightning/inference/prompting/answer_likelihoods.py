"""How likely a causal model finds the tokens of an answer after a prompt, many answers in one forward pass."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bert_lightning.inference.loading import LoadedModel
from data_pipeline.streams.packed_texts import batches_by_length, pack_sequences

Tokens = Sequence[int]


class AnswerScorer:
    """Scores answers by their likelihood.

    Args:
        model: A causal model.
        purpose: What needs the likelihoods, for the error if the model predicts no next token.
        batch_tokens: Most tokens of a batch.
    """

    def __init__(self, model: LoadedModel, purpose: str, batch_tokens: int) -> None:
        self._head = model.next_token_head(purpose)
        self._model = model
        self._batch_tokens = batch_tokens

    @torch.inference_mode()
    def log_likelihoods(self, prompts: Sequence[Tokens], answers: Sequence[Tokens]) -> NDArray[np.float64]:
        """Return the logarithm of the probability of each answer after its prompt, in nats, (answers,).

        Args:
            prompts: Token ids of what comes before, [CLS] included; none is empty.
            answers: Token ids of the answers.
        """
        sequences = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        table = self._model.encoder.embeddings.token.weight
        result = np.empty(len(sequences))
        for rows in batches_by_length([len(each) for each in sequences], self._batch_tokens):
            tokens = pack_sequences([sequences[row] for row in rows], [[0] * len(sequences[row]) for row in rows])
            begins = tokens.cu_seqlens.tolist()
            starts = [begin + len(prompts[row]) for row, begin in zip(rows, begins, strict=False)]
            lengths = [len(answers[row]) for row in rows]
            read = torch.cat([torch.arange(each, each + n) for each, n in zip(starts, lengths, strict=True)])  # (read,)
            wanted = tokens.input_ids[read].long().to(self._model.device)
            scores = self._head.scores(self._model.hidden(tokens, read - 1), table).float()
            chosen = scores.log_softmax(-1).gather(1, wanted[:, None])[:, 0].double().cpu()  # (read,)
            result[rows] = [float(each.sum()) for each in chosen.split(lengths)]
        return result
