"""Readers and the files that people really have: other encodings, bad lines, files about files, wrapped prose, CSV."""

import gzip
import json
import re
from pathlib import Path

import pytest

from data_pipeline.corpora.bad_lines import SPARE, BadLine, described
from data_pipeline.corpora.books import Books
from data_pipeline.corpora.csv_rows import CsvRows
from data_pipeline.corpora.jsonl import JsonLines
from data_pipeline.corpora.reader import FileReader, Item, Mixture
from data_pipeline.corpora.temperature import repeats
from data_pipeline.corpora.text_lines import TextLines, share_of_paragraphs, wrapped_at
from data_pipeline.corpora.wikipedia_dump import WikipediaDump, plain_paragraphs
from data_pipeline.corpora.wikipedia_extracted import WikipediaExtracted
from data_pipeline.records import Document, Dropped

PROSE = "It was a dark night, and the wind that came from the hills beat at the windows of the inn. " * 40


def make(kind: type[FileReader], path: Path, **extra: object) -> FileReader:
    return kind(name="c", path=path, licence="", origin="", **extra)


def read(kind: type[FileReader], path: Path, part_bytes: int = 1 << 30, **extra: object) -> list[Item]:
    reader = make(kind, path, **extra)
    return [item for part in reader.parts(part_bytes) for item in reader.read_part(part)]


def bad_lines(kind: type[FileReader], path: Path, items: list[Item]) -> list[str]:
    """What is wrong with the bad lines of a file, after their numbers."""
    bad = [item for item in items if isinstance(item, BadLine)]
    return [said.partition(", line ")[2] for said in described(bad, make(kind, path).line_numbers)]


def paragraphs(items: list[Item]) -> list[list[str]]:
    return [item.paragraphs for item in items if isinstance(item, Document)]


def wrapped(text: str, width: int) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        (TextLines, {"a.txt", "part-0", "b.txt.gz"}),
        (Books, {"a.txt", "part-0", "b.txt.gz"}),
        (JsonLines, {"c.jsonl"}),
        (CsvRows, {"d.csv"}),
        (WikipediaExtracted, {"a.txt", "part-0", "b.txt.gz", "c.jsonl"}),
    ],
)
def test_a_folder_gives_files_of_the_format_and_the_others_are_counted(
    tmp_path: Path, kind: type[FileReader], taken: set[str]
) -> None:
    every = {"a.txt", "part-0", "b.txt.gz", "c.jsonl", "d.csv", "_SUCCESS", "README.md", "LICENSE", "x.crc", "y.html"}
    for name in every:
        (tmp_path / name).write_text("x")
    reader = make(kind, tmp_path)
    assert {file.name for file in reader.files()} == taken
    assert sum(reader.left_aside().values()) == len(every - taken)
    assert reader.left_aside()["_SUCCESS"] == reader.left_aside()["*.html"] == 1
    assert {file.name for file in make(kind, tmp_path / "*").files()} == every - {
        "_SUCCESS", "README.md", "LICENSE", "x.crc"
    }  # fmt: skip
    assert make(kind, tmp_path / "README.md").files() == [tmp_path / "README.md"]


