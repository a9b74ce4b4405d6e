"""Joiners and emoji, which BERT's own steps lose; and what a language keeps by default."""

from pathlib import Path

import pytest

from bert_lightning.prepare import prepare
from data_pipeline.tokenizers.tokenizer import load_tokenizer, train_wordpiece
from tests.support.runs import compose_here
from tests.support.texts import tiny_texts

TEXTS = [" ".join(document) for document in tiny_texts(40)]
SMILE, UNSEEN, HEART = "\U0001f600", "\U0001f680", "\u2764\ufe0f"


def pieces(texts: list[str], text: str, **settings: bool) -> list[str]:
    return train_wordpiece(texts, 400, **settings).encode(text, add_special_tokens=False).tokens


def test_a_word_with_an_emoji_at_its_end_stays_a_word() -> None:
    texts = [*TEXTS, f"the king {SMILE}"] * 2
    assert pieces(texts, f"king{SMILE}{UNSEEN} queen{HEART}") == ["king", SMILE, "[UNK]", "queen", "[UNK]"]
    assert pieces(texts, f"king{UNSEEN}", split_emoji=False) == ["[UNK]"]


def test_a_vocabulary_of_text_without_emoji_has_the_steps_of_bert() -> None:
    assert pieces(TEXTS, f"king{UNSEEN}") == ["[UNK]"]
    assert pieces(TEXTS, f"king{UNSEEN}", split_emoji=True) == ["king", "[UNK]"]


def test_joiners_stay_if_they_are_kept_and_other_controls_never() -> None:
    texts = ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0645\u06cc \u200c"] * 5
    (kept,) = pieces(texts, texts[0].split()[0], keep_joiners=True, strip_accents=False)
    (removed,) = pieces(texts, texts[0].split()[0], strip_accents=False)
    assert (kept, removed) == (texts[0].split()[0], texts[0].split()[0].replace("\u200c", ""))
    assert pieces(TEXTS, "ki\u00adng\u200b\t the\x00", keep_joiners=True) == ["king", "the"]


@pytest.mark.parametrize(
    ("language", "word", "kept"),
    [
        ("en", "caf\u00e9", "cafe"),
        ("fr", "caf\u00e9", "caf\u00e9"),
        ("hi", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        ("ja", "\u304c\u304e", "\u304c\u304e"),
        ("fa", "\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u200c\u062e\u0648"),
    ],
)
@pytest.mark.parametrize("name", ["wordpiece", "byte_bpe", "unigram"])
def test_a_language_keeps_the_marks_of_its_words(
    tmp_path: Path, language: str, word: str, kept: str, name: str
) -> None:
    (tmp_path / "text.txt").write_text("\n\n".join([f"{word} a b. {word} c."] * 4) + "\n")
    settings = {"corpus": "text", "corpus.path": tmp_path / "text.txt", "corpus.language": language}
    settings |= {"tokenizer": name, "tokenizer.vocab_size": 400, "tokenizer.lowercase": True, "executor.workers": 1}
    prepare(compose_here("prepare", settings | {"output_dir": tmp_path / "out", "validation_fraction": 0}))
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer")
    assert tokenizer.decode(tokenizer.encode(word).ids).replace(" ", "") == kept
