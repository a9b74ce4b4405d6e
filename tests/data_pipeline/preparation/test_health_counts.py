"""Health of a corpus: what a preparation counts, and which of it is a warning with a setting that mends it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from data_pipeline.corpora.jsonl import JsonLines
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.health_counts import HealthCounts
from data_pipeline.preparation.preparation import Preparation
from data_pipeline.prepared.health import health_rows
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.tokenizers.bert_steps import WordFlags, wordpiece_tokenizer
from data_pipeline.tokenizers.special_tokens import SPECIAL_TOKENS, finish, plain_text_tokenizer
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from data_pipeline.tokenizers.word_cache import WordCache
from tests.support.texts import tiny_texts

TEXTS = [" ".join(document) for document in tiny_texts(40) if len(document) > 1]


def figures(
    tmp_path: Path, texts: list[str], tokenizer: Tokenizer | None = None, held_out: float = 0.3, **reader: Any
) -> dict[str, Any]:
    """Prepare texts and return the figures of the manifest."""
    (tmp_path / "in").mkdir()
    lines = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(lines))
    corpus = JsonLines(name="notes", path=tmp_path / "in", licence="", origin="", **reader)
    made = tokenizer or train_wordpiece(TEXTS, 150)
    Preparation(tmp_path / "out", held_out).run([corpus], lambda _: made, {}, LocalExecutor(1))
    return dict(Manifest.load(tmp_path / "out").health)


def advice(health: dict[str, Any]) -> dict[str, str]:
    return {row.name: row.advice for row in health_rows(health) if row.advice}


def test_a_healthy_corpus_has_figures_and_no_warning(tmp_path: Path) -> None:
    health = figures(tmp_path, TEXTS)
    assert set(advice(health)) == {"held-out text"}  # there is little of it
    assert health["unknown_share"] == health["copy_share"] == health["held_out_in_training"] == 0
    assert health["distinct_documents"] == len(TEXTS)
    assert 0.1 < health["held_out_share"]["notes"] < 0.5
    assert 1 < health["tokens_per_word"] < 2
    assert len(health_rows(health)) == 12


def test_unknown_words_are_counted_and_listed(tmp_path: Path) -> None:
    """A cased text and a vocabulary of lower case, an unbroken script, and a string that is too long."""
    words = ["king", "runs", ".", "the"]
    model = models.WordPiece(
        {token: n for n, token in enumerate([*SPECIAL_TOKENS.values(), *words])}, unk_token="[UNK]"
    )
    tokenizer = finish(wordpiece_tokenizer(model, WordFlags(lowercase=False)))
    health = figures(
        tmp_path, ["The king runs. The king The.", f"the king runs. {'x' * 150} runs."] * 5, tokenizer, held_out=0
    )
    assert health["unknown_share"] == pytest.approx(20 / 75)
    assert health["unknown_words"] == {"The": 15, "x" * 40: 5}
    assert "tokenizer.lowercase" in advice(health)["tokens that are unknown"]
    assert ("commonest unknown words", f"The (15), {'x' * 40} (5)") in [(r.name, r.value) for r in health_rows(health)]


def test_documents_of_one_sentence_are_a_warning(tmp_path: Path) -> None:
    health = figures(tmp_path, [f"the king sees the {word}" for text in TEXTS for word in text.split()[:3]])
    assert health["one_sentence_share"] == 1
    assert "objective=mlm" in advice(health)["documents of one sentence"]


def test_copies_are_a_warning_and_never_held_out(tmp_path: Path) -> None:
    health = figures(tmp_path, [*TEXTS, *TEXTS])
    assert 0.2 < health["copy_share"] < 0.6
    assert "deduplication=minhash" in advice(health)["documents that are exact copies of others"]
    assert health["held_out_in_training"] == 0
    assert 0 < health["held_out_share"]["notes"] < 0.2  # 0.3 with the copies


def test_held_out_text_that_is_trained_on_is_a_warning_for_older_folders() -> None:
    assert "preparing again" in advice({"held_out_in_training": 1})["held-out documents that are also trained on"]
    assert advice({"held_out_in_training": 0}) == {}


def test_a_weight_makes_no_copies(tmp_path: Path) -> None:
    health = figures(tmp_path, TEXTS, weight=1.5)
    assert health["copy_share"] == 0


def test_a_corpus_of_one_text_is_a_warning(tmp_path: Path) -> None:
    health = figures(tmp_path, TEXTS[:1] * 20, held_out=0)
    assert health["distinct_documents"] == 1
    assert "no pair of them is random" in advice(health)["different documents"]


@pytest.mark.parametrize(
    "text", ["हिन्दी में लिखी हुई किताब।", "ภาษาไทยที่นี่", "がぎぐげご", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"]
)
def test_marks_that_the_tokenizer_removes_are_a_warning(text: str) -> None:
    shares = []
    for strip in (None, False):
        tokenizer = train_wordpiece([text], 100, strip_accents=strip)
        counts = HealthCounts()
        counts.add([text], [[7]], WordCache(plain_text_tokenizer(tokenizer)), 1)
        shares.append(counts.figures()["marks_removed_share"])
    assert shares[0] > 0.05
    assert shares[1] == (0 if "\u200c" not in text else shares[0])  # BERT's cleaning removes joiners in any case


@pytest.mark.parametrize(("text", "is_warning"), [
    ("Der Fluß ist schön und grün, wir gehen über die Straße.", True),
    ("Le café était fermé.", True),
    ("Мой дом стоит там.", True),
    (f"{'They went to the town and saw the river. ' * 10} Then they sat in a café.", False),
])  # fmt: skip
def test_words_that_lose_accents_are_a_warning_that_names_the_language(text: str, is_warning: bool) -> None:
    for strip in (None, False):
        counts = HealthCounts()
        counts.add([text], [[7]], WordCache(plain_text_tokenizer(train_wordpiece([text], 100, strip_accents=strip))), 1)
        advised = advice(HealthCounts.from_json(counts.to_json()).figures())
        said = advised.get("words that lose their accents", "")
        assert ("corpus.language=<code>" in said) == (is_warning and strip is None)


def test_little_held_out_text_is_a_warning_that_names_the_fraction() -> None:
    few, many, none = (
        {"held_out_documents": documents, "held_out_tokens": tokens}
        for documents, tokens in ((2, 12_799), (2, 12_800), (0, 0))
    )
    assert "validation_fraction" in advice(few)["held-out text"]
    assert [(row.name, row.value, row.advice) for row in health_rows(many)] == [
        ("held-out text", "2 documents, 12,800 tokens", "")
    ]
    assert health_rows(none) == []


def test_long_sentences_are_counted(tmp_path: Path) -> None:
    counts = HealthCounts()
    words = WordCache(plain_text_tokenizer(train_wordpiece(TEXTS, 150)))
    counts.add(["a", "b", "c"], [[7] * 100, [7] * 300, [7] * 600], words, 1)
    health = counts.figures()
    assert health["longest_sentence"] == 600
    assert health["beyond_128_share"] == pytest.approx((172 + 472) / 1000)
    assert health["beyond_512_share"] == pytest.approx(88 / 1000)
    assert "corpus.language" in advice(health)["tokens beyond the 512th of their sentence, which are hardly ever read"]


def test_counts_survive_a_file_and_add_up() -> None:
    words = WordCache(plain_text_tokenizer(train_wordpiece(TEXTS, 150)))
    parts = [HealthCounts(), HealthCounts()]
    for part, text in zip(parts, (TEXTS[0], "\u4e2d king"), strict=True):
        part.add([text], words.encode([text]), words, 1)
    merged = HealthCounts()
    for part in parts:
        merged.merge(HealthCounts.from_json(json.loads(json.dumps(part.to_json()))))
    assert merged.totals["documents"] == 2
    assert merged.unknown_words == {"\u4e2d": 1}
    assert merged.longest_sentence == max(part.longest_sentence for part in parts)


def test_figures_of_others_are_no_error() -> None:
    assert health_rows({}) == []
    strange = {"unknown_share": "many", "later": 3, "unknown_words": [1], "held_out_share": {"a": "b"}}
    strange |= {"held_out_documents": 1, "held_out_tokens": None}
    assert health_rows(strange) == []
