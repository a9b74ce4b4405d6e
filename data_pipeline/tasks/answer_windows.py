"""Questions with their texts -> windows of token ids, as google-research/bert cuts them (`run_squad.py`).

A text that is too long for one sequence is read through windows that begin `doc_stride` tokens apart. A token that is
in several windows is predicted in the one that shows most of what is around it: its maximum context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from data_pipeline.records import NO_LABEL, TokenIds
from data_pipeline.tasks.encoded import EncodedExamples, EncodedTargets
from data_pipeline.tasks.task_records import Question
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer, special_tokens
from data_pipeline.whole_numbers import check_whole_number

START, END = "start", "end"
"""Names of the targets: index of the first and the last token of the answer, 0 ([CLS]) if the window has none."""
NO_CHARACTER = -1
"""Offset of the tokens that are no part of the text."""
QUESTIONS_AT_A_TIME = 1024
"""Questions that are given to the tokenizer at a time."""


@dataclass(frozen=True, slots=True)
class AnswerWindows:
    """The windows of questions, and where their tokens are in the texts.

    Attributes:
        examples: One sequence a window, with targets `START` and `END`.
        questions: Index of the question of each window, ascending, (windows,).
        char_begin: Offset in the text of the first character of each token, `NO_CHARACTER` for others, (tokens,).
        char_end: Offset behind the last character of each token, (tokens,).
        has_max_context: Whether a token of the text has its maximum context in this window, (tokens,).
    """

    examples: EncodedExamples
    questions: NDArray[np.int64]
    char_begin: NDArray[np.int32]
    char_end: NDArray[np.int32]
    has_max_context: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Text:
    """The pieces of a text, (pieces,)."""

    input_ids: TokenIds
    char_begin: NDArray[np.int32]
    char_end: NDArray[np.int32]


@dataclass(slots=True)
class _Columns:
    """What the windows consist of, as it grows: arrays of one window each, and a number a window."""

    input_ids: list[TokenIds] = field(default_factory=list)
    question_tokens: list[int] = field(default_factory=list)
    char_begin: list[NDArray[np.int32]] = field(default_factory=list)
    char_end: list[NDArray[np.int32]] = field(default_factory=list)
    has_max_context: list[NDArray[np.bool_]] = field(default_factory=list)
    questions: list[int] = field(default_factory=list)
    labels: list[tuple[int, int]] = field(default_factory=list)


def encode_questions(
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    seq_len: int = 384,
    doc_stride: int = 128,
    max_query_length: int = 64,
) -> AnswerWindows:
    """Return [CLS] question [SEP] window of the text [SEP] for every window of every question.

    The label is the first answer of the file. A window that does not hold all of it has the label of no answer. A
    question without an answer that is not called impossible has `NO_LABEL`.

    Args:
        tokenizer: Tokenizer of the encoder.
        questions: The questions.
        seq_len: Most tokens of a sequence.
        doc_stride: Tokens between the begins of two windows of a text.
        max_query_length: Most tokens of a question; longer ones are cut.

    Raises:
        ValueError: The longest question leaves no room for a text.
    """
    for name, value in (("doc_stride", doc_stride), ("max_query_length", max_query_length)):
        check_whole_number(f"task.{name}", value)
    if seq_len < max_query_length + 4:
        raise ValueError(f"data.seq_len={seq_len} leaves no room for a text beside task.{max_query_length=} and [CLS]")
    special = special_tokens(tokenizer)
    columns = _Columns()
    for number, (query, text) in enumerate(_pieces(plain_text_tokenizer(tokenizer), questions)):
        begin = np.array([special.cls, *query.ids[:max_query_length], special.sep], dtype=np.int32)
        room = seq_len - len(begin) - 1
        answer = _answer_pieces(questions[number], text)
        spans = window_spans(len(text.input_ids), room, doc_stride)
        for span, has_max_context in zip(spans, max_context(spans, len(text.input_ids)), strict=True):
            _add_window(columns, begin, special.sep, text, span, has_max_context)
            columns.questions.append(number)
            columns.labels.append(_labels(answer, span, len(begin)))
    return _windows(columns)


def window_spans(num_tokens: int, room: int, doc_stride: int) -> list[tuple[int, int]]:
    """Return begin and end of the windows of a text; no token is in none, and an empty text has one empty window.

    >>> window_spans(10, 6, 3), window_spans(6, 6, 3), window_spans(10, 4, 9), window_spans(0, 6, 3)
    ([(0, 6), (3, 9), (6, 10)], [(0, 6)], [(0, 4), (4, 8), (8, 10)], [(0, 0)])
    """
    spans = [(0, min(room, num_tokens))]
    while spans[-1][1] < num_tokens:
        begin = spans[-1][0] + min(room, doc_stride)
        spans.append((begin, min(begin + room, num_tokens)))
    return spans


def max_context(spans: Sequence[tuple[int, int]], num_tokens: int) -> list[NDArray[np.bool_]]:
    """Return for each window which of its tokens have their maximum context there, (tokens of the window,).

    The context is the smaller of the numbers of tokens on the left and on the right, and a hundredth of the length of
    the window decides between equals; then the first window (google-research/bert, `_check_is_max_context`).
    """
    if len(spans) == 1:
        return [np.ones(num_tokens, dtype=bool)]
    begins, ends = np.array(spans).T[..., None]  # (windows, 1)
    tokens = np.arange(num_tokens)
    context = np.minimum(tokens - begins, ends - 1 - tokens)  # (windows, tokens)
    score = np.where(context >= 0, context + 0.01 * (ends - begins), -1.0)
    best = score.argmax(axis=0)  # (tokens,)
    return [best[begin:end] == window for window, (begin, end) in enumerate(spans)]


def _pieces(tokenizer: Tokenizer, questions: Sequence[Question]) -> Iterator[tuple[Encoding, _Text]]:
    """Yield the pieces of every question and of its text; questions in a row about one text share it."""
    context, text = None, _text(tokenizer.encode("", add_special_tokens=False))
    for begin in range(0, len(questions), QUESTIONS_AT_A_TIME):
        some = questions[begin : begin + QUESTIONS_AT_A_TIME]
        queries = tokenizer.encode_batch([question.question.strip() for question in some], add_special_tokens=False)
        for question, query in zip(some, queries, strict=True):
            if question.context != context:
                context, text = question.context, _text(tokenizer.encode(question.context, add_special_tokens=False))
            yield query, text


def _text(encoding: Encoding) -> _Text:
    offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
    return _Text(np.array(encoding.ids, dtype=np.int32), offsets[:, 0], offsets[:, 1])


def _answer_pieces(question: Question, text: _Text) -> tuple[int, int] | None:
    """Return the first and last piece of the answer, (-1, -1) if there is none, None if it is not known.

    All pieces that share a character with the answer belong to it.
    """
    if question.is_impossible:
        return -1, -1
    if not question.answers:
        return None
    answer = question.answers[0]
    first = int(np.searchsorted(text.char_end, answer.start, side="right"))
    last = int(np.searchsorted(text.char_begin, answer.start + len(answer.text), side="left")) - 1
    return (first, last) if first <= last else None


def _labels(answer: tuple[int, int] | None, span: tuple[int, int], num_before: int) -> tuple[int, int]:
    """Return the labels of a window: indices in its sequence, 0 if the window does not hold the whole answer."""
    if answer is None:
        return NO_LABEL, NO_LABEL
    if not span[0] <= answer[0] <= answer[1] < span[1]:
        return 0, 0
    return answer[0] - span[0] + num_before, answer[1] - span[0] + num_before


def _add_window(
    columns: _Columns,
    begin: TokenIds,
    sep: int,
    text: _Text,
    span: tuple[int, int],
    has_max_context: NDArray[np.bool_],
) -> None:
    """Add the sequence of a window: the question in front, the piece of the text, and the last [SEP]."""
    inside, around = slice(*span), (len(begin), 1)
    columns.input_ids.append(np.concatenate([begin, text.input_ids[inside], [sep]]).astype(np.int32))
    columns.question_tokens.append(len(begin))
    columns.char_begin.append(np.pad(text.char_begin[inside], around, constant_values=NO_CHARACTER))
    columns.char_end.append(np.pad(text.char_end[inside], around, constant_values=NO_CHARACTER))
    columns.has_max_context.append(np.pad(has_max_context, around))


def _windows(columns: _Columns) -> AnswerWindows:
    lengths = np.array([len(ids) for ids in columns.input_ids])
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(cu_seqlens[-1]) - np.repeat(cu_seqlens[:-1], lengths)  # (tokens,)
    token_types = (positions >= np.repeat(columns.question_tokens, lengths)).astype(np.int8)
    first, last = np.array(columns.labels, dtype=np.int32).T
    rows = np.zeros(len(lengths), dtype=np.int32)
    cu_rows = np.arange(len(lengths) + 1)
    targets = {name: EncodedTargets(rows, labels, cu_rows) for name, labels in ((START, first), (END, last))}
    return AnswerWindows(
        EncodedExamples(np.concatenate(columns.input_ids), token_types, cu_seqlens, targets),
        np.array(columns.questions),
        np.concatenate(columns.char_begin),
        np.concatenate(columns.char_end),
        np.concatenate(columns.has_max_context),
    )
