"""Filters: the first that drops a document says why, none depends on what another task read."""

from pathlib import Path
from typing import Any, cast

import pytest
from datatrove.pipeline.filters import LambdaFilter, RegexFilter, SamplerFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters import PIIFormatter

from data_pipeline.corpora.books import Books
from data_pipeline.preparation.document_filters import DocumentFilters
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.preparation import Preparation
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.prepared.prepared_folder import open_folder
from data_pipeline.records import Document
from data_pipeline.tokenizers.tokenizer import load_tokenizer, train_wordpiece
from tests.support.checkout import run_command
from tests.support.corpora import contents, reader, write_corpus


class Short(BaseFilter):
    """Drops documents of few words and says so."""

    def filter(self, doc: Any) -> bool | tuple[bool, str]:
        return len(doc.text.split()) > 3 or (False, "few_words")


def test_the_first_filter_that_drops_a_document_says_why() -> None:
    filters = DocumentFilters({"words": Short(), "letters": RegexFilter("z")})
    texts = {"a b c d": "", "a b": "Short: few_words", "a b z": "Short: few_words", "a b c z": "RegexFilter"}
    assert {text: filters.reason_to_drop(Document("d", [text])) for text in texts} == texts
    assert DocumentFilters().reason_to_drop(Document("d", [""])) == ""


def test_paragraphs_are_apart_and_sentences_are_lines() -> None:
    seen: list[str] = []
    filters = DocumentFilters({"see": LambdaFilter(lambda doc: not seen.append(doc.text))})
    filters.reason_to_drop(Document("d", ["One.", "Two."]))
    filters.reason_to_drop(Document("d", ["One.", "Two."], presplit=True))
    assert seen == ["One.\n\nTwo.", "One.\nTwo."]


def test_what_is_no_filter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"filters\.gopher must be a filter of datatrove; got str"):
        DocumentFilters({"gopher": cast(BaseFilter, "yes")})


def prepare(source: Path, output: Path, workers: int) -> Manifest:
    filters = DocumentFilters({"some": SamplerFilter(0.7, seed=1), "short": RegexFilter("winter")})
    settings = Preparation(output, validation_fraction=0.2, shard_tokens=2000, group_bytes=4000, filters=filters)
    train = (lambda texts: train_wordpiece(texts(), 120), {})
    return settings.run([reader(source)], *train, LocalExecutor(workers))[0]


def test_a_filter_that_draws_numbers_gives_the_same_for_any_workers(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text")
    for workers in (1, 2):
        (about,) = prepare(source, tmp_path / f"out{workers}", workers).sources
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")
    assert set(about.dropped) == {"RegexFilter", "SamplerFilter"}
    assert about.documents + sum(about.dropped.values()) == 120
    assert 20 < about.dropped["SamplerFilter"] < 52


@pytest.mark.slow
def test_groups_of_filters_are_keys_of_the_command(tmp_path: Path) -> None:
    pytest.importorskip("spacy")
    source = write_corpus(tmp_path / "text")
    arguments = ["corpus=text", f"corpus.path={source}", "tokenizer.vocab_size=120", "validation_fraction=0.2"]
    arguments += ["filters=[gopher,fineweb]", "filters.gopher_quality.min_doc_words=60", "executor.workers=1"]
    done = run_command("prepare", *arguments, "output_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (about,) = Manifest.load(tmp_path / "out").sources
    assert about.dropped["GopherQualityFilter: gopher_short_doc"] > 10
    assert about.documents + sum(about.dropped.values()) == 120
    assert f"{about.dropped['GopherQualityFilter: gopher_short_doc']} (GopherQualityFilter: gopher_short" in done.stdout
    assert "nothing to do" in run_command("prepare", *arguments, "output_dir=out", cwd=tmp_path).stdout
    other = run_command("prepare", *arguments[:-2], "executor.workers=1", "output_dir=out", cwd=tmp_path)
    assert "holds another preparation: filters" in other.stderr


def test_mail_and_public_addresses_are_masked_by_a_key(tmp_path: Path) -> None:
    """The default keeps them; private addresses name nobody."""
    (tmp_path / "in").mkdir()
    for number in range(9):
        text = f"Write to jo{number}@acme.org now.\n\nIt runs at 8.8.8.{number} and 192.168.0.1 here.\n\n"
        text += "word " * number
        (tmp_path / "in" / f"{number}.txt").write_text(text)
    formatters = {"pii": PIIFormatter()}
    read = Books("c", tmp_path / "in", "", "")
    texts = {}
    for name, filters in {"plain": DocumentFilters(), "masked": DocumentFilters(formatters=formatters)}.items():
        out = Preparation(tmp_path / name, 0.3, filters=filters)
        manifest, _ = out.run([read], lambda texts: train_wordpiece(texts(), 90), {}, LocalExecutor(1))
        folder = open_folder(tmp_path / name)
        tokens = [token for shard in folder.read(manifest.splits["train"]) for token in shard.tokens.tolist()]
        texts[name] = load_tokenizer(tmp_path / name / "tokenizer").decode(tokens).replace(" ", "")
        assert manifest.health.get("removed", {}) == ({"paragraph changed by pii": 18} if filters.formatters else {})
    assert "@acme.org" in texts["plain"]
    assert "8.8.8." in texts["plain"]
    assert "acme" not in texts["masked"]
    assert "8.8.8." not in texts["masked"]
    assert "@example." in texts["masked"]
    assert "192.168.0.1" in texts["masked"]


def test_formatters_must_be_those_of_datatrove() -> None:
    with pytest.raises(ValueError, match=r"formatters\.mine must be a formatter of datatrove; got str"):
        DocumentFilters(formatters={"mine": cast(Any, "x")})
    unchanged = Document("d", ["a"])
    assert DocumentFilters().formatted(unchanged) is unchanged
