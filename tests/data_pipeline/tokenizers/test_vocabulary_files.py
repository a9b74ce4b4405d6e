"""A vocab.txt: every line has its id, and the files beside it count."""

import json
import logging
from pathlib import Path

import pytest

from data_pipeline.tokenizers.tokenizer import load_tokenizer
from data_pipeline.tokenizers.vocabulary_files import Declared, read_declared, read_vocabulary

SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"


def write(folder: Path, vocabulary: str, **config: object) -> Path:
    (folder / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder / "vocab.txt"


def test_blank_lines_keep_their_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, f"{SPECIAL}\nthe\n\nking\n\n\n")
    with caplog.at_level(logging.INFO):
        vocabulary = read_vocabulary(path)
    assert (vocabulary["the"], vocabulary["king"], len(vocabulary)) == (6, 8, 9)
    assert "2 blank lines keep their ids, the first is line 6" in caplog.text
    assert load_tokenizer(path).encode("the king", add_special_tokens=False).ids == [6, 8]


@pytest.mark.parametrize(
    ("config", "text", "tokens"),
    [
        ({}, "Éa 東京", ["ea", "東", "京"]),
        ({"do_lower_case": False}, "Éa 東京", ["Éa", "東", "京"]),
        ({"strip_accents": False}, "Éa 東京", ["éa", "東", "京"]),
        ({"tokenize_chinese_chars": False}, "Éa 東京", ["ea", "東京"]),
        ({"do_lower_case": False, "strip_accents": True}, "Éa", ["Ea"]),
    ],
)
def test_flags_beside_a_vocabulary_count(
    tmp_path: Path, config: dict[str, object], text: str, tokens: list[str]
) -> None:
    path = write(tmp_path, f"{SPECIAL}ea\nÉa\néa\nEa\n東\n京\n東京\n", **config)
    for given in (path, tmp_path):
        assert load_tokenizer(given).encode(text, add_special_tokens=False).tokens == tokens


def test_a_flag_goes_before_a_setting_and_a_line_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, f"{SPECIAL}king\nKing\n", do_lower_case=False)
    with caplog.at_level(logging.INFO):
        tokenizer = load_tokenizer(path, lowercase=True)
    assert tokenizer.encode("King", add_special_tokens=False).tokens == ["King"]
    assert f"{path}: lowercase=False, as tokenizer_config.json says, not True" in caplog.text
    write(tmp_path, f"{SPECIAL}king\nKing\n")
    assert load_tokenizer(path, lowercase=False).encode("King", add_special_tokens=False).tokens == ["King"]


def test_added_tokens_are_read_in_every_form(tmp_path: Path) -> None:
    decoder = {"4": {"content": "[MASK]", "special": True}, "6": {"content": "[A]", "special": True}}
    write(tmp_path, f"{SPECIAL}king\n", added_tokens_decoder=decoder, extra_special_tokens={"b": "[B]"})
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("king[A] [B]", add_special_tokens=False).tokens == ["king", "[A]", "[B]"]
    assert [tokenizer.token_to_id(token) for token in ("king", "[A]", "[B]")] == [5, 6, 7]
    decoder["9"] = {"content": "[C]"}
    write(tmp_path, f"{SPECIAL}king\n", added_tokens_decoder=decoder)
    with pytest.raises(ValueError, match=r"give '\[C\]' the id 9, it has 7"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"do_lower_case": "no"}, "do_lower_case='no', which must be"),
        ({"mask_token": 5}, "mask_token=5, which must be"),
        ({"added_tokens_decoder": {"x": {"content": "a"}}}, "added_tokens_decoder.'x', which must be a number"),
        ({"extra_special_tokens": "[A]"}, "extra_special_tokens='.A.', which must be"),
    ],
)
def test_what_is_of_another_type_is_named(tmp_path: Path, config: dict[str, object], said: str) -> None:
    write(tmp_path, SPECIAL, **config)
    with pytest.raises(ValueError, match=rf"tokenizer_config\.json has {said}"):
        read_declared(tmp_path)


def test_nothing_beside_a_vocabulary_says_nothing(tmp_path: Path) -> None:
    assert read_declared(tmp_path) == Declared()
