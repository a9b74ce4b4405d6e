"""Multistream dumps: pieces of one file, read by themselves, are the file."""

import bz2
from pathlib import Path

import pytest

from data_pipeline.corpora import wikipedia_dump
from data_pipeline.corpora.byte_ranges import BZ2_STREAM, next_entry_offset
from data_pipeline.corpora.wikipedia_dump import WikipediaDump, plain_paragraphs
from data_pipeline.records import Document

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo><namespaces>
<namespace key="0"/><namespace key="6">Datei</namespace></namespaces></siteinfo>
"""
PAGE = """<page><title>T{0}</title><ns>0</ns><id>{0}</id><revision><text>[[Datei:A.jpg|Bild]]Dies ist der Artikel \
{0}, und er ist kurz.</text></revision></page>
"""
WHOLE = HEAD + "".join(map(PAGE.format, range(60))) + "</mediawiki>"


def write(path: Path, pieces: list[str]) -> Path:
    path.write_bytes(b"".join(bz2.compress(piece.encode()) for piece in pieces))
    return path


def multistream(path: Path) -> Path:
    """The layout of Wikimedia: a stream for the head, one for every few pages, one for the end."""
    pages = ["".join(map(PAGE.format, range(first, first + 5))) for first in range(0, 60, 5)]
    return write(path, [HEAD, *pages, "</mediawiki>"])


def make_reader(path: Path) -> WikipediaDump:
    return WikipediaDump("c", path, "none", "test", language="de")


def read(reader: WikipediaDump, part_bytes: int) -> list[Document]:
    items = [item for part in reader.parts(part_bytes) for item in reader.read_part(part)]
    return [item for item in items if isinstance(item, Document)]


@pytest.mark.parametrize("part_bytes", [1, 200, 333, 1000, 1 << 20])
def test_pieces_are_the_whole_dump_in_order(tmp_path: Path, part_bytes: int) -> None:
    reader = make_reader(multistream(tmp_path / "dewiki-multistream.xml.bz2"))
    parts = reader.parts(part_bytes)
    expected = [Document(f"c/{i}", [f"Dies ist der Artikel {i}, und er ist kurz."], f"T{i}") for i in range(60)]
    assert read(reader, part_bytes) == expected
    assert sum(part.bytes or 0 for part in parts) == reader.files()[0].stat().st_size
    assert len(parts) == {1: 13, 1 << 20: 1}.get(part_bytes, len(parts))
    assert len(parts) > 1 or part_bytes == 1 << 20


def test_streams_that_cut_pages_are_read_as_one(tmp_path: Path) -> None:
    """Parallel compressors begin a stream every so many bytes, wherever these are."""
    pieces = [WHOLE[begin : begin + 500] for begin in range(0, len(WHOLE), 500)]
    reader = make_reader(write(tmp_path / "dump.xml.bz2", pieces))
    assert len(reader.parts(100)) < 4
    assert len(read(reader, 100)) == 60


@pytest.mark.parametrize("part_bytes", [300, 1 << 20])
def test_a_dump_that_is_cut_short_is_refused_by_name(tmp_path: Path, part_bytes: int) -> None:
    path = multistream(tmp_path / "dump.xml.bz2")
    content = path.read_bytes()
    for size in (len(content) - 5, len(content) // 2, content.rindex(b"BZh9")):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"dump\.xml\.bz2 is not a MediaWiki XML dump"):
            read(make_reader(path), part_bytes)


def test_streams_are_found_across_the_edges_of_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.bz2", ["a" * 50, "b" * 50, "c" * 50])
    content = path.read_bytes()
    starts = [i for i in range(len(content)) if content[i : i + 4] == b"BZh9"]
    for size in (1, 3, 10, 11, 1 << 20):
        monkeypatch.setattr("data_pipeline.corpora.byte_ranges._SEARCH_BYTES", size)
        expected = [min((start for start in starts if start >= begin), default=None) for begin in range(len(content))]
        assert [next_entry_offset(path, begin, BZ2_STREAM) for begin in range(len(content))] == expected


@pytest.mark.parametrize(
    ("wikitext", "paragraphs"),
    [
        (
            "It is a town.<ref>lost for good. It goes on.\n\nIt has a river too.",
            ["It is a town.", "It has a river too."],
        ),
        ("It is one<ref>a town. <ref name=b>b</ref> here.\n\nIt has a river.", ["It has a river."]),
        ("It is a<ref name=a/> fine<REF>x\n\ny</REF> old town.", ["It is a fine old town."]),
        ("It is a town.<ref>one</ref name> two</ref> It has a river.", ["It is a town. It has a river."]),
        ("So x <math>a<b</math> is a number here.<gallery>a.jpg</gallery>", ["So x is a number here."]),
    ],
)
def test_a_reference_ends_where_it_is_closed_or_at_its_paragraph(wikitext: str, paragraphs: list[str]) -> None:
    assert plain_paragraphs(wikitext) == paragraphs


def test_unclosed_references_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    end = wikipedia_dump._element_end
    monkeypatch.setattr(
        wikipedia_dump, "_element_end", lambda text, tag, next: (asked.append(1), end(text, tag, next))[1]
    )
    assert plain_paragraphs("It is an old town. " + "<ref>abc " * 2000) == ["It is an old town."]
    assert len(asked) == 1
