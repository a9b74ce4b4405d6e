"""Readers: what stays, what goes, and what is refused."""

import bz2
import gzip
import json
import lzma
import re
import tracemalloc
from pathlib import Path

import pyarrow
import pytest

from data_pipeline.corpora.bad_lines import BadLine, described
from data_pipeline.corpora.books import Books
from data_pipeline.corpora.demo_corpus import KingJamesBible, WikipediaSummaries
from data_pipeline.corpora.jsonl import JsonLines
from data_pipeline.corpora.prose import is_prose, tidy
from data_pipeline.corpora.reader import FileReader, Mixture, paragraphs_of
from data_pipeline.corpora.text_lines import TextLines
from data_pipeline.corpora.wikipedia_dump import WikipediaDump, plain_paragraphs
from data_pipeline.corpora.wikipedia_extracted import WikipediaExtracted
from data_pipeline.preparation.sentences import split_sentences
from data_pipeline.records import Document, Dropped, Redirect
from tests.support.checkout import SHARED_DATA

PAGE = "<page><title>{title}</title><ns>{ns}</ns><id>{id}</id>{redirect}<revision><text>{text}</text></revision></page>"
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">{pages}</mediawiki>"""
needs_shared = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")


def make_reader(kind: type[FileReader], path: Path, **extra: object) -> FileReader:
    return kind(name="c", path=path, licence="none", origin="test", **extra)


def read(kind: type[FileReader], path: Path, **extra: object) -> list[Document | Dropped]:
    """The documents and dropped texts; a bad line is an error, as it is for a preparation."""
    reader = make_reader(kind, path, **extra)
    items = [item for part in reader.parts(1 << 30) for item in reader.read_part(part)]
    for item in items:
        if isinstance(item, BadLine):
            raise ValueError(*described([item], reader.line_numbers))
    return [item for item in items if not isinstance(item, BadLine)]


def compressed(name: str, content: bytes) -> bytes:
    """Two streams one after the other, as `cat` and parallel compressors make them."""
    half = len(content) // 2
    kind = name.rpartition(".")[2]
    if kind == "zst":
        codec = pyarrow.Codec("zstd")
        return b"".join(codec.compress(part, asbytes=True) for part in (content[:half], content[half:]))
    compress = {"gz": gzip.compress, "bz2": bz2.compress}.get(kind)
    return content if compress is None else compress(content[:half]) + compress(content[half:])


def write_dump(path: Path) -> None:
    pages = [
        PAGE.format(
            title="Bern", ns=0, id=7, redirect="", text="'''Bern''' is the [[capital city|capital]] of Switzerland."
        ),
        PAGE.format(title="Berne", ns=0, id=8, redirect='<redirect title="Bern"/>', text="#REDIRECT [[Bern]]"),
        PAGE.format(title="Talk:Bern", ns=1, id=9, redirect="", text="I do not agree with this."),
        PAGE.format(title="List", ns=0, id=10, redirect="", text="* one\n* two\n"),
    ]
    text = DUMP.format(pages="".join(pages)).encode()
    path.write_bytes(compressed(path.name, text))


@pytest.mark.parametrize("name", ["dump.xml", "dump.xml.bz2", "dump.xml.gz", "dump.xml.zst"])
def test_a_dump_gives_articles_and_says_what_it_dropped(tmp_path: Path, name: str) -> None:
    write_dump(tmp_path / name)
    items = read(WikipediaDump, tmp_path / name)
    assert items == [
        Document("c/7", ["Bern is the capital of Switzerland."], "Bern"),
        Redirect("redirect", "Berne", "Bern"),
        Dropped("not an article"),
        Dropped("no running text"),
    ]


