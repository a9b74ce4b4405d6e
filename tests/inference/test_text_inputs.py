"""Texts are tokenized in groups that memory holds, and what is said of them is JSON whatever is in them."""

import json
from collections.abc import Iterator

import pytest
from tokenizers import Tokenizer

from bert_lightning.inference import text_inputs
from bert_lightning.inference.json_lines import write_lines
from bert_lightning.inference.text_inputs import TextInput, encoded_chunks
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer, special_tokens


def test_long_texts_are_tokenized_few_at_a_time(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more texts are read ahead than have the letters of a group, and none is lost or moved."""
    monkeypatch.setattr(text_inputs, "LETTERS_AT_A_TIME", 100)
    read: list[str] = []

    def texts() -> Iterator[TextInput]:
        for number in range(20):
            read.append(str(number))
            yield TextInput("alpha " * (10 if number < 10 else 1), None, str(number))

    found = []
    for chunk in encoded_chunks(texts(), tokenizer, 8, truncate=True, most_tokens=1):
        found += [each.source.where for each in chunk]
        assert len(read) - len(found) < 2 or len(found) >= 10
    assert found == read == [str(number) for number in range(20)]


@pytest.mark.parametrize("as_plain_text", [False, True])
def test_texts_are_cut_without_a_change_of_the_tokenizer(tokenizer: Tokenizer, as_plain_text: bool) -> None:
    """What it makes of names of special tokens stays too."""
    given = plain_text_tokenizer(tokenizer) if as_plain_text else tokenizer
    texts = [TextInput("alpha [MASK] " * 10, None, "x")]
    ((cut,),) = encoded_chunks(texts, given, 8, truncate=True, most_tokens=1)
    assert given.truncation is None
    assert cut.is_cut
    assert cut.encoding.ids == [*given.encode(texts[0].text).ids[:7], special_tokens(given).sep]


def test_printed_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": chr(code)} for code in [*range(0xA0), 0x2028, 0x202E, 0xD800, 0x1F600]] + [{"text": "\\x92 ü"}]
    write_lines(rows, None, "rows")
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in printed] == rows
    assert "\x92" not in "".join(printed)
