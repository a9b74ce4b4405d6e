"""Tables of what a model says about held-out examples: masked tokens beside the truth, and pairs beside theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from data_pipeline.pairs.pair_labels import PAIR_LABELS
from data_pipeline.streams.packed_batch import MLM, PackedBatch
from data_pipeline.tokenizers.pieces import CONTINUATION, continuation_pieces
from data_pipeline.tokenizers.special_tokens import special_names, special_tokens
from data_pipeline.untrusted.escaping import printable

TOKEN_COLUMNS = ("step", "kind", "sentence", "mask", "truth", "guesses", "probability of the truth")
PAIR_COLUMNS = ("step", "first", "second", "truth", "guess", "probability of the truth")
WORD, PIECE, NUMBER, PUNCTUATION, SPECIAL = "word", "piece", "number", "punctuation", "special"


@dataclass(frozen=True, slots=True)
class GuessedToken:
    """A masked token of an example.

    Attributes:
        kind: `word` if it begins a word, `piece` if it continues one, `number`, `punctuation` or `special`.
        mask: What stands for the token in the text of the example, such as `[MASK 1]`.
        truth: The token that was there.
        guesses: The best guesses with their probabilities.
        probability: The probability of the truth.
    """

    kind: str
    mask: str
    truth: str
    guesses: str
    probability: float


@dataclass(frozen=True, slots=True)
class GuessedSentence:
    """An example as text, with some of its masked tokens; their masks are numbered."""

    text: str
    tokens: list[GuessedToken]


def sentence(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """Return token ids as readable text: pieces joined to words, special tokens kept."""
    return printable(tokenizer.decode(list(ids), skip_special_tokens=False).strip())


def numbered(mask: str, number: int) -> str:
    """Return the name of a mask with a number.

    >>> numbered("[MASK]", 2), numbered("<mask>", 1)
    ('[MASK 2]', '<mask 1>')
    """
    return f"{mask[:-1]} {number}{mask[-1]}"


def with_numbers(text: str, mask: str, asked: Sequence[int]) -> str:
    """Return a text in which some masks are numbered, from 1.

    >>> with_numbers("[MASK] sat on [MASK] [MASK].", "[MASK]", [0, 2])
    '[MASK 1] sat on [MASK] [MASK 2].'

    Args:
        text: The text.
        mask: Name of the mask in it.
        asked: Which masks of the text get a number, counted from 0, in their order.
    """
    names = {place: numbered(mask, number) for number, place in enumerate(asked, 1)}
    first, *others = text.split(mask)
    return first + "".join(names.get(place, mask) + part for place, part in enumerate(others))


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
        name = special_names(self._tokenizer)["mask"]
        rows = {positions[i]: i for i in range(mlm.count)}
        shown = []
        for begin, end in self._spans(batch):
            places = [place for place in range(begin, end) if ids[place] == mask]
            asked = [row for row, place in enumerate(places) if place in rows][: self._num_masks]
            text = with_numbers(sentence(ids[begin:end], self._tokenizer), name, asked)
            tokens = [
                self._guessed(numbered(name, number), labels[rows[places[row]]], scores[rows[places[row]]])
                for number, row in enumerate(asked, 1)
            ]
            shown.append(GuessedSentence(text, tokens))
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
        answers = PAIR_LABELS[target].words if target in PAIR_LABELS else ("0", "1")
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

    def token(self, number: int) -> str:
        """Return a token as readable text; the piece of a word begins with ##, as in WordPiece."""
        text = self._tokenizer.decode([number], skip_special_tokens=False).strip()
        if not text or "\ufffd" in text:  # a space alone, a part of a letter, or a number beyond the vocabulary
            text = self._tokenizer.id_to_token(number) or "?"
        continues = number < len(self._continues) and self._continues[number]
        return printable(f"{CONTINUATION}{text.removeprefix(CONTINUATION)}" if continues else text)

    def _guessed(self, mask: str, label: int, scores: Tensor) -> GuessedToken:
        probabilities = torch.softmax(scores, dim=-1)
        best, ids = probabilities.topk(self._top_k)
        pairs = zip(ids.tolist(), best.tolist(), strict=True)
        guesses = " ".join(f"{self.token(i)} {share:.0%}" for i, share in pairs)
        return GuessedToken(self.kind(label), mask, self.token(label), guesses, float(probabilities[label]))
