"""Texts that a user asks about: one text from the command line, or the rows of a file, read as they are needed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from tokenizers import Encoding, Tokenizer

from data_pipeline.tasks.tables import TABLE_SUFFIXES, named_by, read_table
from data_pipeline.untrusted.numbered_lines import numbered_lines

T = TypeVar("T")
LINES = ".txt"
ROWS_AT_A_TIME = 256
"""Most rows that are tokenized together."""
LETTERS_AT_A_TIME = 1 << 20
"""Letters after which no more rows are tokenized together: all tokens of a long text are in memory, not only those
that stay."""
MOST_ROWS = 4096
"""Most rows in memory together."""


@dataclass(frozen=True, slots=True)
class TextInput:
    """A text, or a pair of texts.

    Attributes:
        text: The text.
        text_pair: The second text of a pair, None for a single text.
        where: File and line, for errors; or the setting.
    """

    text: str
    text_pair: str | None
    where: str


@dataclass(frozen=True, slots=True)
class EncodedInput:
    """A text and its tokens.

    Attributes:
        source: The text.
        encoding: The tokens, special tokens included.
        is_cut: Whether tokens at the end were left out.
    """

    source: TextInput
    encoding: Encoding
    is_cut: bool


def read_inputs(path: Path, column: str, pair_column: str | None = None) -> Iterator[TextInput]:
    """Yield the texts of a file: the lines of a .txt, or a column of a table.

    Args:
        path: A .txt with a text in each line, or a .jsonl, .csv, .tsv or .parquet file.
        column: Column of the text; a .txt has none.
        pair_column: Column of the second text; None for single texts.

    Raises:
        ValueError: naming the file and the line at fault; also if there is no text, or the ending is not known.
    """
    if path.suffix not in (LINES, *TABLE_SUFFIXES):
        raise ValueError(f"input={path} must end in one of {', '.join((LINES, *TABLE_SUFFIXES))}")
    if path.suffix == LINES:
        yield from _read_lines(path, pair_column)
        return
    for row in read_table(path, named_by(column=column, pair_column=pair_column)):
        pair = None if pair_column is None else row.text(pair_column)
        yield TextInput(row.text(column), pair, row.where)


def _read_lines(path: Path, pair_column: str | None) -> Iterator[TextInput]:
    if pair_column is not None:
        raise ValueError(f"pair_column={pair_column}, but input={path} is a file of lines, which has no columns")
    number = 0
    for number, line in numbered_lines(path):
        yield TextInput(line, None, f"{path}, line {number}")
    if not number:
        raise ValueError(f"{path} holds no rows")


def given_inputs(
    text: str | None, text_pair: str | None, path: str | None, column: str, pair_column: str | None
) -> Iterable[TextInput]:
    """Return what a command was asked about: `text`, with `text_pair` if there is one, or the rows of `input`.

    Raises:
        ValueError: if neither or both are given, or a second text comes from elsewhere than the first.
    """
    if (text is None) == (path is None):
        raise ValueError("give either text=... or input=<file>")
    if path is not None and text_pair is not None:
        raise ValueError("text_pair is the second text of text=...; that of input=<file> is in its pair_column")
    if text is not None and pair_column is not None:
        raise ValueError("pair_column is a column of input=<file>; the second text of text=... is text_pair")
    if path is not None:
        return read_inputs(Path(path), column, pair_column)
    return [TextInput(str(text), None if text_pair is None else str(text_pair), "text")]


def encoded_chunks(
    inputs: Iterable[TextInput], tokenizer: Tokenizer, seq_len: int, truncate: bool, most_tokens: int
) -> Iterator[list[EncodedInput]]:
    """Yield the inputs with their tokens, in their order, as many together as memory is to hold.

    Args:
        inputs: The texts.
        tokenizer: The tokenizer, which stays as it is.
        seq_len: Most tokens of a text or a pair.
        truncate: Whether what is longer is cut; if not, it is refused.
        most_tokens: Tokens after which a chunk ends.

    Raises:
        ValueError: naming a text that is longer than `seq_len`.
    """
    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.encode_special_tokens = tokenizer.encode_special_tokens
    cutting.enable_truncation(seq_len)
    chunk: list[EncodedInput] = []
    tokens = 0
    for some in _groups(inputs):
        for row in _encode(some, cutting):
            if row.is_cut and not truncate:
                raise ValueError(f"{row.source.where} has more than seq_len={seq_len} tokens; truncate=true cuts it")
            chunk.append(row)
            tokens += len(row.encoding)
            if tokens >= most_tokens or len(chunk) >= MOST_ROWS:
                yield chunk
                chunk, tokens = [], 0
    if chunk:
        yield chunk


def _groups(inputs: Iterable[TextInput]) -> Iterator[list[TextInput]]:
    """Yield the inputs that are tokenized together."""
    group: list[TextInput] = []
    letters = 0
    for each in inputs:
        group.append(each)
        letters += len(each.text) + len(each.text_pair or "")
        if len(group) == ROWS_AT_A_TIME or letters >= LETTERS_AT_A_TIME:
            yield group
            group, letters = [], 0
    if group:
        yield group


def chunked(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield rows in lists of a size, the last of which may be shorter.

    >>> list(chunked("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    rest = iter(rows)
    while some := list(islice(rest, size)):
        yield some


def _encode(inputs: Sequence[TextInput], tokenizer: Tokenizer) -> Iterator[EncodedInput]:
    texts = [each.text if each.text_pair is None else (each.text, each.text_pair) for each in inputs]
    for source, encoding in zip(inputs, tokenizer.encode_batch(texts), strict=True):
        yield EncodedInput(source, encoding, bool(encoding.overflowing))