def test_a_folder_without_a_file_of_the_format_says_what_it_has(tmp_path: Path) -> None:
    for name in ("_SUCCESS", "[a]/b.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=r"it has \*\.html, _SUCCESS; a pattern such as path=.* takes files") as error:
        make(TextLines, tmp_path).files()
    (pattern,) = re.findall("such as path=(.*) takes", str(error.value))
    assert make(TextLines, Path(pattern)).files() == [tmp_path / "[a]" / "b.html"]


def test_all_bad_lines_of_a_file_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    good = b'{"text": "One is here."}\n'
    (tmp_path / "a.jsonl").write_bytes(good + b"{}\n" + good + b'{"text": "\xff"}\n' + good + b"[1]\n" + good)
    for part_bytes in (1 << 30, 30):
        items = read(JsonLines, tmp_path, part_bytes)
        assert len(paragraphs(items)) == 4
        said = bad_lines(JsonLines, tmp_path, items)
        assert [line[:12] for line in said] == ["2 has no tex", "4 is not UTF", "6 has no tex"]


def test_a_part_of_bad_lines_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n" * (3 * SPARE))
    assert len(read(JsonLines, tmp_path)) == SPARE + 1
    assert len(read(JsonLines, tmp_path, max_bad_lines=3 * SPARE)) == 3 * SPARE


def test_bad_lines_of_text_and_of_articles_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"One.\n\xff\xfe.\nTwo.\n\nThree.\n")
    items = read(TextLines, tmp_path)
    assert paragraphs(items) == [["One.", "Two."], ["Three."]]
    assert sum(isinstance(item, BadLine) for item in items) == 1
    (tmp_path / "a.txt").unlink()
    article = '<doc id="{}" url="u" title="T">\nT\n\nThis is the text of it.\n'
    (tmp_path / "wiki_00").write_text(article.format(1) + article.format(2) + "</doc>\n")
    items = read(WikipediaExtracted, tmp_path)
    assert [item.identifier for item in items if isinstance(item, Document)] == ["c/2"]
    assert [line[:15] for line in bad_lines(WikipediaExtracted, tmp_path, items)] == ["5 begins an art"]


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig", "gb18030"])
def test_text_of_another_encoding_is_read_if_it_is_named(tmp_path: Path, encoding: str) -> None:
    word = "\u4e2d\u6587" if encoding == "gb18030" else "caf\u00e9"
    text = f"One {word}.\nTwo {word}.\n\nThree {word}.\n" * 50
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(text.encode(encoding)))
    (expected,) = {
        len(paragraphs(read(TextLines, tmp_path / name, 64, encoding=encoding))) for name in ("a.txt", "b.txt.gz")
    }
    assert expected == 51
    documents = read(TextLines, tmp_path / "a.txt", 64, encoding=encoding)
    assert paragraphs(documents)[0] == [f"One {word}.", f"Two {word}."]
    assert documents == read(TextLines, tmp_path / "a.txt", encoding=encoding)  # identifiers too
    with pytest.raises(ValueError, match="must be null or an encoding such as utf-16 or cp1252; got latin-99"):
        make(TextLines, tmp_path, encoding="latin-99")


@pytest.mark.parametrize("content", [b"\xd8\x00" * 9, b"\x00a\x00"], ids=["half a pair", "half a letter"])
def test_text_that_is_not_of_its_encoding_is_a_bad_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes("One.\n".encode("utf-16-be") + content)
    items = read(TextLines, tmp_path, encoding="utf-16-be")
    assert paragraphs(items) == [["One."]]
    assert items[1:] == [BadLine(str(tmp_path / "a.txt"), 5, "is not utf-16-be text")]
    with pytest.raises(ValueError, match=r"a\.txt, line 2 is not utf-16-be text"):
        read(Books, tmp_path, encoding="utf-16-be")
    with pytest.raises(ValueError, match=r"a\.txt is not utf-16 text: .*BOM"):
        read(TextLines, tmp_path, encoding="utf-16", sentence_per_line=True)


def test_wrapped_prose_is_no_list_of_sentences(tmp_path: Path) -> None:
    for width in (50, 72):
        (tmp_path / "a.txt").write_text(wrapped(PROSE, width))
        with pytest.raises(
            ValueError, match=rf"prose wrapped at ({width}|{width - 1}|{width - 2}) letters.*corpus=books"
        ):
            read(TextLines, tmp_path)
    assert len(read(TextLines, tmp_path, sentence_per_line=True)) == 1


