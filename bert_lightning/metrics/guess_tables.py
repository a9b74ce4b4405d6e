"""Tables of what a model says about held-out examples: masked tokens beside the truth, and pairs beside theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from data_pipeline.streams.packing import MLM, PackedBatch
from data_pipeline.tokenizers.pieces import continuation_pieces
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.untrusted.escaping import printable

TOKEN_COLUMNS = ("step", "kind", "sentence", "truth", "guesses", "probability of the truth")
PAIR_COLUMNS = ("step", "first", "second", "truth", "guess", "probability of the truth")
ANSWERS = {"nsp": ("next", "random"), "sop": ("in order", "swapped")}
"""What the labels 0 and 1 of pairs mean, by the name of their targets."""
WORD, PIECE, NUMBER, PUNCTUATION, SPECIAL = "word", "piece", "number", "punctuation", "special"


@dataclass(frozen=True, slots=True)
class GuessedToken:
    """A masked token of an example.

    Attributes:
        kind: `word` if it begins a word, `piece` if it continues one, `number`, `punctuation` or `special`.
        truth: The token that was there.
        guesses: The best guesses with their probabilities.
        probability: The probability of the truth.
    """

    kind: str
    truth: str
    guesses: str
    probability: float


@dataclass(frozen=True, slots=True)
class GuessedSentence:
    """An example as text, with some of its masked tokens."""

    text: str
    tokens: list[GuessedToken]


def sentence(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """Return token ids as readable text: pieces joined to words, special tokens kept."""
    return " ".join(token_text(i, tokenizer) for i in ids).replace(" ##", "")


def token_text(number: int, tokenizer: Tokenizer) -> str:
    """Return a token as readable text, ? if the vocabulary has none of this number."""
    return printable(tokenizer.id_to_token(number) or "?")


class GuessTables:
    """Rows about the first examples of a batch.

    Args:
        tokenizer: The tokenizer of the examples.
        num_examples: Examples to show.
        num_masks: Masked tokens to show of each example.
        top_k: Guesses to show for each masked token.
    """

    def __init__(self, tokenizer: Tokenizer, num_examples: int, num_masks: int, top_k: int) -> None:
        self._tokenizer = tokenizer
        self._num_examples = num_examples
        self._num_masks = num_masks
        self._top_k = top_k

    @cached_property
    def _continues(self) -> list[bool]:
        return continuation_pieces(self._tokenizer).tolist()

    def kind(self, number: int) -> str:
        """Return the kind of a token of the vocabulary."""
        if number in self._tokenizer.get_added_tokens_decoder():
            return SPECIAL
        text = self._tokenizer.id_to_token(number) or ""
        if any(letter.isdigit() for letter in text) and not any(letter.isalpha() for letter in text.lstrip("\u0120")):
            return NUMBER
        if number < len(self._continues) and self._continues[number]:
            return PIECE
        return WORD if any(letter.isalnum() for letter in text.lstrip("\u0120")) else PUNCTUATION

    def sentences(self, batch: PackedBatch, scores: Tensor) -> list[GuessedSentence]:
        """Return the first examples with guesses for masked tokens.

        Args:
            batch: The examples.
            scores: Scores over the vocabulary for the masked positions of the batch, (rows, padded vocabulary).
        """
        mlm = batch.targets[MLM]
        positions, labels = mlm.positions.tolist(), mlm.labels.tolist()
        ids = batch.tokens.input_ids.tolist()
        mask = special_tokens(self._tokenizer).mask  # predictions that show a random or the true token are left out
        shown = []
        for begin, end in self._spans(batch):
            masked = [i for i in range(mlm.count) if begin <= positions[i] < end and ids[positions[i]] == mask]
            tokens = [self._guessed(labels[i], scores[i]) for i in masked[: self._num_masks]]
            shown.append(GuessedSentence(sentence(ids[begin:end], self._tokenizer), tokens))
        return shown

    def pairs(self, batch: PackedBatch, target: str, scores: Tensor) -> Iterator[list[Any]]:
        """Yield the rows about the first pairs, without the step.

        Args:
            batch: The examples.
            target: Name of the pair labels.
            scores: Scores of the answers, (pairs, 2).
        """
        asked = batch.targets[target]
        rows = {position: i for i, position in enumerate(asked.positions[: asked.count].tolist())}
        labels, probabilities = asked.labels.tolist(), torch.softmax(scores, dim=-1).tolist()
        ids, types = batch.tokens.input_ids.tolist(), batch.tokens.token_type_ids.tolist()
        answers = ANSWERS.get(target, ("0", "1"))
        special = {special_tokens(self._tokenizer).cls, special_tokens(self._tokenizer).sep}
        for begin, end in self._spans(batch):
            if (row := rows.get(begin)) is None or labels[row] not in (0, 1):
                continue
            places = [place for place in range(begin, end) if ids[place] not in special]
            segments = ([ids[place] for place in places if types[place] == segment] for segment in (0, 1))
            guess = int(probabilities[row][1] > probabilities[row][0])
            yield [
                *(sentence(segment, self._tokenizer) for segment in segments),
                answers[labels[row]],
                answers[guess],
                probabilities[row][labels[row]],
            ]

    def _spans(self, batch: PackedBatch) -> list[tuple[int, int]]:
        """Return the begin and the end of the first examples."""
        ends = batch.tokens.cu_seqlens.tolist()
        return list(pairwise(ends))[: min(self._num_examples, batch.num_examples)]

    def _guessed(self, label: int, scores: Tensor) -> GuessedToken:
        probabilities = torch.softmax(scores, dim=-1)
        best, ids = probabilities.topk(self._top_k)
        pairs = zip(ids.tolist(), best.tolist(), strict=True)
        guesses = " ".join(f"{token_text(i, self._tokenizer)} {share:.0%}" for i, share in pairs)
        truth = token_text(label, self._tokenizer)
        return GuessedToken(self.kind(label), truth, guesses, float(probabilities[label]))