@pytest.mark.parametrize(
    ("wikitext", "left"),
    [
        ("A cat<ref name=x>a {{cite}} b</ref> sat<ref name=y/> here today.", ["A cat sat here today."]),
        ("A cat {{lang|de|Katze {{x}}}} sat on it.", ["A cat sat on it."]),
        ("{| class=x\n| a || b\n{|\n|c\n|}\n|}\nThe text comes after it.", ["The text comes after it."]),
        ("[[File:A.jpg|thumb|A [[cat]] on a mat.]]The mat was quite new.", ["The mat was quite new."]),
        ("== Title ==\nIt is a short text.\n* list item\n# other\n: indented", ["It is a short text."]),
        ("See [http://a.org/b the page] for more text.", ["See the page for more text."]),
        ("It was '''very''' ''good'' &amp; cheap &nbsp;then.", ["It was very good & cheap then."]),
        ("<!-- a\nb --><math>x^2</math>The number is quite large.", ["The number is quite large."]),
        ("One is here, at last.\n\nTwo is here, at last.", ["One is here, at last.", "Two is here, at last."]),
        ("caption without an end", []),
        (
            "A line that was\nwrapped by hand.\n* list\nIt goes on here.",
            ["A line that was wrapped by hand.", "It goes on here."],
        ),
        ("He was in [[Mission: Impossible]] and [[wikt:foo|others]].", ["He was in Mission: Impossible and others."]),
        ("[[de:Katze]][[zh-min-nan:X]][[:Category:Cats|Cats]] are a kind of animal.", ["Cats are a kind of animal."]),
        ("[[File:A.jpg|thumb|See [http://a.org b] and [[c]].]]The cat sat here.", ["The cat sat here."]),
        (
            "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3042\u308b\u3002",
            ["\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3042\u308b\u3002"],
        ),
        (
            "\u092f\u0939 \u090f\u0915 \u092c\u0921\u093c\u093e \u0936\u0939\u0930 \u0939\u0948\u0964",
            ["\u092f\u0939 \u090f\u0915 \u092c\u0921\u093c\u093e \u0936\u0939\u0930 \u0939\u0948\u0964"],
        ),
        ("If a < b and b > c then\na <b and c> d as well.", ["If a < b and b > c then a <b and c> d as well."]),
        ("It includes <stdio.h> and <b class=x>bold</b> text.", ["It includes <stdio.h> and bold text."]),
    ],
)
def test_markup_goes_and_prose_stays(wikitext: str, left: list[str]) -> None:
    assert plain_paragraphs(wikitext) == left


@pytest.mark.parametrize(
    "text",
    [
        "It runs on the .NET platform.",
        "A .22 caliber rifle",
        "where x < 5 and y > 3 holds",
        "with :wq and ...",
        "He calls main() and exit(1).",
        "p <q and r> s",
    ],
)
def test_numbers_names_and_comparisons_are_no_markup(text: str) -> None:
    assert tidy(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('It , or " so " ) , is ; here : " x ."', 'It, or " so "), is; here: " x."'),
        ("Bern () is (; , born 1191 ) a city .", "Bern is (born 1191) a city."),
        ("a<br>b <BR clear=all/>c<span style='x'> d</SPAN> <!-- e", "ab c d e"),
        ("\u6771\u4eac\uff08\uff09\u306f", "\u6771\u4eac\u306f"),
    ],
)
def test_what_a_template_left_goes(text: str, left: str) -> None:
    assert tidy(text) == left


ARMENIAN = "Երևանը Հայաստանի մայրաքաղաքն է"
AMHARIC = "አዲስ አበባ የኢትዮጵያ ዋና ከተማ ናት"
BURMESE = "ရန်ကုန်သည် မြို့တော် ဖြစ်သည်"
THAI_HEADING = "ประวัติศาสตร์"


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        (ARMENIAN, "\u0589"),
        (AMHARIC, "\u1362"),
        (AMHARIC, "\u1361\u1361"),
        (BURMESE, "\u104b"),
        ("\u064a\u0642\u0639 \u0647\u0630\u0627 \u0641\u064a \u0645\u0635\u0631", "\u061f"),
        ("Er sagte es ihr: \u201eWie sch\u00f6n", "!\u201c"),
    ],
)
def test_a_sentence_ends_with_the_mark_of_its_script(text: str, mark: str) -> None:
    assert is_prose(text + mark)
    assert not is_prose(text)


