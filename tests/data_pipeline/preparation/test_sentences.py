"""Sentences: nothing is lost, none is much too long, quotation marks hold nothing together, blocks are short."""

from typing import Any

import pytest
import sentencex
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.preparation import sentences as splitting
from data_pipeline.preparation.sentences import LONGEST_BLOCK, LONGEST_SENTENCE, LONGEST_UNSPACED, split_sentences

SPEECH = "He saw the town and all of it. She did not answer him. "
PIECES = st.sampled_from(
    [
        *SPEECH.split(),
        "Mr.",
        "'Twas",
        '"',
        "'",
        "“",
        "”",
        "\u2019",
        "「",
        "」",
        "。",
        "中文" * 90,
        "\n",
        " ",
        "\xa0",
        "\u2028",
        ";",
        ",",
        ":",
        "x" * 700,
        "กำ" * 120,
        "(",
        ")",
        "...",
        "A. B.",
        "\u200b",
        "\x1f",
    ]
)


def letters(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=60).map(" ".join) | st.lists(PIECES).map("".join), max_size=3))
@pytest.mark.parametrize("language", ["en", "zh", "th"])
def test_no_letter_is_lost_and_no_sentence_is_empty(language: str, paragraphs: list[str]) -> None:
    sentences = split_sentences(paragraphs, language)
    assert letters("".join(sentences)) == letters("".join(paragraphs))
    assert all(sentence.strip() == sentence != "" for sentence in sentences)
    assert not any("\n" in sentence for sentence in sentences)
    assert all(
        len(sentence) <= LONGEST_SENTENCE or max(map(len, sentence.split())) > LONGEST_UNSPACED
        for sentence in sentences
    )


@pytest.mark.parametrize("opening", ['"', "'", "\u201c", "\u2018", "The lads' and the "])
def test_a_quotation_mark_that_is_never_closed_holds_no_sentences_together(opening: str) -> None:
    sentences = split_sentences([f"It was late. {opening}Twas cold. {SPEECH * 40}"])
    assert len(sentences) > 75
    assert max(map(len, sentences)) < 80


def test_a_long_speech_is_split_and_its_marks_stay_at_its_ends() -> None:
    sentences = split_sentences([f'He spoke. "{SPEECH * 30}They went back." "And they might."'])
    assert sentences[1] == '"He saw the town and all of it.'
    assert sentences[-2:] == ['They went back."', '"And they might."']


def test_marks_that_close_stay_with_their_sentence_if_an_open_quotation_is_split() -> None:
    """No space follows these marks, so the sentence ends only at the letter behind them."""
    sentences = split_sentences(["\u4ed6\u8d70\u4e86\u3002'" * 200], "zh")
    assert sentences[2:] == ["\u4ed6\u8d70\u4e86\u3002'"] * 198


def test_short_quotations_stay_whole() -> None:
    text = '"Come here. It is late," he said. They left.'
    assert split_sentences([text]) == ['"Come here. It is late," he said.', "They left."]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "ja",
            "\u300e\u306f\u3044\u3002\u300f\u300d\u5e30\u3063\u305f\u3002",
            ["\u300e\u306f\u3044\u3002\u300f\u300d", "\u5e30\u3063\u305f\u3002"],
        ),
        ("zh", "\u8d70\uff01\u300f\u5979\u8bf4\u3002", ["\u8d70\uff01\u300f", "\u5979\u8bf4\u3002"]),
        ("en", "It was late. \u2019Twas cold.", ["It was late.", "\u2019Twas cold."]),
    ],
)
def test_closing_marks_stay_with_what_they_close(language: str, text: str, expected: list[str]) -> None:
    assert split_sentences([text], language) == expected


def test_text_without_ends_is_cut_at_line_ends_then_at_marks_then_at_spaces() -> None:
    lines = "\n".join(["buy milk and bread for the week", "call the plumber about the tap"] * 20)
    assert all(sentence.endswith(("week", "tap")) for sentence in split_sentences([lines]))
    clauses = "the first of them; " * 20 + "one, two, three, " * 60
    parts = split_sentences([clauses])
    assert parts[0].endswith(";")
    assert all(part.endswith((";", ",")) for part in parts)
    words = split_sentences(["word " * 500])
    assert {len(part) % 5 for part in words} == {4}
    assert len(split_sentences(["x" * 2000])) == 1


def test_scripts_without_spaces_are_cut_between_letters_and_their_marks() -> None:
    thai = split_sentences(["\u0e17\u0e35\u0e48" * 300], "th")
    assert max(map(len, thai)) < LONGEST_UNSPACED + 3
    assert all(part.startswith("\u0e17") for part in thai)


@pytest.mark.parametrize(
    "unit",
    [
        "\u8fd9\u662f\u4e00\u4e2a\u5f88\u957f\u7684\u53e5\u5b50\u3002",
        "\u8fd9\u662f\u4e00\u4e2a\u5f88\u957f\u7684",
        "abcdefghij",
        '"He left. ',
        "a, ",
    ],
)
def test_what_takes_quadratic_time_gets_short_blocks(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """sentencex needs 4 times as long for twice the letters: minutes for a line of 2 MB."""
    lengths: list[int] = []
    segment = sentencex.segment

    def watched(language: str, text: str) -> list[str]:
        lengths.append(len(text))
        return segment(language, text)

    monkeypatch.setattr(sentencex, "segment", watched)
    text = unit * (40_000 // len(unit))
    assert letters("".join(split_sentences([text], "zh"))) == letters(text)
    assert max(lengths) <= LONGEST_BLOCK
    assert sum(lengths) < 3 * len(text)


class Watched(str):
    """Text that counts the letters of the pieces that are cut out of it."""

    copied = 0

    def __getitem__(self, key: Any) -> str:
        piece = Watched(super().__getitem__(key))
        Watched.copied += len(piece)
        return piece


@pytest.mark.parametrize(("cut", "unit"), [(splitting._blocks, "It was late. \u4e2d "), (splitting._parts, "word, ")])
def test_the_rest_of_a_long_paragraph_is_not_copied_with_every_piece(cut: Any, unit: str) -> None:
    Watched.copied = 0
    text = unit * 20_000
    assert "".join(cut(Watched(text))) == text
    assert Watched.copied < 1.1 * len(text)