@pytest.mark.parametrize("files", [1, 30])
def test_lines_of_several_sentences_are_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, files: int
) -> None:
    for number in range(files):
        (tmp_path / f"{number}.txt").write_text("\n\n".join([PROSE[:200]] * (30 // files)))
    assert paragraphs(read(TextLines, tmp_path)) == [[PROSE[:200].strip()]] * 30
    (said,) = caplog.messages
    assert "corpus c: 100% of the text stands in lines of several sentences" in said
    assert "corpus=books" in said
    read(TextLines, tmp_path, sentence_per_line=True)
    assert len(caplog.messages) == 1


def test_sentences_with_abbreviations_and_speech_are_no_paragraphs() -> None:
    lines = ["Mr. Ashe and Dr. Lee met J. R. Hale at 5 p.m. in St. Ives.", '"Who is it?" she said.', "It was e.g. he."]
    assert share_of_paragraphs(lines * 9) == 0
    assert share_of_paragraphs([*lines * 9, "He came. She went."]) < 0.1


@pytest.mark.parametrize(
    "line",
    [
        "It was a dark night, and the wind came from the hills.",
        "so we went on and on and there was nothing more to be said of it",
        "\u5929\u6c14\u5f88\u597d\u6211\u4eec\u53bb\u516c\u56ed",
    ],
)
def test_sentences_transcripts_and_lines_of_han_are_no_wrapped_prose(line: str) -> None:
    lines = [" ".join(line.split()[: 3 + n % 9]) if n % 2 else line for n in range(200)]
    assert wrapped_at([each + ("." if line.endswith(".") else "") for each in lines]) == 0


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        ('<doc id="1" url="u" title="T">\nT\n', "corpus=wikipedia_extracted reads it"),
        ("\n<?xml version='1.0'?>\n<mediawiki>", "XML"),
        ("<!DOCTYPE html>\n", "XML or HTML"),
        ('{"text": "x"}\n', "JSON"),
    ],
)
def test_books_refuse_what_is_no_book_by_name(tmp_path: Path, begin: str, said: str) -> None:
    (tmp_path / "wiki_00").write_text(begin + PROSE)
    with pytest.raises(ValueError, match=rf"wiki_00 is no book but .*{said}"):
        read(Books, tmp_path)


def test_books_lose_title_page_contents_byline_and_prices(tmp_path: Path) -> None:
    front = "MY NOVEL\n\nBy A. B. Lytton\n\nLondon 1853\n\nCONTENTS\n\nI The Inn\nII The Storm 12\nIII THE END\n\n"
    paid = "He paid 3s. for the room, and slept until the morning came."
    text = f"CHAPTER I.\n\n{PROSE}\n\n{paid}\n\nCHAPTER II.\n\n{PROSE}\n\n"
    back = "Works by the same author.\n\nCLARA. Crown 8vo, cloth, 3s. 6d. net.\n\nBASIL. 12mo, $1.25; gilt, $2.\n"
    (tmp_path / "a.txt").write_text(front + text + back)
    (book,) = read(Books, tmp_path)
    assert isinstance(book, Document)
    assert [paragraph[:14] for paragraph in book.paragraphs] == [
        "It was a dark ",
        "He paid 3s. fo",
        "It was a dark ",
        "Works by the s",
    ]
    assert book.removed == {"paragraph of a title page": 3, "line of contents": 3, "entry of a list of prices": 2}
    (tmp_path / "a.txt").write_text(f"By A. B. Lytton\n\n{PROSE}\n\nBy noon it was over, and they all went home.")
    (book,) = read(Books, tmp_path)
    assert [paragraph[:14] for paragraph in paragraphs([book])[0]] == ["It was a dark ", "By noon it was"]


def test_csv_and_tsv_take_text_from_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text,title\n7,"One, two.\n\nThree ""four"".",T\n8,Five.,\n')
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress(b'text\tid\nHe said "no\t9\n'))
    first, second = read(CsvRows, tmp_path / "a.csv", id_key="id")
    assert (first, second.paragraphs) == (Document("c/7", ["One, two.", 'Three "four".'], "T"), ["Five."])
    (third,) = read(CsvRows, tmp_path / "b.tsv.gz", quoted=False)
    assert (third.paragraphs, third.identifier) == (['He said "no'], "c/b.tsv.gz/0")
    with pytest.raises(ValueError, match=r"text_key=body, but .*b\.tsv\.gz has no column 'body'; it has text, id"):
        read(CsvRows, tmp_path / "b.tsv.gz", text_key="body")
    (tmp_path / "a.csv").write_text('text;n\n"One;1\n')
    with pytest.raises(ValueError, match=r"a\.csv is not CSV: .*quoted=false"):
        read(CsvRows, tmp_path / "a.csv", delimiter=";")
    with pytest.raises(ValueError, match="delimiter must be null or one character; got ';;'"):
        make(CsvRows, tmp_path, delimiter=";;")