def test_every_mark_that_unicode_ends_sentences_with_does() -> None:
    terminal = pytest.importorskip("regex").compile(r"\p{Sentence_Terminal}")
    marks = [chr(code) for code in range(0x10000) if terminal.match(chr(code))]
    assert len(marks) > 80
    assert [mark for mark in marks if not is_prose(f"one two three four{mark}")] == []


def test_scripts_without_a_mark_for_the_end_are_told_by_length() -> None:
    """Thai, Lao, Tibetan and Khmer: a line that ends in a letter or a year is text, a heading is not."""
    assert not is_prose(THAI_HEADING)
    assert is_prose(f"{THAI_HEADING * 5} 2475")
    assert is_prose("\u0ea5\u0eb2\u0ea7" * 14)
    assert is_prose("\u0f56\u0f7c\u0f51" * 14)
    assert is_prose("\u1797\u17d2\u1793\u17c6" * 4 + "\u17d4")


MARKUP = {
    "template": r"\{\{|\}\}",
    "link": r"\[\[|\]\]",
    "table": r"\{\||\|\}|\|\||(?:colspan|rowspan|style|align)\s*=",
    "heading": r"==",
    "list": r"^[*#:;]",
    "tag": r"</?[a-zA-Z][^<>]*>|<!--|-->",
    "entity": r"&(?:[a-zA-Z]+|#\d+);",
    "emphasis": r"''",
    "image": r"\b(?:thumb|thumbnail|frameless|upright|\d+px)\|",
    "address": r"https?:|www\.",
    "magic word": r"__[A-Z]+__",
    "namespace": r"\b(?:File|Image|Category|Template):",
    "invisible": r"[\x00-\x08\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\ufeff]",
    "what a template left": r"\( |\(\)| [,;:)](?:\s|$)|[,;],|,\s[,;]|[,;]\.(?!\w)|\s\"\"[\s.,]",
    "brace": r"[{}|]",
}


@needs_shared
@pytest.mark.parametrize(("pattern", "articles", "most"), [("*shortened*", 102, {"brace": 6}), ("*table*", 5, {})])
def test_almost_no_markup_is_left_of_the_real_dumps(pattern: str, articles: int, most: dict[str, int]) -> None:
    """The six are ASCII art in the article about ASCII and a broken link; docs/data.md has the numbers."""
    items = read(WikipediaDump, SHARED_DATA / "wikipedia-dump" / pattern)
    paragraphs = [p for item in items if isinstance(item, Document) for p in item.paragraphs]
    assert sum(isinstance(item, Document) for item in items) == articles
    assert sum(len(p.split()) for p in paragraphs) > (16_000 if articles == 5 else 398_000)
    left = {kind: sum(len(re.findall(pattern, p)) for p in paragraphs) for kind, pattern in MARKUP.items()}
    assert {kind: number for kind, number in left.items() if number > most.get(kind, 0)} == {}


CUT = [compressed(name, DUMP.format(pages="").encode())[:-6] for name in ("x.gz", "x.zst")]


@pytest.mark.parametrize(
    "content", [b"plain text", b"<html><body/></html>", b"<mediawiki><page>", b"BZh9 broken", *CUT]
)
def test_what_is_not_a_dump_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / {b"BZ": "x.bz2", b"\x1f\x8b": "x.xml.gz", b"(\xb5": "x.xml.zst"}.get(content[:2], "x.xml")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path.name} is not a MediaWiki XML dump"):
        read(WikipediaDump, path)


def test_the_dump_says_what_its_wiki_calls_files_and_categories(tmp_path: Path) -> None:
    names = '<namespace key="0"/><namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace>'
    text = "[[Datei:A.jpg|mini|Ein Bild.]]Berlin ist die Hauptstadt. [[Star Trek: Picard]] auch. [[Kategorie:Ort]]"
    page = PAGE.format(title="Berlin", ns=0, id=1, redirect="", text=text)
    siteinfo = f"<siteinfo><namespaces>{names}</namespaces></siteinfo>"
    (tmp_path / "dewiki.xml").write_text(DUMP.format(pages=siteinfo + page))
    (article,) = read(WikipediaDump, tmp_path)
    assert isinstance(article, Document)
    assert article.paragraphs == ["Berlin ist die Hauptstadt. Star Trek: Picard auch."]


