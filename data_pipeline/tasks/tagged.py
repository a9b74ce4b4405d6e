"""Sentences with a tag for each word: columns as CoNLL's tasks have them, CoNLL-U, and tables with lists of words."""

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from data_pipeline.tasks.tables import Row, named_by, read_table
from data_pipeline.tasks.task_records import TaggedSentence
from data_pipeline.untrusted.numbered_lines import numbered_lines
from data_pipeline.untrusted.typed_fields import listed, shown

CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
DOCUMENT_BEGIN = "-DOCSTART-"
_SENTENCE_ID = re.compile(r"#\s*sent_id\s*=\s*(\S.*)")
_WORD_ID = re.compile(r"\d+")
_OTHER_ID = re.compile(r"\d+[-.]\d+")
Lines = list[tuple[int, str]]


def read_conll(path: Path, word_column: int = 0, tag_column: int = -1, group: str = "task.") -> list[TaggedSentence]:
    """Return the sentences of a file with a word and its tags in columns, such as CoNLL-2003, CoNLL-2000 and WNUT-17.

    A line is cut at tabs if it has any, at spaces otherwise. A line of white space, such as a lone tab, ends a
    sentence, and so does a line that begins with -DOCSTART-.

    Args:
        path: The file.
        word_column: Column of the words, from 0; a negative one counts from the last.
        tag_column: Column of the tags.
        group: What stands before the names of the columns in the settings, for errors.

    Raises:
        ValueError: naming the line: it has another number of columns than the first line, or a field is empty.
    """
    columns = {f"{group}word_column": word_column, f"{group}tag_column": tag_column}
    sentences: list[TaggedSentence] = []
    width = 0
    for lines in _sentence_lines(path):
        words, tags = [], []
        for number, line in lines:
            fields = _columns(line)
            width = width or _checked_width(fields, columns, f"{path}, line {number}")
            if len(fields) != width:
                raise ValueError(f"{path}, line {number} has columns: {len(fields)}; the first line has {width}")
            if not all(fields):
                raise ValueError(f"{path}, line {number} has an empty column: {shown(line)}")
            words.append(fields[word_column])
            tags.append(fields[tag_column])
        where = f"{path}, line {lines[0][0]}"
        sentences.append(TaggedSentence(str(len(sentences)), tuple(words), tuple(tags), where))
    return _some(sentences, path)


def read_conllu(path: Path, tag_column: str = "upos", group: str = "task.") -> list[TaggedSentence]:
    """Return the sentences of a CoNLL-U file, identified by their sent_id if they have one.

    Ranges of words (ids such as 3-4) and empty nodes (3.1) are no words and are left out, as the format says.

    Args:
        path: The file.
        tag_column: Column of the tags, such as upos or xpos.
        group: What stands before tag_column in the settings, for errors.

    Raises:
        ValueError: naming the line: it has not ten columns, or its id is none.
    """
    if tag_column not in CONLLU_COLUMNS:
        raise ValueError(f"{group}tag_column must be one of {', '.join(CONLLU_COLUMNS)}; got {tag_column}")
    sentences: list[TaggedSentence] = []
    for lines in _sentence_lines(path):
        identifiers = [match[1].strip() for _, line in lines if (match := _SENTENCE_ID.match(line))]
        rows = [(number, line.split("\t")) for number, line in lines if not line.startswith("#")]
        words = [row for number, row in rows if _is_word(row, f"{path}, line {number}")]
        if words:
            columns = dict(zip(CONLLU_COLUMNS, zip(*words, strict=True), strict=True))
            identifier = identifiers[0] if identifiers else str(len(sentences))
            where = f"{path}, line {lines[0][0]}"
            sentences.append(TaggedSentence(identifier, columns["form"], columns[tag_column], where))
    return _some(sentences, path)


def read_tagged_table(
    path: Path, words: str = "words", tags: str | None = "tags", group: str = "task.", needs_tags: bool = True
) -> list[TaggedSentence]:
    """Return the sentences of JSON lines or parquet; rows without words are left out.

    Args:
        path: The file.
        words: Column of the words, a list of texts.
        tags: Column of the tags, a list of as many texts; None reads no tags.
        group: What stands before the names of the columns in the settings, for errors.
        needs_tags: Whether every row must have tags; if not, rows without the column, or with nothing in it, have none.
    """
    sentences = []
    for number, row in enumerate(read_table(path, named_by(group, tags=tags, words=words))):
        row_words = _texts(row, words)
        row_tags = _texts(row, tags) if tags is not None and (needs_tags or not row.is_empty(tags)) else None
        if row_tags is not None and len(row_tags) != len(row_words):
            raise ValueError(f"{row.where} has {len(row_words)} {words}, but {len(row_tags)} {tags}")
        if row_words:
            sentences.append(TaggedSentence(str(number), row_words, row_tags, row.where))
    return _some(sentences, path)


def _sentence_lines(path: Path) -> Iterator[Lines]:
    """Yield the numbered lines of each sentence."""
    for is_end, lines in groupby(numbered_lines(path), lambda line: _ends_sentence(line[1])):
        if not is_end:
            yield list(lines)


def _ends_sentence(line: str) -> bool:
    return not line.strip() or line.startswith(DOCUMENT_BEGIN)


def _columns(line: str) -> list[str]:
    if "\t" in line:
        return line.split("\t")
    return [field for field in line.split(" ") if field]


def _checked_width(fields: list[str], columns: Mapping[str, int], where: str) -> int:
    width = len(fields)
    for name, column in columns.items():
        if not -width <= column < width:
            raise ValueError(f"{name}={column}, but {where} has {width} columns")
    if width < 2:
        raise ValueError(f"{where} has one column, {shown(fields[0])}; a word and its tag are two")
    return width


def _is_word(fields: list[str], where: str) -> bool:
    if len(fields) != len(CONLLU_COLUMNS):
        raise ValueError(f"{where} has {len(fields)} columns; CoNLL-U has {len(CONLLU_COLUMNS)}")
    if _OTHER_ID.fullmatch(fields[0]):
        return False
    if not _WORD_ID.fullmatch(fields[0]):
        raise ValueError(f"{where} has id={shown(fields[0])}, which must be a number such as 3, a range or 3.1")
    return True


def _texts(row: Row, column: str) -> tuple[str, ...]:
    entries = row.value(column)
    if not isinstance(entries, list):
        raise row.wrong(column, "a list of texts")
    if wrong := [entry for entry in entries if not isinstance(entry, str)]:
        raise ValueError(f"{row.where} has {column} with {listed(map(shown, wrong))}; every entry must be text")
    return tuple(entries)


def _some(sentences: list[TaggedSentence], path: Path) -> list[TaggedSentence]:
    if not sentences:
        raise ValueError(f"{path} holds no sentences")
    return sentences
