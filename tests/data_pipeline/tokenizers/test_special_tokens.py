"""Roles are known whatever the names, and told by the tokenizer itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, processors

from data_pipeline.tokenizers.byte_bpe import train_byte_bpe
from data_pipeline.tokenizers.special_tokens import (
    check_special_tokens,
    extra_special_tokens,
    finish,
    plain_text_tokenizer,
    special_names,
    special_tokens,
)
from data_pipeline.tokenizers.tokenizer import load_tokenizer, train_wordpiece
from data_pipeline.tokenizers.unigram import train_unigram
from tests.data_pipeline.tokenizers.foreign import FOREIGN
from tests.support.texts import tiny_texts


def of_words(*tokens: str) -> Tokenizer:
    return Tokenizer(models.WordPiece({token: n for n, token in enumerate(tokens)}, unk_token=tokens[0]))


@pytest.mark.parametrize(
    "tokens",
    [
        ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"),
        ("<unk>", "<pad>", "<s>", "</s>", "<mask>"),
        ("<unk>", "<pad>", "<cls>", "<sep>", "<mask>", "<s>", "</s>"),
        ("[unk]", "<|pad|>", "[BOS]", "[EOS]", "<|MASK|>"),
        ("<unk>", "<pad>", "[CLS]", "[SEP]", "[MASK]", "<s>"),
    ],
)
def test_roles_are_found_under_their_usual_spellings(tokens: tuple[str, ...]) -> None:
    names = special_names(of_words(*tokens))
    assert [names[role] for role in ("unk", "pad", "cls", "sep", "mask")] == list(tokens[:5])


def test_what_the_tokenizer_puts_around_a_text_goes_before_spellings() -> None:
    tokenizer = of_words("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "<begin>", "<end>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<begin> $A <end>", pair="<begin> $A <end> $B <end>", special_tokens=[("<begin>", 5), ("<end>", 6)]
    )
    special = special_tokens(finish(tokenizer))
    assert (special.cls, special.sep) == (5, 6)
    assert tokenizer.encode("", "").ids == [5, 6, 6]
    assert tokenizer.encode("", "").type_ids == [0, 0, 1]


def test_spellings_that_are_special_tokens_go_before_others(tmp_path: Path) -> None:
    tokenizer = of_words("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "<s>", "<pad>", "</s>", "<mask>")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    declared = {"pad_token": "<pad>", "mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(declared))
    expected = {"pad": "<pad>", "unk": "[UNK]", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    assert special_names(load_tokenizer(tmp_path)) == expected
    assert special_names(Tokenizer.from_str(load_tokenizer(tmp_path).to_str())) == expected


def test_files_tell_the_ends_of_a_text_of_a_causal_model_alone(tmp_path: Path) -> None:
    of_words("[UNK]", "<begin>", "<end>").save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<begin>", "eos_token": "<end>"}))
    tokenizer = load_tokenizer(tmp_path, is_causal=True)
    expected = {"pad": "<end>", "unk": "[UNK]", "cls": "<begin>", "sep": "<end>"}
    assert special_names(tokenizer) == special_names(Tokenizer.from_str(tokenizer.to_str())) == expected
    assert tokenizer.encode("").ids == [1, 2]
    with pytest.raises(ValueError, match=r"^the vocabulary has no \[PAD\], \[CLS\], \[SEP\], \[MASK\]; BERT needs"):
        load_tokenizer(tmp_path)


def test_missing_roles_are_named() -> None:
    with pytest.raises(ValueError, match=r"^the vocabulary has no \[SEP\], \[MASK\]; BERT needs \[PAD\], "):
        special_names(of_words("<unk>", "<pad>", "<s>"))


def test_names_that_only_a_file_beside_the_tokenizer_tells_are_refused(tmp_path: Path) -> None:
    of_words("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "<hide>").save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"mask_token": {"content": "<hide>"}}))
    with pytest.raises(ValueError, match=r"call <hide> the mask_token, but the vocabulary has \[MASK\] too"):
        load_tokenizer(tmp_path)


def test_vocabularies_under_other_names_get_no_new_ids(tmp_path: Path) -> None:
    FOREIGN["names_and_flags"](tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.get_vocab_size() == len((tmp_path / "vocab.txt").read_text().splitlines())
    assert special_tokens(tokenizer).pad == 1


def test_special_tokens_without_a_role_are_plain_text_nowhere(tmp_path: Path) -> None:
    FOREIGN["extra_tokens"](tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert extra_special_tokens(tokenizer) == ["[ANON]"]
    tokens = plain_text_tokenizer(tokenizer).encode("a[ANON]b [SEP]", add_special_tokens=False).tokens
    assert "[ANON]" in tokens
    assert "[SEP]" not in tokens


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["a b"], "must be texts without white space, .*; got 'a b'"),
        ([""], "must be texts without white space, .*; got ''"),
        ([["ANON"]], r"must be texts without white space, .*; got \['ANON'\]"),
        (["ANON"], r"""must be told apart from words, such as tokenizer.special_tokens='\["\[ANON\]"\]'; got ANON"""),
        ("[ANON]", r"must be a list, .*; got '\[ANON\]'"),
        (["[MASK]"], r"names \[MASK\], which the vocabulary has already"),
        (["[X]", "[X]"], r"names \[X\], which the vocabulary has already"),
    ],
)
def test_what_cannot_be_a_special_token_is_refused(tokens: object, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^tokenizer\.special_tokens {said}"):
        check_special_tokens(tokens)


@pytest.mark.parametrize("train", [train_wordpiece, train_byte_bpe, train_unigram])
def test_a_vocabulary_is_trained_with_special_tokens_more(train: Callable[..., Tokenizer]) -> None:
    texts = [f"[ANON] {' '.join(document)} [USR]" for document in tiny_texts(60)]
    tokenizer = train(texts, 400, special_tokens=["[ANON]", "[USR]"])
    assert [tokenizer.token_to_id(token) for token in ("[MASK]", "[ANON]", "[USR]")] == [4, 5, 6]
    assert tokenizer.get_vocab_size() <= 400
    assert not [token for token in tokenizer.get_vocab() if "usr" in token.lower() and token != "[USR]"]
    for each in (tokenizer, plain_text_tokenizer(tokenizer)):
        tokens = each.encode("the king[ANON] [USR]", add_special_tokens=False).tokens
        assert [token for token in tokens if token.startswith("[")] == ["[ANON]", "[USR]"]


def test_a_vocabulary_counts_its_special_tokens() -> None:
    texts = [" ".join(document) for document in tiny_texts(20)]
    least = next(size for size in range(10, 200) if fits(texts, size, []))
    assert not fits(texts, least, ["[ANON]"])
    assert fits(texts, least + 1, ["[ANON]"])


def fits(texts: list[str], vocab_size: int, extra: list[str]) -> bool:
    try:
        train_wordpiece(texts, vocab_size, special_tokens=extra)
    except ValueError:
        return False
    return True