def test_a_dump_is_read_one_page_at_a_time(tmp_path: Path) -> None:
    page = PAGE.format(title="A", ns=0, id=1, redirect='<redirect title="B"/>', text="text " * 1000)
    (tmp_path / "dump.xml").write_text(DUMP.format(pages=page * 1000))
    reader = make_reader(WikipediaDump, tmp_path / "dump.xml")
    (whole,) = reader.parts(1 << 30)
    tracemalloc.start()
    number = sum(1 for _ in reader.read_part(whole))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number == 1000
    assert peak < 1_000_000 < (tmp_path / "dump.xml").stat().st_size


EXTRACTED = (
    '<doc id="12" url="u" title="A &amp; B">\nA &amp; B\n\nIt is <b>right</b> here.\nSo is that one.\n\n</doc>\n'
)


def test_extracted_articles_lose_their_title_line_and_tags(tmp_path: Path) -> None:
    debris = "| date = {{#if: 1|2}} was here today.\nA heading without an end\nIt ( ; ) is tidy now."
    debris += "\nx &lt;y and z&gt; 3 is <em>said</em> here."
    other = f'<doc id="13" url="u" title="E">\nE\n{debris}\n</doc>\n<doc id="14" url="u" title="F">\nF\n</doc>\n'
    (tmp_path / "wiki_00").write_text(EXTRACTED + other)
    (tmp_path / "wiki_01").write_text("\n")
    assert read(WikipediaExtracted, tmp_path) == [
        Document("c/12", ["It is right here.", "So is that one."], "A & B"),
        Document("c/13", ["It is tidy now.", "x <y and z> 3 is said here."], "E"),
        Dropped("no running text"),
        Dropped("empty file"),
    ]


def test_extracted_json_is_the_same(tmp_path: Path) -> None:
    article = {"id": "12", "url": "u", "title": "T", "text": "T\nIt is right here."}
    (tmp_path / "wiki_00").write_text("\n" + json.dumps(article) + "\n\n")
    assert read(WikipediaExtracted, tmp_path) == [Document("c/12", ["It is right here."], "T")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello", "is not WikiExtractor output"),
        (EXTRACTED[:40].encode(), "ends inside the article"),
        (
            EXTRACTED.replace("</doc>", "").encode() + EXTRACTED.encode(),
            "line 8 begins an article, but there is no </doc> after 'A &amp; B'",
        ),
        (b'{"id": 1}', "line 1 is not an article"),
        (b'{"id": ' + b"[" * 100_000, "line 1 is not an article"),
        (b'{"id": 1, "title": "T", "text": null}', "line 1 is not an article"),
        (b"\xff\xfe<doc", "is not UTF-8 text"),
    ],
)
def test_what_is_not_extracted_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "wiki_00").write_bytes(content)
    with pytest.raises(ValueError, match=rf"wiki_00.*{said}"):
        read(WikipediaExtracted, tmp_path)


def test_books_lose_gutenberg_lines_and_byte_order_marks(tmp_path: Path) -> None:
    body = "Licence.\n*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***\r\n\r\nIt was\r\nfine.\r\n\r\nYes.\n"
    (tmp_path / "emma.txt").write_text(body + "*** END OF THE PROJECT GUTENBERG EBOOK EMMA ***\nMore.", "utf-8-sig")
    (tmp_path / "empty.txt").write_text(" \n")
    assert read(Books, tmp_path) == [Document("c/emma.txt", ["It was fine.", "Yes."], "emma"), Dropped("empty file")]


def test_a_book_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(ValueError, match=r"x\.txt, line 1 is not UTF-8"):
        read(Books, tmp_path)


def test_text_lines_are_sentences_and_blank_lines_part_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\nOne. Still one.\nTwo.\n\n\n \nThree.\n")
    documents = read(TextLines, tmp_path)
    assert [d.paragraphs for d in documents] == [["One. Still one.", "Two."], ["Three."]]
    assert all(d.presplit for d in documents)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.bz2", "a.jsonl.zst"])
