"""The output of a fine-tuned head for examples that are encoded as in fine-tuning."""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from bert_lightning.inference.loading import LoadedModel
from bert_lightning.settings.progress_bars import counted
from data_pipeline.streams.packed_texts import batches_by_length, pack_sequences
from data_pipeline.tasks.encoded import EncodedExamples, EncodedTargets


@torch.inference_mode()
def score_encoded(
    examples: EncodedExamples, target: EncodedTargets | None, model: LoadedModel, batch_tokens: int
) -> NDArray[np.float32]:
    """Return the output of the head, (rows, scores), in the order of the examples.

    Args:
        examples: The examples.
        target: The tokens that the head reads; None for all tokens.
        model: A model with the head of a task.
        batch_tokens: Most tokens of a batch.
    """
    head = model.task_head()
    lengths = np.diff(examples.cu_seqlens)
    positions = [np.arange(length) for length in lengths]
    if target is not None:
        positions = [target.positions[begin:end] for begin, end in pairwise(target.cu_rows)]
    scores: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(lengths)
    batches = list(batches_by_length(lengths.tolist(), batch_tokens))
    for rows in counted(batches, "scoring", len(batches)):
        spans = [slice(*examples.cu_seqlens[row : row + 2]) for row in rows]
        tokens = pack_sequences(
            [examples.input_ids[span] for span in spans], [examples.token_type_ids[span] for span in spans]
        )
        begins = tokens.cu_seqlens.tolist()
        read = np.concatenate([positions[row] + begin for row, begin in zip(rows, begins, strict=False)])
        batch = head(model.read(tokens, torch.from_numpy(read.astype(np.int64)))).float().cpu()
        for row, part in zip(rows, batch.split([len(positions[row]) for row in rows]), strict=True):
            scores[row] = part.numpy()
    return np.concatenate(scores)