def test_rows_of_another_length_are_bad_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n\nOne.,1\nTwo.\nThree, four.,4\n\nFive.,5\n" + "x" * 200_000 + ",6\n")
    items = read(CsvRows, tmp_path)
    assert [len(text) for (text,) in paragraphs(items)] == [4, 5, 200_000]
    assert [line[:17] for line in bad_lines(CsvRows, tmp_path, items)] == ["3 ends a row of 1", "4 ends a row of 3"]


PAGE = "<page><title>T</title><ns>0</ns><id>1</id>{}</page>"
REVISION = "<revision><timestamp>{}</timestamp><text>The {} text is here now.</text></revision>"


@pytest.mark.parametrize("years", [(2001, 2009, 2004), (2009,), (2001, 2009), (2009, 2001)])
def test_the_newest_revision_of_a_history_is_read(tmp_path: Path, years: tuple[int, ...]) -> None:
    revisions = "".join(REVISION.format(f"{year}-01-01T00:00:00Z", year) for year in years)
    other = PAGE.replace(">1<", ">2<").format(REVISION.format("1999-01-01T00:00:00Z", 1999))
    (tmp_path / "h.xml").write_text(f"<mediawiki>{PAGE.format(revisions)}{other}</mediawiki>")
    assert paragraphs(read(WikipediaDump, tmp_path)) == [["The 2009 text is here now."], ["The 1999 text is here now."]]


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("It is {{convert|1300|mi|km|abbr=off}} long and wide.", "It is 1,300 miles long and wide."),
        ("A {{convert|5|km|mi|adj=on|sp=us}} walk to the sea.", "A 5-kilometer walk to the sea."),
        ("He is {{convert|6|ft|2|in|m}} tall in his shoes.", "He is 6 feet 2 inches tall in his shoes."),
        ("Some {{cvt|3|to|5|USgal}} of water are left.", "Some 3 to 5 USgal of water are left."),
        ("It has {{formatnum:1,234}} people in it today.", "It has 1,234 people in it today."),
        ("He left {{as of|2012|3|lc=y}} and did not return.", "He left as of March 2012 and did not return."),
        ("Born {{birth date|1990|5|3|df=yes}} in the old town.", "Born 3 May 1990 in the old town."),
        ("Le {{date|3|mai|1990}} il pleut sur la ville.", "Le 3 mai 1990 il pleut sur la ville."),
        ("Built {{circa|1500}} by [[A|{{nowrap|A. B.}}]] and others.", "Built c. 1500 by A. B. and others."),
        (
            "It takes {{frac|1|1|2}} days or {{val|6.2|e=18|u=kg}} more.",
            "It takes 1 1/2 days or 6.2\u00d710^18 kg more.",
        ),
    ],
)
def test_templates_with_numbers_keep_their_text(wikitext: str, text: str) -> None:
    assert plain_paragraphs(wikitext) == [text]


def test_other_templates_of_running_text_are_counted(tmp_path: Path) -> None:
    text = (
        "{{Infobox}}\nBern ({{lang-de|Bern}}) is{{sfn|X|1}} a {{Foo bar|x}} town.{{cite web|a}}\n"
        "* {{lang-de|a}}\n\n{{a}}{{b}}"
    )
    page = f"<mediawiki>{PAGE.format('<revision><text>' + text + '</text></revision>')}</mediawiki>"
    (tmp_path / "d.xml").write_text(page)
    (document,) = read(WikipediaDump, tmp_path)
    assert isinstance(document, Document)
    assert document.paragraphs == ["Bern is a town."]
    assert document.removed == {"template {{lang-de}}": 1, "template {{foo bar}}": 1}


