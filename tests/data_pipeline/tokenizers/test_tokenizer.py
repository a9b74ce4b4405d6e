"""Tokenizers: reproducible training, loading, and agreement with transformers on the published vocabulary."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from data_pipeline.tokenizers.pieces import continuation_pieces
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.tokenizers.tokenizer import load_tokenizer, tokenizer_sha256, train_wordpiece
from data_pipeline.tokenizers.transformers_files import save_tokenizer
from tests.support.checkout import SHARED_DATA, outputs_with_threads
from tests.support.texts import tiny_texts

TEXT = "Unaffable WORLD's café, naïve [MASK]: 3.14 東京 walks!"
VOCABULARY = SHARED_DATA / "bert-vocab.txt"
needs_vocabulary = pytest.mark.skipif(not VOCABULARY.is_file(), reason="the published vocabulary is not here")


def test_special_tokens_get_the_first_ids(tokenizer: Tokenizer) -> None:
    special = special_tokens(tokenizer)
    assert [special.pad, special.unk, special.cls, special.sep, special.mask] == [0, 1, 2, 3, 4]


def test_training_is_the_same_in_every_process_and_with_any_threads() -> None:
    program = (
        "from tests.support.texts import tiny_texts; from data_pipeline.tokenizers.tokenizer import *;"
        "print(tokenizer_sha256(train_wordpiece([' '.join(d) for d in tiny_texts(80)], 200)))"
    )
    hashes = outputs_with_threads(program, (1, 2, 5))
    assert len(hashes) == 1


def test_case_is_folded_or_kept_as_asked() -> None:
    texts = ["The King and the Queen"] * 3
    folded, kept = train_wordpiece(texts, 60), train_wordpiece(texts, 60, lowercase=False)
    assert "K" not in folded.get_vocab()
    assert "K" in kept.get_vocab()
    assert folded.encode("KING").ids == folded.encode("king").ids


def test_continuation_pieces_are_those_that_begin_with_hashes(tokenizer: Tokenizer) -> None:
    table = continuation_pieces(tokenizer)
    for token, number in tokenizer.get_vocab().items():
        assert table[number] == token.startswith("##")
    assert 0 < table.sum() < len(table)


@needs_vocabulary
def test_ids_are_those_of_transformers(tmp_path: Path) -> None:
    own = load_tokenizer(VOCABULARY)
    save_tokenizer(own, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(TEXT)["input_ids"] == own.encode(TEXT).ids
    assert theirs("a b", "c d")["token_type_ids"] == own.encode("a b", "c d").type_ids
    assert theirs.mask_token_id == special_tokens(own).mask == 103
    assert own.get_vocab_size() == 30_522


def test_a_saved_tokenizer_loads_the_same_from_every_form(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_tokenizer(tokenizer, tmp_path)
    text = " ".join(tiny_texts(3)[0])
    expected = tokenizer.encode(text).ids
    for path in (tmp_path, tmp_path / "tokenizer.json", tmp_path / "vocab.txt"):
        assert load_tokenizer(path).encode(text).ids == expected
    assert tokenizer_sha256(load_tokenizer(tmp_path)) == tokenizer_sha256(tokenizer)
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == expected


def test_what_is_not_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.path=.*nowhere.* does not exist"):
        load_tokenizer(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match=r"neither tokenizer\.json nor vocab\.txt"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(ValueError, match=r"is not a tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_without_mask_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n")
    with pytest.raises(ValueError, match=r"the vocabulary has no \[MASK\]"):
        load_tokenizer(path)


SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{SPECIAL}a\nb\na\n".encode(), r"lists 'a' twice, in lines 6 and 8"),
        (b"\xff\xfe\x00", "is not a vocabulary of UTF-8 text"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"vocab\.txt {said}"):
        load_tokenizer(path)


def test_a_vocabulary_may_have_a_byte_order_mark_and_any_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text(f"{SPECIAL}a\nb\n\n", encoding="utf-8-sig", newline="\r\n")
    loaded = load_tokenizer(path)
    assert (special_tokens(loaded).pad, loaded.get_vocab_size()) == (0, 7)
    assert loaded.encode("b a", add_special_tokens=False).ids == [6, 5]


def test_a_file_that_cuts_and_fills_up_does_so_no_more(tmp_path: Path, tokenizer: Tokenizer) -> None:
    sentences = ["the king sees the queen and the old city", "a"]
    expected = [tokenizer.encode(sentence, add_special_tokens=False).ids for sentence in sentences]
    published = Tokenizer.from_str(tokenizer.to_str())
    published.enable_truncation(4)
    published.enable_padding(length=4)
    published.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    assert [e.ids for e in loaded.encode_batch_fast(sentences, add_special_tokens=False)] == expected
    assert tokenizer_sha256(loaded) == tokenizer_sha256(tokenizer)


def test_ids_with_gaps_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"]["far"] = 100_000
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"ids up to 100000.*without gaps"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_smaller_than_the_alphabet_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.vocab_size=12 is too small: .* are \d\d"):
        train_wordpiece([" ".join(document) for document in tiny_texts(20)], 12)


def test_ids_fit_the_table(tokenizer: Tokenizer) -> None:
    ids = np.array(list(tokenizer.get_vocab().values()))
    assert sorted(ids.tolist()) == list(range(tokenizer.get_vocab_size()))


def test_letters_seen_once_do_not_fill_the_vocabulary() -> None:
    texts = [" ".join(document) for document in tiny_texts(100)]
    texts += [f"the king {chr(0x4E00 + number)} runs" for number in range(400)]
    tokenizer = train_wordpiece(texts, 500)
    assert not any("\u4e00" <= token[-1] <= "\u9fff" for token in tokenizer.get_vocab())
    assert {"king", "queen", "mountain"} <= set(tokenizer.get_vocab())
    assert sum(token[-1] >= "\u4e00" for token in train_wordpiece(texts, 3000).get_vocab()) == 400


def test_the_commonest_letters_stay_in_a_limited_alphabet() -> None:
    tokenizer = train_wordpiece(["aaa aaa bb bb cd"] * 3, 40, limit_alphabet=2)
    assert {token.removeprefix("##")[0] for token in tokenizer.get_vocab()} - {"["} == {"a", "b"}


@pytest.mark.parametrize("line", [" king", "king ", "king\t"])
def test_a_vocabulary_with_white_space_at_the_ends_of_a_token_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "vocab.txt").write_text(f"{SPECIAL}{line}\nqueen\n")
    with pytest.raises(
        ValueError, match=rf"vocab.txt lists {line!r} in line 6; no text gives a token".replace("\\", r"\\")
    ):
        load_tokenizer(tmp_path / "vocab.txt")
