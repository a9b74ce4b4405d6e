"""Cloze questions: how often the right token is among the first guesses for a mask (Petroni et al., 2019)."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.masked_copies import MaskedCopy, MaskedCopyScorer
from bert_lightning.inference.text_inputs import chunked
from data_pipeline.tasks.tables import Row, read_table
from data_pipeline.tokenizers.special_tokens import special_names, special_tokens, with_mask

HITS = (1, 5, 10)
QUESTIONS_AT_A_TIME = 1024


def cloze_hits(path: Path, model: LoadedModel, batch_tokens: int) -> dict[str, float]:
    """Return the share of questions whose answer is among the first 1, 5 and 10 guesses, and the numbers of questions.

    An answer that is not one token of the vocabulary cannot be guessed; its question is left out and counted.

    Args:
        path: A table with the columns text, which has one [MASK], and answer.
        model: The model.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: naming the file and the line at fault; also if no answer is one token, or the model has no MLM head.
    """
    scorer = MaskedCopyScorer(model, "a cloze question", batch_tokens)
    ranks: list[np.ndarray] = []
    left_out = 0
    for rows in chunked(read_table(path), QUESTIONS_AT_A_TIME):
        copies = [copy for copy in _masked_copies(rows, model) if copy is not None]
        ranks.append(scorer.ranks(copies))
        left_out += len(rows) - len(copies)
    every = np.concatenate(ranks)
    if not len(every):
        raise ValueError(f"{path}: none of the {left_out} answers is one token of the model's vocabulary")
    hits = {f"hits@{most}": float((every <= most).mean()) for most in HITS}
    return {**hits, "questions": len(every), "left_out": left_out}


def _masked_copies(rows: Iterable[Row], model: LoadedModel) -> list[MaskedCopy | None]:
    """Return the questions with their answers as tokens; None where the answer is not one token."""
    special, name = special_tokens(model.tokenizer), special_names(model.tokenizer)["mask"]
    copies: list[MaskedCopy | None] = []
    for row in rows:
        text, answer = with_mask(model.tokenizer, row.text("text")), row.text("answer")
        masked = np.array(model.tokenizer.encode(text).ids, dtype=np.int32)
        positions = np.flatnonzero(masked == special.mask)
        if len(positions) != 1:
            raise ValueError(f"{row.where} has {len(positions)} {name}, but a cloze question has one")
        if len(masked) > (most := model.config.max_position_embeddings):
            raise ValueError(f"{row.where} has {len(masked)} tokens, more than max_position_embeddings={most}")
        # How an answer is cut into tokens depends on what stands before it, so it is read in its sentence.
        whole = np.array(model.tokenizer.encode(text.replace(name, answer)).ids, dtype=np.int32)
        is_token = len(whole) == len(masked) and ((whole != masked).sum() == 1) and whole[positions[0]] != special.unk
        copies.append(MaskedCopy(masked, int(positions[0]), int(whole[positions[0]])) if is_token else None)
    return copies