def extracted(tmp_path: Path, *lines: str) -> Document | Dropped:
    body = "\n".join(("T", "", *lines))
    (tmp_path / "wiki_00").write_text(f'<doc id="1" url="u" title="T">\n{body}\n</doc>\n')
    (item,) = read(WikipediaExtracted, tmp_path)
    assert not isinstance(item, BadLine)
    return item


def test_headings_and_remains_of_wikiextractor_go_and_are_counted(tmp_path: Path) -> None:
    document = extracted(
        tmp_path,
        "Aruba ( ] ) is a country, as of 2014[ [update, and Andorra (]; [[update]] 3) too.",
        "Campaigns against the Eastern Roman Empire.",
        "He was buried in the old town.",
        "The value of formula_1 is small, and formula_2 is not.",
        "where the brackets {{x are debris of a template.",
        "where m is a mass of it.",
    )
    assert isinstance(document, Document)
    assert document.paragraphs == [
        "Aruba is a country, as of 2014, and Andorra (3) too.",
        "He was buried in the old town.",
        "The value of is small, and is not.",
        "where m is a mass of it.",
    ]
    assert {kind: number for kind, number in document.removed.items() if number} == {
        "heading of several words": 1,
        "line with remains of markup": 1,
        "placeholder of a formula or of code": 2,
    }


def test_pages_that_only_announce_lists_are_dropped(tmp_path: Path) -> None:
    announcing = Dropped("only the beginnings of lists")
    assert extracted(tmp_path, "Cortex may also refer to:") == announcing
    assert isinstance(extracted(tmp_path, "Cortex may also refer to:", "It is a part of the brain."), Document)
    page = PAGE.format("<revision><text>Cortex may also refer to:\n* one</text></revision>")
    (tmp_path / "d.xml").write_text(f"<mediawiki>{page}</mediawiki>")
    assert read(WikipediaDump, tmp_path / "d.xml") == [announcing]


def test_a_temperature_repeats_small_languages(tmp_path: Path) -> None:
    sizes = {"en": 9000, "de": 1000}
    for language, size in sizes.items():
        (tmp_path / f"{language}.txt").write_text("x" * size)
    readers = {
        language: Books(language, tmp_path / f"{language}.txt", "", "", language=language, weight=2)
        for language in sizes
    }
    mixture = Mixture(temperature=2, **readers)
    assert [reader.weight for reader in mixture.sources] == [2, pytest.approx(6)]
    shares = {language: size * times for (language, size), times in zip(sizes.items(), (1, 3), strict=True)}
    assert shares["de"] / shares["en"] == pytest.approx((1000 / 9000) ** (1 / 2))
    assert repeats({"a": 5, "b": 1}, 1) == {"a": 1, "b": 1}
    for wrong in (0.5, "2", True):
        with pytest.raises(ValueError, match=r"corpus\.temperature must be null or a number from 1 on; got"):
            Mixture(temperature=wrong, **readers)  # type: ignore[arg-type]
    (tmp_path / "en.txt").write_text("")
    with pytest.raises(ValueError, match=r"that of corpus en is 0, so set corpus\.<key>\.weight"):
        Mixture(temperature=2, en=Books("en", tmp_path / "en.txt", "", ""))
    with pytest.raises(ValueError, match=r"a mixture needs a source, such as \+corpus@corpus\.books=books"):
        Mixture()


def test_what_is_allowed_does_not_decide_the_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x"}))
    plain, allowing = make(JsonLines, tmp_path), make(JsonLines, tmp_path, max_bad_lines=9)
    assert plain.decisive == allowing.decisive
    assert make(JsonLines, tmp_path, encoding="utf-16").decisive != plain.decisive
    assert make(JsonLines, tmp_path, weight=2).decisive != plain.decisive
    with pytest.raises(ValueError, match=r"max_bad_lines must be a whole number, at least 0; got -1"):
        make(JsonLines, tmp_path, max_bad_lines=-1)
