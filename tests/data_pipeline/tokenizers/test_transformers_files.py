"""Whatever tokenizer is given: shards, the tokenizer itself, its files and transformers have the same ids."""

import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizer

from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer, special_names, special_tokens
from data_pipeline.tokenizers.tokenizer import load_tokenizer, read_tokenizer, tokenizer_sha256, train_wordpiece
from data_pipeline.tokenizers.transformers_files import save_tokenizer, says_bert, tokenizer_files
from data_pipeline.tokenizers.word_cache import WordCache
from tests.data_pipeline.tokenizers.foreign import FOREIGN, TEXTS
from tests.support.texts import tiny_texts

TEXT = "The Old King's [ANON] walks, café über naïve x_1 3.14 don't — 東京 \U0001f600 a\u200cb."
BERTS = {"plain_bert", "names_and_flags", "other_names"}


def write_model_folder(tokenizer: Tokenizer, folder: Path) -> Path:
    """Write what a model is exported with: the class of the model sways AutoTokenizer."""
    save_tokenizer(tokenizer, folder)
    config = {"model_type": "bert", "vocab_size": tokenizer.get_vocab_size()}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", FOREIGN)
def test_ids_are_the_same_wherever_a_text_is_encoded(name: str, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    FOREIGN[name](tmp_path / "given")
    tokenizer = load_tokenizer(tmp_path / "given")
    theirs = AutoTokenizer.from_pretrained(write_model_folder(tokenizer, tmp_path / "saved"))
    names, special = special_names(tokenizer), special_tokens(tokenizer)
    for text in (TEXT, f"the {names['mask']} walks.", *TEXTS[:5]):
        assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
    pair = theirs("the king", "a queen")
    ours = tokenizer.encode("the king", "a queen")
    assert (pair["input_ids"], pair["token_type_ids"]) == (ours.ids, ours.type_ids)
    assert [ours.ids[0], ours.ids[-1], ours.ids.count(special.sep)] == [special.cls, special.sep, 2]
    assert (theirs.pad_token_id, theirs.mask_token_id, theirs.unk_token_id) == (special.pad, special.mask, special.unk)
    for text in (TEXT, *TEXTS[:5]):  # shards
        (encoded,) = WordCache(plain_text_tokenizer(tokenizer)).encode([text])
        assert encoded == tokenizer.encode(text, add_special_tokens=False).ids
    again = load_tokenizer(tmp_path / "saved")
    assert (
        tokenizer_sha256(again) == tokenizer_sha256(tokenizer) == tokenizer_sha256(read_tokenizer(tmp_path / "saved"))
    )


@pytest.mark.parametrize("name", FOREIGN)
def test_only_what_bert_tokenizer_can_say_is_written_as_one(name: str, tmp_path: Path) -> None:
    FOREIGN[name](tmp_path)
    files = tokenizer_files(load_tokenizer(tmp_path))
    is_bert = json.loads(files["tokenizer_config.json"])["tokenizer_class"] == "BertTokenizer"
    assert is_bert == (name in BERTS) == ("vocab.txt" in files)


def test_tokens_that_were_added_stay_whole_in_shards(tmp_path: Path) -> None:
    for name in ("extra_tokens", "old_added_tokens", "saved_by_transformers"):
        (tmp_path / name).mkdir()
        FOREIGN[name](tmp_path / name)
        tokenizer = load_tokenizer(tmp_path / name)
        (ids,) = WordCache(plain_text_tokenizer(tokenizer)).encode(["the [ANON] [MASK] king"])
        tokens = [tokenizer.id_to_token(index) for index in ids]
        assert tokens.count("[ANON]") == 1
        assert "[MASK]" not in tokens


def test_a_step_that_bert_does_not_have_is_never_lost() -> None:
    """Ids of an English sample agree, so the steps must be compared too."""
    texts = [" ".join(document) for document in tiny_texts(20)]
    for change in (
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer()])),
        lambda t: setattr(t, "normalizer", normalizers.Sequence([t.normalizer, normalizers.Replace(Regex("ﬁ"), "fi")])),
        lambda t: setattr(t, "normalizer", normalizers.BertNormalizer(clean_text=False)),
        lambda t: setattr(t.model, "max_input_chars_per_word", 50),
        lambda t: t.add_tokens(["king"]),
    ):
        tokenizer = train_wordpiece(texts, 200)
        assert says_bert(tokenizer, texts)
        change(tokenizer)
        assert not says_bert(tokenizer, texts)


def test_bert_tokenizer_reads_the_flags(tmp_path: Path) -> None:
    FOREIGN["names_and_flags"](tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    save_tokenizer(tokenizer, tmp_path / "saved")
    theirs = BertTokenizer.from_pretrained(tmp_path / "saved")
    for text in ("The über 東京", "KING", "e\u0301"):
        assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