def test_json_lines_take_text_and_title_from_their_fields(tmp_path: Path, name: str) -> None:
    content = b'{"body": "One.\\n\\nTwo.", "head": "T"}\n\n{"body": " "}\n{"body": null}\n'
    (tmp_path / name).write_bytes(compressed(name, content))
    items = read(JsonLines, tmp_path, text_key="body", title_key="head")
    assert items == [Document(f"c/{name}/0", ["One.", "Two."], "T"), Dropped("empty text"), Dropped("empty text")]
    with pytest.raises(ValueError, match=rf"{name}, line 1 has no text under 'text'"):
        read(JsonLines, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": 3}', "line 1 has no text under 'text'"),
        ("a.jsonl", b'{"text": "x"}\n' + b"[" * 100_000, "line 2 has no text under 'text'"),
        ("a.jsonl", b'{"text": "x", "n": ' + b"9" * 5000 + b"}", "line 1 has no text under 'text'"),
        ("a.jsonl", b"[1]", "line 1 has no text under 'text'"),
        ("a.jsonl", b'{"text": "\xff"}', "is not UTF-8 text"),
        ("a.jsonl.gz", b'{"text": "x"}', "is not a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 99, mtime=0)[:40], "is not a whole gzip file"),
        ("a.jsonl.bz2", bz2.compress(b'{"text": "x"}\n' * 99)[:40], "is not a whole bz2 file"),
        ("a.jsonl.zst", b'{"text": "x"}', "is not a whole zstd file"),
        ("a.jsonl.zst", compressed(".zst", b'{"text": "x"}\n' * 99)[:-5], "is not a whole zstd file"),
    ],
    ids=[
        "number",
        "deep",
        "long-number",
        "list",
        "not-utf-8",
        "not-gzip",
        "cut-gzip",
        "cut-bz2",
        "not-zstd",
        "cut-zstd",
    ],
)
def test_damaged_json_lines_are_refused_by_name(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*{said}"):
        read(JsonLines, tmp_path)


def test_paragraphs_end_at_blank_lines_with_white_space_too() -> None:
    assert paragraphs_of("One\nis.\n \nTwo.\r\n\t\r\nThree.\n\n\n\nFour.") == ["One\nis.", "Two.", "Three.", "Four."]


TAGGED = '<doc id="{id}" url="u" title="T">\nT\n\n{{x}} is {id} here.\n\n</doc>\n'
LARGE = {
    JsonLines: "\ufeff" + "\n".join(json.dumps({"text": f"L\u00f6we {i}."}) for i in range(50)),
    TextLines: "\r\n" + "\n \n\n".join(f"One {i}.\nL\u00f6we {i}." for i in range(50)) + "\n\n \n",
    WikipediaExtracted: "\n" + "".join(TAGGED.format(id=i) for i in range(50)),
    WikipediaDump: DUMP.format(
        pages="".join(
            PAGE.format(title="T", ns=0, id=i, redirect="", text=f"\u00c4 &lt;page> is {i} here.") for i in range(50)
        )
    ),
}


@pytest.mark.parametrize("part_bytes", [1, 100, 333, 1000])
@pytest.mark.parametrize("kind", LARGE)
def test_pieces_of_a_large_file_are_the_file(tmp_path: Path, kind: type[FileReader], part_bytes: int) -> None:
    """Documents, their order and their identifiers do not depend on where the file is cut."""
    (tmp_path / "large").write_text(LARGE[kind], "utf-8", newline="")
    reader = make_reader(kind, tmp_path / "large")
    parts = reader.parts(part_bytes)
    documents = [item for part in parts for item in reader.read_part(part)]
    assert documents == read(kind, tmp_path / "large")
    assert len({item.identifier for item in documents if isinstance(item, Document)}) == 50
    assert sum(part.bytes or 0 for part in parts) == (tmp_path / "large").stat().st_size
    assert len(parts) > 1
    assert all(part.bytes >= part_bytes for part in parts[:-1])
    (tmp_path / "large.gz").write_bytes(gzip.compress(LARGE[kind].encode()))
    assert len(make_reader(kind, tmp_path / "large.gz").parts(part_bytes)) == 1
    assert [i.paragraphs for i in read(kind, tmp_path / "large.gz")] == [i.paragraphs for i in documents]


def test_extracted_json_is_cut_at_its_lines(tmp_path: Path) -> None:
    rows = [{"id": str(i), "url": "u", "title": "T", "text": f"T\n{i} is in this place."} for i in range(50)]
    (tmp_path / "large").write_text("\n".join(map(json.dumps, rows)))
    reader = make_reader(WikipediaExtracted, tmp_path / "large")
    documents = [item for part in reader.parts(100) for item in reader.read_part(part)]
    assert documents == read(WikipediaExtracted, tmp_path / "large")
    assert len(documents) == 50 > 20 < len(reader.parts(100))


def test_an_error_in_a_later_piece_names_the_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n' * 40 + "{}\n" + '{"text": "x"}\n' * 40)
    reader = make_reader(JsonLines, tmp_path / "a.jsonl")
    bad = [i for part in reader.parts(100) for i in reader.read_part(part) if isinstance(i, BadLine)]
    (said,) = described(bad, reader.line_numbers)
    assert "a.jsonl, line 41 has no text under 'text'" in said


def test_demo_readers_read_the_layout_of_their_packages(tmp_path: Path) -> None:
    summaries = tmp_path / "s.json"
    summaries.write_text(
        json.dumps({"A": {"title": "A", "extract": "A is\n one."}, "B": {"title": "B", "extract": "B."}})
    )
    assert [d.paragraphs for d in read(WikipediaSummaries, summaries)] == [["A is one."], ["B."]]
    text = "\nIn the beginning [it was].\nSecond verse.\nNext chapter.\n"
    begins, ends = {1001001: 1, 1001002: 28, 1002001: 42}, {1001001: 27, 1001002: 41, 1002001: 55}
    module = tmp_path / "bible.py"
    module.write_text(f"bible = Bible(Version.X, {text!r}, {begins}, {ends}, False)\n")
    documents = read(KingJamesBible, module)
    assert [d.paragraphs for d in documents] == [["In the beginning it was.", "Second verse."], ["Next chapter."]]


def test_files_are_found_by_name_folder_and_pattern_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt", "a/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [
        make_reader(Books, path).files() for path in (tmp_path, tmp_path / "*" / "*.txt", tmp_path / "b" / "2.txt")
    ]
    both = [tmp_path / "a" / "1.txt", tmp_path / "b" / "2.txt"]
    assert found == [both, both, both[1:]]
    with pytest.raises(ValueError, match=r"corpus c: path=.*nowhere names no file"):
        make_reader(Books, tmp_path / "nowhere").files()


def test_a_mixture_keeps_its_sources_in_order(tmp_path: Path) -> None:
    first, second = Books("a", tmp_path, "", ""), TextLines("b", tmp_path, "", "")
    mixture = Mixture(x=first, y=second)
    assert mixture.sources == [first, second]
    assert Mixture(inner=mixture).sources == [first, second]
    with pytest.raises(ValueError, match="need different names; got a, b, a"):
        Mixture(x=mixture, y=first)


def test_identifiers_are_unique_and_the_same_wherever_the_corpus_lies(tmp_path: Path) -> None:
    for root in ("here", "there/[1]"):
        for name in ("a/1.txt", "b/1.txt", ".git/x.txt"):
            (tmp_path / root / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / name).write_text("Some text.")
    paths = (tmp_path / "here", tmp_path / "here" / "*" / "*.txt", tmp_path / "there" / "[1]")
    for path in paths:
        assert [d.identifier for d in read(Books, path)] == ["c/a/1.txt", "c/b/1.txt"]
    assert [d.identifier for d in read(Books, tmp_path / "there" / "[1]" / "a" / "1.txt")] == ["c/1.txt"]


def test_sentences_end_where_they_end() -> None:
    text = ["Dr. Smith paid 4.50 dollars. He left at 5 p.m. on Monday!", "New paragraph"]
    assert split_sentences(text) == ["Dr. Smith paid 4.50 dollars.", "He left at 5 p.m. on Monday!", "New paragraph"]


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ('"It was," said\nI.\n\n"Was it?"', ['"It was," said I.', '"Was it?"']),
        ("The rest is told.\n\nLetter I wrote to him yesterday\nwas lost.", None),
        ("He said so.\n\nPart one of the reason he came\nwas that he must.", None),
        ("It ended.\n\nXII\nIt began.", ["It ended.", "It began."]),
        ("It ended.\nXII\nIt began.", ["It ended.", "It began."]),
        ("It ended.\nCHAPTER V. The Letter\nIt began.", ["It ended.", "It began."]),
        ("It ended.\n\nChapter Five The Letter\n\nIt began.", ["It ended.", "It began."]),
        ("It ended.\nPart One THE LIGHTHOUSE\nI\nIt began.", ["It ended.", "It began."]),
        ("It ended.\n\nTHE END.", ["It ended."]),
    ],
)
def test_headings_stand_apart_and_prose_stays(tmp_path: Path, text: str, paragraphs: list[str] | None) -> None:
    (tmp_path / "book.txt").write_text(text)
    book = Books(name="books", path=tmp_path, licence="", origin="")
    (document,) = [d for part in book.parts(1 << 20) for d in book.read_part(part)]
    assert isinstance(document, Document)
    if paragraphs is None:
        assert " ".join(document.paragraphs) == " ".join(text.split())
    else:
        assert document.paragraphs == paragraphs


