"""Byte-level BPE and Unigram: reproducible, without loss, the same ids in transformers, whole words."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from data_pipeline.tokenizers.byte_bpe import train_byte_bpe
from data_pipeline.tokenizers.pieces import continuation_pieces
from data_pipeline.tokenizers.special_tokens import SPECIAL_TOKENS, special_tokens
from data_pipeline.tokenizers.tokenizer import load_tokenizer, tokenizer_sha256
from data_pipeline.tokenizers.transformers_files import save_tokenizer
from data_pipeline.tokenizers.unigram import train_unigram
from tests.support.checkout import outputs_with_threads
from tests.support.texts import tiny_texts

TEXTS = [" ".join(document) for document in tiny_texts(80)] + ["The king's café, 1891: 3.14 (naïve) Größe!"] * 3
TRAINERS = {"byte_bpe": train_byte_bpe, "unigram": train_unigram}
trainers = pytest.mark.parametrize("train", TRAINERS.values(), ids=TRAINERS)


@pytest.mark.parametrize("module", TRAINERS)
def test_training_is_the_same_in_every_process_and_with_any_threads(module: str) -> None:
    program = (
        "from tests.data_pipeline.tokenizers.test_byte_bpe import TEXTS;"
        f"from data_pipeline.tokenizers.{module} import *;"
        "from data_pipeline.tokenizers.tokenizer import tokenizer_sha256;"
        f"print(tokenizer_sha256(train_{module}(TEXTS, 400)))"
    )
    hashes = outputs_with_threads(program, (1, 3))
    assert len(hashes) == 1


@trainers
def test_any_text_comes_back_from_its_ids(train: Callable[..., Tokenizer]) -> None:
    tokenizer = train(TEXTS, 400, lowercase=False)
    for text in ("The King's GPT4 café cost 3.14!", "東京 and 서울, \U0001f600", "a", TEXTS[0]):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert special_tokens(tokenizer).unk not in ids
        assert tokenizer.decode(ids) == text


@trainers
def test_a_word_is_the_same_wherever_it_stands(train: Callable[..., Tokenizer]) -> None:
    tokenizer = train(TEXTS, 400)
    first = tokenizer.encode("king", add_special_tokens=False).ids
    size = len(first)
    assert tokenizer.encode("king runs", add_special_tokens=False).ids[:size] == first
    for text in ("the king", "the [MASK] king"):
        assert tokenizer.encode(text, add_special_tokens=False).ids[-size:] == first
    stop = tokenizer.encode("the king.", add_special_tokens=False).ids[-1]
    mask = special_tokens(tokenizer).mask
    assert tokenizer.encode("the [MASK].", add_special_tokens=False).ids[-2:] == [mask, stop]


@trainers
def test_case_and_accents_are_folded_or_kept_as_asked(train: Callable[..., Tokenizer]) -> None:
    folded, kept, umlauts = (
        train(TEXTS, 400, lowercase=lower, strip_accents=strip)
        for lower, strip in ((True, None), (False, None), (True, False))
    )
    assert folded.encode("CAFÉ").ids == folded.encode("cafe").ids
    assert kept.encode("King").ids != kept.encode("king").ids
    assert umlauts.encode("GRÖSSE").ids == umlauts.encode("grösse").ids != umlauts.encode("grosse").ids
    assert folded.decode(folded.encode("서울").ids) == "서울"


@trainers
@pytest.mark.parametrize("lowercase", [True, False])
def test_transformers_gives_the_same_ids(tmp_path: Path, train: Callable[..., Tokenizer], lowercase: bool) -> None:
    own = train(TEXTS, 400, lowercase=lowercase)
    save_tokenizer(own, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*TEXTS[-5:], "It [MASK] 3 [MASK]. Größe, 東京"):
        assert theirs(text)["input_ids"] == own.encode(text).ids
    assert theirs("a b", "c d")["token_type_ids"] == own.encode("a b", "c d").type_ids
    names = {f"{role}_token": token for role, token in SPECIAL_TOKENS.items()}
    assert {name: getattr(theirs, name) for name in names} == names
    assert special_tokens(own).mask == theirs.mask_token_id == 4
    assert tokenizer_sha256(load_tokenizer(tmp_path)) == tokenizer_sha256(own)
    assert not (tmp_path / "vocab.txt").exists()


@trainers
def test_pieces_group_into_words(train: Callable[..., Tokenizer]) -> None:
    tokenizer = train(TEXTS, 400)
    table = continuation_pieces(tokenizer)
    encoding = tokenizer.encode(
        "unhappily the queens, stonewater (gardens) 18912 Größe 東京.", add_special_tokens=False
    )
    begins = ~table[encoding.ids]
    words = np.split(np.array(encoding.ids), np.flatnonzero(begins)[1:])
    found = [tokenizer.decode(word.tolist()).strip() for word in words]
    joined = [word for word in found if word]
    assert joined[:3] == ["unhappily", "the", "queens"]
    assert joined[3:5] == [",", "stonewater"]
    assert joined[-1] == "."
    assert {"18912", "東京"} <= {word.lower() for word in joined}
    assert not table[list(range(5))].any()
    assert 0 < table.sum() < len(table)


@trainers
def test_a_vocabulary_that_is_too_small_is_refused(train: Callable[..., Tokenizer]) -> None:
    for size in (4, 200):
        with pytest.raises(ValueError, match=rf"tokenizer\.vocab_size={size} is too small: the special tokens"):
            train(TEXTS, size)


def test_unigram_knows_its_letters_where_it_has_no_bytes() -> None:
    tokenizer = train_unigram(TEXTS, 120, byte_fallback=False, character_coverage=1.0)
    unknown = special_tokens(tokenizer).unk
    assert unknown not in tokenizer.encode(TEXTS[-1]).ids
    assert unknown in tokenizer.encode("東京").ids
    with pytest.raises(ValueError, match=r"character_coverage must be in \(0, 1\]; got 2"):
        train_unigram(TEXTS, 400, character_coverage=2)


def test_special_tokens_are_found_by_role_under_the_names_of_roberta_and_albert(tmp_path: Path) -> None:
    content = train_byte_bpe(TEXTS, 300).to_str()
    for names in (
        {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"},
        {"[PAD]": "<pad>", "[UNK]": "<unk>"},
    ):
        renamed = content
        for ours, theirs in names.items():
            renamed = renamed.replace(json.dumps(ours), json.dumps(theirs))
        (tmp_path / "tokenizer.json").write_text(renamed)
        tokenizer = load_tokenizer(tmp_path)
        special = special_tokens(tokenizer)
        assert [special.pad, special.unk, special.cls, special.sep, special.mask] == [0, 1, 2, 3, 4]
        assert not continuation_pieces(tokenizer)[:5].any()
        save_tokenizer(tokenizer, tmp_path / "saved")
        assert AutoTokenizer.from_pretrained(tmp_path / "saved").pad_token == "<pad>"
