"""Damage behind a sound begin, links, rows and pages that cannot be read: nothing is lost without a word."""

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from data_pipeline.corpora import reader as reading
from data_pipeline.corpora import text_lines
from data_pipeline.corpora.bad_lines import BadLine, described
from data_pipeline.corpora.books import Books
from data_pipeline.corpora.csv_rows import CsvRows
from data_pipeline.corpora.jsonl import JsonLines
from data_pipeline.corpora.parquet import Parquet
from data_pipeline.corpora.reader import FileReader, Item
from data_pipeline.corpora.sentence_stream import SentenceStream
from data_pipeline.corpora.text_lines import TextLines
from data_pipeline.corpora.wikipedia_dump import WikipediaDump, plain_paragraphs
from data_pipeline.records import Document


def make(kind: type[FileReader], path: Path, **extra: object) -> FileReader:
    return kind(name="c", path=path, licence="", origin="", **extra)


def read(kind: type[FileReader], path: Path, part_bytes: int = 1 << 30, **extra: object) -> list[Item]:
    reader = make(kind, path, **extra)
    return [item for part in reader.parts(part_bytes) for item in reader.read_part(part)]


def texts(items: list[Item]) -> list[list[str]]:
    return [item.paragraphs for item in items if isinstance(item, Document)]


def said(kind: type[FileReader], path: Path, items: list[Item]) -> list[str]:
    bad = [item for item in items if isinstance(item, BadLine)]
    return [line.removeprefix(str(path)) for line in described(bad, make(kind, path).line_numbers)]


def zstd(content: bytes) -> bytes:
    return pyarrow.Codec("zstd").compress(content, asbytes=True)


COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}
ROW = b'{"text": "One is here."}\n'


@pytest.mark.parametrize("kind", COMPRESS)
def test_all_streams_of_a_file_are_read_and_no_other_bytes_may_stand_behind_one(tmp_path: Path, kind: str) -> None:
    first, second = COMPRESS[kind](ROW * 5), COMPRESS[kind](ROW * 7)
    path = tmp_path / f"a.jsonl.{kind.upper()}"
    path.write_bytes(first + second)
    assert len(read(JsonLines, tmp_path)) == 12
    for damaged in (bytes([second[0] ^ 1]) + second[1:], b"other", second[: len(second) // 2], second[:3]):
        path.write_bytes(first + damaged)
        with pytest.raises(ValueError, match="is not a whole"):
            read(JsonLines, tmp_path)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_zero_bytes_may_stand_behind_a_stream(tmp_path: Path, kind: str) -> None:
    padding = bytes(1 << 17)
    (tmp_path / f"a.jsonl.{kind}").write_bytes(COMPRESS[kind](ROW * 5) + padding + COMPRESS[kind](ROW * 7) + padding)
    assert len(read(JsonLines, tmp_path)) == 12


PAGE = "<page><title>T{0}</title><ns>0</ns><id>{0}</id><revision><text>{1}</text></revision></page>\n"


def test_a_damaged_stream_of_a_dump_is_no_end_of_its_part(tmp_path: Path) -> None:
    pages = [PAGE.format(n, f"Page number {n} of the wiki is here: {os.urandom(99).hex()}.") for n in range(90)]
    pieces = ["<mediawiki>", *("".join(pages[begin : begin + 3]) for begin in range(0, 90, 3)), "</mediawiki>"]
    streams = [bz2.compress(piece.encode()) for piece in pieces]
    content = bytearray(b"".join(streams))
    path = tmp_path / "a.xml.bz2"
    path.write_bytes(content)
    assert len(read(WikipediaDump, path, 1000)) == 90
    content[sum(map(len, streams[:9]))] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.xml\.bz2 is not a MediaWiki XML dump"):
        read(WikipediaDump, path, 1000)


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("It covers {{convert|12|sq mi|km2}} of land in all.", "It covers 12 square miles of land in all."),
        ("About {{convert|3|imp gal|l}} of water are left here.", "About 3 imp gal of water are left here."),
        ("Born {{birth date|1990|5|\u00b2}} in the old town here.", "Born 1990 5 \u00b2 in the old town here."),
        (f"Of {{{{convert|{'9' * 5000}|km}}}} all is left.", f"Of {'9' * 5000} kilometres all is left."),
    ],
)
def test_units_of_two_words_and_odd_digits_are_text(wikitext: str, text: str) -> None:
    assert plain_paragraphs(wikitext) == [text]