ENDS = {"unix": "\n", "dos": "\r\n", "old mac": "\r"}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_line_ends_of_any_system_end_lines(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.txt").write_bytes(end.join(["One.", "Two.", "", "Three."]).encode())
    (tmp_path / "a.jsonl").write_bytes(end.join(['{"text": "One"}', '{"text": "Two\\n\\nThree\\u2028four"}']).encode())
    documents = [*read(TextLines, tmp_path / "a.txt"), *read(JsonLines, tmp_path / "a.jsonl")]
    assert [d.paragraphs for d in documents] == [["One.", "Two."], ["Three."], ["One"], ["Two", "Three\nfour"]]


def test_form_feeds_and_line_separators_end_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\u2028Two.\x0cThree.\n\nFour.", encoding="utf-8")
    assert [d.paragraphs for d in read(TextLines, tmp_path / "a.txt")] == [["One.", "Two.", "Three."], ["Four."]]
    (tmp_path / "b.txt").write_text("It ended.\n\n\x0cCHAPTER II\u2028It began.", encoding="utf-8")
    assert [d.paragraphs for d in read(Books, tmp_path / "b.txt")] == [["It ended.", "It began."]]


def test_every_line_is_a_sentence_if_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "buy milk\\n\\n call  home\\r\\nTwo ends. Here."}\n')
    (document,) = read(JsonLines, tmp_path, sentence_per_line=True)
    assert (document.paragraphs, document.presplit) == (["buy milk", "call home", "Two ends. Here."], True)


def test_placeholders_and_revisions_of_wikiextractor(tmp_path: Path) -> None:
    article = "T\n\nThe mean formula_12 of all values is codice_3 here.\n\nThe chemical formula_x stays as it is.\n"
    (tmp_path / "wiki_00").write_text(f'<doc id="1" revid="77" url="u" title="T">\n{article}</doc>\n')
    (document,) = read(WikipediaExtracted, tmp_path)
    assert document.paragraphs == ["The mean of all values is here.", "The chemical formula_x stays as it is."]


def test_xz_files_are_read_and_named_if_they_are_cut_short(tmp_path: Path) -> None:
    whole = lzma.compress(b"One.\nTwo.\n" * 1000)
    (tmp_path / "a.txt.xz").write_bytes(whole)
    (document,) = read(TextLines, tmp_path)
    assert len(document.paragraphs) == 2000
    (tmp_path / "a.txt.xz").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=r"a\.txt\.xz is not a whole xz file"):
        read(TextLines, tmp_path)
    (tmp_path / "a.txt.xz").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"a\.txt\.xz is not a whole xz file"):
        read(TextLines, tmp_path)
