"""How often a model prefers the better of two sentences, by pseudo-log-likelihood (Salazar et al., 2020, section 2).

The pseudo-log-likelihood of a sentence is the sum, over its tokens, of the log-probability of the token when it alone
is masked. Special tokens are not counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding

from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.masked_copies import MaskedCopy, MaskedCopyScorer
from bert_lightning.inference.text_inputs import chunked
from data_pipeline.tasks.tables import Row, read_table
from data_pipeline.tokenizers.special_tokens import special_tokens

GOOD, BAD = "sentence_good", "sentence_bad"
PAIRS_AT_A_TIME = 128


@dataclass(frozen=True, slots=True)
class PairScores:
    """Pseudo-log-likelihoods of the sentences of a pair, in nats."""

    good: float
    bad: float


def score_pairs(path: Path, model: LoadedModel, batch_tokens: int) -> Iterator[PairScores]:
    """Yield the scores of the pairs of a file, in its order.

    Args:
        path: A table with the columns sentence_good and sentence_bad.
        model: The model.
        batch_tokens: Most tokens of a batch of masked copies.

    Raises:
        ValueError: naming the file and the line at fault, or if the model has no MLM head.
    """
    scorer = MaskedCopyScorer(model, "a pseudo-log-likelihood", batch_tokens)
    for rows in chunked(read_table(path), PAIRS_AT_A_TIME):
        sentences = [row.text(column) for row in rows for column in (GOOD, BAD)]
        encodings = model.tokenizer.encode_batch(sentences)
        for row, encoding in zip((row for row in rows for _ in (GOOD, BAD)), encodings, strict=True):
            _check(row, encoding, model.config.max_position_embeddings)
        scores = _pseudo_log_likelihoods(encodings, scorer, special_tokens(model.tokenizer).mask)
        yield from map(PairScores, scores[::2], scores[1::2])


def _check(row: Row, encoding: Encoding, most: int) -> None:
    if len(encoding) > most:
        raise ValueError(f"{row.where} has {len(encoding)} tokens, more than max_position_embeddings={most}")
    if all(encoding.special_tokens_mask):
        raise ValueError(f"{row.where} has a sentence without a token")


def _pseudo_log_likelihoods(encodings: Sequence[Encoding], scorer: MaskedCopyScorer, mask: int) -> list[float]:
    """Return the score of each sentence; sentences of the same tokens get the very same number."""
    known = {tuple(encoding.ids): encoding for encoding in encodings}
    copies: list[MaskedCopy] = []
    begins = [0]
    for ids, encoding in known.items():
        for position, is_special in enumerate(encoding.special_tokens_mask):
            if not is_special:
                masked = np.array(ids, dtype=np.int32)
                masked[position] = mask
                copies.append(MaskedCopy(masked, position, ids[position]))
        begins.append(len(copies))
    sums = np.add.reduceat(scorer.log_probabilities(copies), begins[:-1])
    score = dict(zip(known, sums.tolist(), strict=True))
    return [score[tuple(encoding.ids)] for encoding in encodings]


def preference(scores: Iterator[PairScores]) -> dict[str, float]:
    """Return the share of pairs whose better sentence has the higher score, and the number of pairs and of ties.

    A tie is counted as wrong.
    """
    every = list(scores)
    right = sum(pair.good > pair.bad for pair in every)
    ties = sum(pair.good == pair.bad for pair in every)
    return {"accuracy": right / len(every), "pairs": len(every), "ties": ties}