def test_a_page_that_cannot_be_read_is_named_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(wikitext: str, *arguments: object) -> list[str]:
        if "3" in wikitext:
            raise ValueError("too many values to unpack")
        return plain_paragraphs(wikitext)

    monkeypatch.setattr("data_pipeline.corpora.wikipedia_dump.plain_paragraphs", broken)
    pages = "".join(PAGE.format(n, f"Page number {n} is a page of it.") for n in range(6))
    (tmp_path / "a.xml").write_text(f"<mediawiki>{pages}</mediawiki>")
    items = read(WikipediaDump, tmp_path / "a.xml")
    assert len(texts(items)) == 5
    (line,) = said(WikipediaDump, tmp_path / "a.xml", items)
    assert line == " has the page 'T3', which cannot be read: ValueError('too many values to unpack')"


def test_linked_folders_are_read_once_and_links_to_nothing_are_refused(tmp_path: Path) -> None:
    corpus, other = tmp_path / "corpus", tmp_path / "other"
    for file in (corpus / "z" / "a.txt", other / "b.txt", other / ".git" / "c.txt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("It is here.\n")
    for name, target in {
        "linked": other,
        "again": other,
        "loop": corpus,
        "up": tmp_path,
        "inner": corpus / "z",
    }.items():
        (corpus / name).symlink_to(target)
    (other / "back").symlink_to(corpus / "z")
    reader = make(TextLines, corpus)
    assert [reader.label(file) for file in reader.files()] == ["again/b.txt", "z/a.txt"]
    (corpus / "gone.html").symlink_to(tmp_path / "nothing")
    assert reader.left_aside() == {"*.html": 1}
    (corpus / "gone.txt").symlink_to(tmp_path / "nothing")
    for path in (corpus, corpus / "*.txt", corpus / "gone.txt"):
        with pytest.raises(ValueError, match=r"gone\.txt, a link to .*nothing, which does not exist"):
            make(TextLines, path).files()


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is open to root")
def test_a_folder_that_may_not_be_opened_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("It is here.\n")
    (tmp_path / "lost+found").mkdir(mode=0)
    assert make(TextLines, tmp_path).left_aside() == {"lost+found": 1}


@pytest.mark.parametrize("kind", [TextLines, Books])
def test_markdown_is_read_if_it_is_asked_for(tmp_path: Path, kind: type[FileReader]) -> None:
    for name in ("a.md", "README.md", "b.txt"):
        (tmp_path / name).write_text("It is here.\n")
    assert make(kind, tmp_path).files() == [tmp_path / "b.txt"]
    assert make(kind, tmp_path / "*.md").files() == [tmp_path / "a.md"]
    assert make(kind, tmp_path / "READ*").files() == [tmp_path / "README.md"]  # or the pattern would find nothing


@pytest.mark.parametrize(
    ("content", "left", "bad"),
    [
        (b'text,n\n"One,\ncaf\xe9 two,\nthree.",1\nFour.,2\n', [["Four."]], [", line 4 ends a row that is not UTF-8 "]),
        (
            b'text,n\n"caf\xe9\none.",1\nTwo.,2\nThree.\n',
            [["Two."]],
            [", line 3 ends a row tha", ", line 5 ends a row of"],
        ),
        (b'\xef\xbb\xbftext,n\n"One,\ntwo.",1\n', [["One,\ntwo."]], []),
    ],
)
def test_rows_of_other_bytes_are_left_out_whole(
    tmp_path: Path, content: bytes, left: list[list[str]], bad: list[str]
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    items = read(CsvRows, tmp_path / "a.csv", max_bad_lines=9)
    assert texts(items) == left
    lines = said(CsvRows, tmp_path / "a.csv", items)
    assert [line[: len(begin)] for line, begin in zip(lines, bad, strict=True)] == bad


def test_a_header_of_other_bytes_or_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,caf\xe9\nOne.,x\nTwo.,y\n")
    with pytest.raises(ValueError, match=r"a\.csv has a header that is not UTF-8 text.*encoding names another"):
        read(CsvRows, tmp_path, max_bad_lines=9)
    for header, setting in (("text,text,n", "text_key=text"), ("text,title,title", "title_key=title")):
        (tmp_path / "a.csv").write_text(f"{header}\nOne.,Two.,3\n")
        with pytest.raises(ValueError, match=rf"{setting}, but .*a\.csv has 2 columns 't\w+'; it has {header[:4]}"):
            read(CsvRows, tmp_path)
    table = pyarrow.table([["One."], ["Two."]], names=["text", "text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"text_key=text, but .*a\.parquet has 2 columns 'text'"):
        read(Parquet, tmp_path)


def test_bad_lines_are_kept_if_the_rest_of_a_file_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,n\nOne.\nTwo.,2\n"Three.,3\n')
    reader = make(CsvRows, tmp_path)
    (part,) = reader.parts(1 << 30)
    items = reader.read_part(part)
    assert [type(next(items)) for _ in range(2)] == [Document, BadLine]
    with pytest.raises(ValueError, match="is not CSV"):
        next(items)


def test_a_file_is_read_once_more_for_the_numbers_of_all_its_bad_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_bytes((ROW * 9 + b"{}\n") * 50)
    opened: list[Path] = []
    open_range = reading.open_range
    monkeypatch.setattr(reading, "open_range", lambda file, *ends: (opened.append(file), open_range(file, *ends))[1])
    items = read(JsonLines, tmp_path, 500)
    assert len(opened) == len(make(JsonLines, tmp_path).parts(500)) > 20
    opened.clear()
    lines = said(JsonLines, tmp_path / "a.jsonl", items)
    assert [line.split()[2] for line in lines] == [str(number) for number in range(10, 501, 10)]
    assert len(opened) == 1


def test_a_byte_that_is_not_of_the_encoding_spoils_its_line_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"One is here.\n" * 20_000 + b"bad \x81 here.\n" + b"Two.\n")
    items = read(TextLines, tmp_path / "a.txt", encoding="cp1252", max_bad_lines=1)
    assert [len(sentences) for sentences in texts(items)] == [20_001]
    assert said(TextLines, tmp_path / "a.txt", items) == [", line 20001 is not cp1252 text"]
    with pytest.raises(ValueError, match=r"a\.txt, line 20001 is not cp1252 text"):
        read(Books, tmp_path, encoding="cp1252")


BOOK = "*** START OF THE PROJECT GUTENBERG EBOOK {0} ***\n\nCHAPTER I\n\nIt was {0}.\n\nCHAPTER II\n\nIt is {0}.\n\n"
BOOK += "End of Project Gutenberg's {0}\n*** END OF THE PROJECT GUTENBERG EBOOK {0} ***\nLicense.\n"


def test_every_book_of_a_file_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("Produced by A.\n" + BOOK.format("one") + BOOK.format("two"))
    first, second = read(Books, tmp_path)
    assert first == Document("c/two.txt/1", ["It was one.", "It is one."], "two, 1")
    assert second == Document("c/two.txt/2", ["It was two.", "It is two."], "two, 2")
    chapters = read(Books, tmp_path, chapters=True)
    assert [item.identifier for item in chapters if isinstance(item, Document)] == [
        f"c/two.txt/{n}" for n in range(1, 5)
    ]
    (tmp_path / "two.txt").write_text(BOOK.format("one"))
    assert read(Books, tmp_path) == [Document("c/two.txt", ["It was one.", "It is one."], "two")]


def test_columns_may_have_numbers_for_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0,1\nOne is here.,7\n")
    assert read(CsvRows, tmp_path, text_key=0, id_key=1) == [Document("c/7", ["One is here."])]
    for wrong in (True, None, 0.5):
        with pytest.raises(ValueError, match=rf"corpus\.text_key must be the name of a column; got {wrong}"):
            make(CsvRows, tmp_path, text_key=wrong)


def test_a_row_with_an_empty_identifier_has_that_of_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,id\nOne.,\nTwo.,x\nThree.,\n")
    names = [item.identifier for item in read(CsvRows, tmp_path, id_key="id") if isinstance(item, Document)]
    assert names == ["c/a.csv/0", "c/x", "c/a.csv/2"]


def test_norwegian_needs_quotation_marks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"such as en; got False; YAML reads no as false, so write 'no'"):
        make(TextLines, tmp_path, language=False)


@pytest.mark.parametrize("name", ["B.PARQUET", "b.pq", "b.parquet"])
def test_parquet_is_known_by_any_of_its_names_and_categories_are_text(tmp_path: Path, name: str) -> None:
    column = pyarrow.array(["One is here.", None, "One is here."]).dictionary_encode()
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / name)
    assert texts(read(SentenceStream, tmp_path)) == [["One is here.", "One is here."]]
    assert texts(read(Parquet, tmp_path)) == [["One is here."]] * 2


def test_endless_documents_and_lines_are_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MOST_SENTENCES", 5)
    (tmp_path / "a.txt").write_text("\n".join(["\n"] + ["It is."] * 5 + ["\n"] + ["It was."] * 5))
    assert len(texts(read(TextLines, tmp_path))) == 2
    (tmp_path / "a.txt").write_text("It is.\n" * 6)
    with pytest.raises(ValueError, match=r"a\.txt has 5 lines without a blank one .*byte 0 on.*corpus=bookcorpus"):
        read(TextLines, tmp_path)
    monkeypatch.setattr(reading, "LONGEST_LINE", 9)
    (tmp_path / "a.txt").write_text("It is.\nIt is too long.\n")
    with pytest.raises(ValueError, match=r"a\.txt has no line end in the 9 bytes from byte 7 on"):
        read(TextLines, tmp_path)
