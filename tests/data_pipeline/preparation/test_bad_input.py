"""Bad input: a pass finds all of it, says it once, and the next run reads only those files again."""

import json
import os
from pathlib import Path
from typing import ClassVar

import pytest

from data_pipeline.corpora.books import Books
from data_pipeline.corpora.jsonl import JsonLines
from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.reader import FileReader, Item
from data_pipeline.corpora.wikipedia_dump import WikipediaDump
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.preparation import Preparation
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.support.texts import tiny_texts


def write(folder: Path, bad: dict[int, str]) -> Path:
    """Write six files of ten documents; in some, another line stands before the documents."""
    folder.mkdir(exist_ok=True)
    for number in range(6):
        lines = [json.dumps({"text": " ".join(document)}) for document in tiny_texts(10, seed=number)]
        before = [bad[number]] if number in bad else []
        (folder / f"{number}.jsonl").write_text("\n".join([*before, *lines]) + "\n")
    return folder


def run(source: FileReader, output: Path) -> Manifest:
    preparation = Preparation(output, validation_fraction=0.2, group_bytes=100)
    return preparation.run([source], lambda texts: train_wordpiece(texts(), 120), {}, LocalExecutor(1))[0]


def lines_of(folder: Path, allowed: int = 0) -> JsonLines:
    return JsonLines(name="notes", path=folder, licence="", origin="", max_bad_lines=allowed)


def test_all_bad_lines_of_a_pass_are_in_one_report(tmp_path: Path) -> None:
    bad = dict.fromkeys(range(5), "{}")
    source = write(tmp_path / "in", bad)
    listing = tmp_path / "out.bad-input.txt"
    with pytest.raises(
        ValueError, match=r"^5 bad lines and files, all listed in .*bad-input\.txt: .*0\.jsonl, line 1 "
    ):
        run(lines_of(source), tmp_path / "out")
    listed = listing.read_text().splitlines()
    assert [line.split(" has no text")[0].rpartition("/")[2] for line in listed] == [f"{n}.jsonl, line 1" for n in bad]
    with pytest.raises(ValueError, match=r"max_bad_lines=4 of corpus notes may be larger"):
        run(lines_of(source, 4), tmp_path / "out")
    manifest = run(lines_of(source, 5), tmp_path / "out")
    assert manifest.sources[0].dropped["bad line"] == 5
    assert not listing.exists()
    run(lines_of(write(tmp_path / "in2", {})), tmp_path / "clean")
    assert Manifest.load(tmp_path / "clean").splits == manifest.splits or manifest.totals("train")["documents"] > 40


def test_a_file_whose_name_is_no_text_is_named(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {1: "{}"})
    (source / "1.jsonl").rename(source / os.fsdecode(b"caf\xe9.jsonl"))
    with pytest.raises(ValueError, match=r"caf\\udce9\.jsonl, line 1 has no text"):
        run(lines_of(source), tmp_path / "out")
    assert run(lines_of(source, 1), tmp_path / "out").sources[0].dropped["bad line"] == 1


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_page_that_cannot_be_read_is_a_bad_line_with_its_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    def broken(wikitext: str, *arguments: object) -> list[str]:
        if "broken" in wikitext:
            raise ValueError("too many values to unpack")
        return [wikitext]

    monkeypatch.setattr("data_pipeline.corpora.wikipedia_dump.plain_paragraphs", broken)
    texts = [" ".join(document) for document in tiny_texts(20, seed=0)]
    texts[7] = "broken"
    page = "<page><title>T{0}</title><ns>0</ns><id>{0}</id><revision><text>{1}</text></revision></page>"
    pages = "".join(page.format(number, text) for number, text in enumerate(texts))
    (tmp_path / "a.xml").write_text(f"<mediawiki>{pages}</mediawiki>")
    dump = WikipediaDump("wiki", tmp_path / "a.xml", "", "", max_bad_lines=allowed)
    if allowed:
        assert run(dump, tmp_path / "out").sources[0].dropped == {"bad line": 1}
    else:
        with pytest.raises(ValueError, match=r"^corpus wiki: .*a\.xml has the page 'T7'.*max_bad_lines=0"):
            run(dump, tmp_path / "out")


class Fragile(Books):
    """Reader of books that cannot read some of them, and notes what it reads."""

    broken: ClassVar[tuple[str, ...]] = ()
    seen: ClassVar[list[str]] = []

    def read_part(self, part: Part) -> "list[Item]":  # type: ignore[override]
        self.seen.append(Path(part.name).stem)
        if Path(part.name).stem in self.broken:
            raise ValueError("it is damaged")
        return list(super().read_part(part))


def test_bad_files_do_not_hide_each_other_and_are_read_again_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(9):
        text = " ".join(" ".join(document) for document in tiny_texts(5, seed=number))
        (tmp_path / "in" / f"{number}.txt").write_text(text)
    books = Fragile("books", tmp_path / "in", "", "")
    seen = Fragile.seen
    Fragile.broken = ("1", "4")
    with pytest.raises(ValueError, match=r"1\.txt: it is damaged; .*4\.txt: it is damaged; finished work is kept"):
        run(books, tmp_path / "out")
    assert seen == [*"012345678"]
    seen.clear()
    Fragile.broken = ()
    run(books, tmp_path / "out")
    assert seen == ["1", "4"]
