"""Reading: weights choose documents by themselves, copies never meet in a shard, languages are checked."""

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import IO, cast

import pyarrow
import pytest
from pyarrow.parquet import ParquetWriter

from data_pipeline.corpora.jsonl import JsonLines
from data_pipeline.corpora.parquet import Parquet
from data_pipeline.corpora.reader import Mixture, Reader
from data_pipeline.corpora.text_lines import TextLines
from data_pipeline.corpora.wikipedia_dump import WikipediaDump
from data_pipeline.corpora.wikipedia_extracted import WikipediaExtracted
from data_pipeline.preparation.document_filters import DocumentFilters
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.extracted_text import ExtractedText
from data_pipeline.preparation.extraction import extract_group, group_parts, is_held_out, num_copies
from data_pipeline.preparation.preparation import Preparation
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.support.corpora import articles, contents, identifiers, write_corpus, write_rows


def test_weights_choose_shares_of_the_documents_that_grow_with_them() -> None:
    names = [f"d{i}" for i in range(20_000)]
    for weight in (0.1, 0.5, 2.25):
        copies = [num_copies(name, weight) for name in names]
        assert set(copies) == {int(weight), int(weight) + 1}
        assert abs(sum(copies) / 20_000 - weight) < 4 * (0.25 / 20_000) ** 0.5
    half = {name for name in names if num_copies(name, 0.5)}
    assert {name for name in names if num_copies(name, 0.4)} < half
    held_out = sum(is_held_out(name, 0.3) for name in half)
    assert abs(held_out / len(half) - 0.3) < 4 * (0.21 / len(half)) ** 0.5


def test_a_source_without_a_row_is_refused_by_name_beside_others_too(tmp_path: Path) -> None:
    write_rows(tmp_path / "some.parquet", articles(3))
    ParquetWriter(tmp_path / "none.parquet", pyarrow.schema([("text", pyarrow.string())])).close()
    about = {"licence": "", "origin": ""}
    sources = [Parquet(name=name, path=tmp_path / f"{name}.parquet", **about) for name in ("some", "none")]
    assert len(group_parts(sources[:1], 1)) == 2
    with pytest.raises(ValueError, match="corpus none names no rows"):
        group_parts(sources, 1)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "two"])
def test_a_weight_that_is_none_is_refused(tmp_path: Path, weight: float) -> None:
    with pytest.raises(ValueError, match="corpus c: weight must be a number above 0"):
        TextLines("c", tmp_path, "", "", weight=weight)


def test_a_language_that_is_no_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="corpus c: language must be an ISO 639 code such as en; got 'english'"):
        TextLines("c", tmp_path, "", "", language="english")


def identifiers_in(path: Path) -> list[str]:
    """Of the documents of a shard."""
    with tarfile.open(path) as shard:
        blocks = [member for member in shard if member.name.endswith(".json")]
        return [
            name for block in blocks for name in json.load(cast(IO[bytes], shard.extractfile(block)))["identifiers"]
        ]


def prepare(output: Path, mixture: Mixture, workers: int, validation_fraction: float = 0.2) -> Manifest:
    settings = Preparation(output, validation_fraction, shard_tokens=2000, group_bytes=4000)
    executor = LocalExecutor(workers)
    return settings.run(mixture.sources, lambda texts: train_wordpiece(texts(), 120), {}, executor)[0]


def test_a_mixture_sees_documents_as_often_as_its_weights_say(tmp_path: Path) -> None:
    often, rarely = write_corpus(tmp_path / "a", files=3), write_corpus(tmp_path / "b", files=3)
    for file in rarely.iterdir():
        file.write_text(file.read_text().replace("e", "o"))  # other texts, because no copy is held out
    mixture = Mixture(
        a=TextLines("a", often, "", "", weight=2.5),
        b=TextLines("b", rarely, "", "", weight=0.5),
    )
    for workers in (1, 2):
        manifest = prepare(tmp_path / f"out{workers}", mixture, workers)
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")
    found: dict[str, Counter[str]] = {}
    for split, entries in manifest.splits.items():
        shards = [identifiers_in(tmp_path / "out1" / entry.name) for entry in entries]
        assert all(len(set(shard)) == len(shard) for shard in shards)
        found[split] = Counter(name for shard in shards for name in shard)
    names = [name for source in "ab" for file in range(3) for name in identifiers(tmp_path / source, file, source)]
    expected = {name: num_copies(name, 2.5 if name.startswith("a") else 0.5) for name in names}
    held_out = {name for name in names if is_held_out(name, 0.2)}
    assert found["train"] == {name: n for name, n in expected.items() if n and name not in held_out}
    assert found["validation"] == {name: 1 for name, n in expected.items() if n and name in held_out}
    first, second = manifest.sources
    assert (first.weight, first.documents, first.dropped) == (2.5, 60, {})
    assert second.dropped == {"weight 0.5": 60 - second.documents}


def extracted(reader: Reader, folder: Path) -> list[dict[str, object]]:
    """Return the records of a source read as one task."""
    (group,) = group_parts([reader], 1 << 40)
    text = ExtractedText(folder)
    extract_group(group, 0, text, 0, DocumentFilters())
    return list(text.records("train", 0))


@pytest.mark.parametrize("kind", [JsonLines, WikipediaExtracted, WikipediaDump])
def test_characters_that_utf8_cannot_write_are_replaced(tmp_path: Path, kind: type[Reader]) -> None:
    """Half an emoji, as web pages cut in the middle have it, escaped; a NUL goes."""
    text = r'"Broken emoji \ud83d here, and\u0000 a whole \ud83d\ude00.\n\u0000"'
    row = r'{"id": "7\ud83d", "title": "T\udc00", "text": ' + text + "}"
    page = "<page><title>T</title><ns>0</ns><id>7</id><revision><text>{}</text></revision></page>"
    wikitext = "Broken emoji &amp;#xD83D; here, and a whole \U0001f600."
    path = tmp_path / "input"
    path.write_text(row if kind is not WikipediaDump else f"<mediawiki>{page.format(wikitext)}</mediawiki>", "utf-8")
    keys = {"id_key": "id"} if kind is JsonLines else {}
    (record,) = extracted(kind(name="c", path=path, licence="", origin="", **keys), tmp_path)
    assert record["sentences"] == ["Broken emoji \ufffd here, and a whole \U0001f600."]
    if kind is not WikipediaDump:
        assert (record["identifier"], record["title"]) == ("c/7\ufffd", "T\ufffd")


def test_a_line_of_nothing_but_nul_is_no_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"One.\n\0\nT\0wo.\n\n\0\n")
    (record,) = extracted(TextLines("c", tmp_path / "a.txt", "", ""), tmp_path)
    assert record["sentences"] == ["One.", "Two."]
