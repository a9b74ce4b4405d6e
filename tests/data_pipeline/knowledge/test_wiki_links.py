"""Links of wikitext and of WikiExtractor's output: what they show, and the page they lead to as MediaWiki names it."""

import json
from pathlib import Path

import pytest

from data_pipeline.corpora.wiki_links import is_page, normalized_title, without_anchors
from data_pipeline.corpora.wikipedia_dump import WikipediaDump, plain_paragraphs
from data_pipeline.corpora.wikipedia_extracted import WikipediaExtracted
from data_pipeline.records import Document


@pytest.mark.parametrize(
    ("target", "title"),
    [
        ("bern", "Bern"),
        ("market_town__of  Bern ", "Market town of Bern"),
        ("Bern#History", "Bern"),
        ("#History", ""),
        (":Bern", "Bern"),
        ("AT%26T", "AT&T"),
        ("AT&amp;T", "AT&T"),
        ("\u00e9cole", "\u00c9cole"),
        ("e\u0301cole", "\u00c9cole"),
        ("\u200eBern", "Bern"),
        ("\u00df", "\u00df"),
        ("100%", "100%"),
    ],
)
def test_titles_are_normalized(target: str, title: str) -> None:
    assert normalized_title(target) == title
    assert normalized_title(title) == title


@pytest.mark.parametrize(
    ("target", "is_article"),
    [
        ("Bern", True),
        ("Mission: Impossible", True),
        ("Category:Bern", False),
        (":category : Bern", False),
        ("Category%3ABern", False),
        ("fr:Berne", False),
        (":zh-min-nan:Bern", False),
        ("wikt:town", False),
        ("https://bern.ch", False),
        ("Talk: the film", False),
        ("Datei:A.jpg", True),
    ],
)
def test_other_wikis_and_namespaces_are_no_pages(target: str, is_article: bool) -> None:
    assert is_page(target) == is_article
    assert not is_page("Datei:A.jpg", frozenset({"datei"}))


def test_links_of_the_kept_paragraphs_come_in_their_order() -> None:
    wikitext = (
        "{{Infobox|a=[[Box]]}}The '''[[Old Town|''old'' town]]s''' of [[bern]]<ref>[[Note]]</ref> lie on the "
        "[[Aare]]{{sfn|[[A]]}}, see [[File:A.jpg|thumb|In [[Basel]]]][https://a.b the [[site]]].\n"
        "* [[List]]\n\n[[Caption]] only\n\nIt is [[#Name|named]] after a [[bear]], {{convert|5|km}} from [[Thun|]]."
    )
    links: list[tuple[str, str]] = []
    paragraphs = plain_paragraphs(wikitext, links=links)
    assert links == [
        ("old towns", "Old Town"),
        ("bern", "Bern"),
        ("Aare", "Aare"),
        ("site", "Site"),
        ("bear", "Bear"),
    ]
    text = " ".join(paragraphs)
    assert all(shown in text for shown, _ in links)


def test_a_dump_names_its_namespaces(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    path.write_text(
        "<mediawiki><siteinfo><namespaces><namespace key='0'/><namespace key='14'>Kategorie</namespace>"
        "<namespace key='100'>Portal der Stadt</namespace></namespaces></siteinfo><page><title>Bern</title><ns>0</ns>"
        "<id>1</id><revision><text>Es gibt das [[portal der Stadt:Bern|Portal]] und die [[:Kategorie:Stadt|Liste]] "
        "der [[Stadt|St\u00e4dt]]e, das ist klar.</text></revision></page></mediawiki>"
    )
    for links, expected in ((True, (("St\u00e4dte", "Stadt"),)), (False, ())):
        reader = WikipediaDump("c", path, "none", "test", links=links)
        (document,) = [item for part in reader.parts(1000) for item in reader.read_part(part)]
        assert isinstance(document, Document)
        assert document.links == expected


@pytest.mark.parametrize("is_json", [False, True])
def test_links_that_wikiextractor_keeps_are_read(tmp_path: Path, is_json: bool) -> None:
    lines = [
        "Bern",
        'Bern is a <a href="Market%20town">town</a>s\' town on the <a href="aare%23Name">Aare</a> river.',
        'Its <a href="History">past</a>.',
        'It was <a href="https://a.b">founded</a> by a &lt;a href="Duke"&gt;duke&lt;/a&gt; in the year 1191.',
    ]
    whole = "\n".join(lines)
    article = json.dumps({"id": "7", "url": "u", "title": "Bern", "text": whole})
    (tmp_path / "wiki_00").write_text(article if is_json else f'<doc id="7" url="u" title="Bern">\n{whole}\n</doc>\n')
    reader = WikipediaExtracted("c", tmp_path / "wiki_00", "none", "test", links=True)
    (document,) = [item for part in reader.parts(1000) for item in reader.read_part(part)]
    assert isinstance(document, Document)
    assert document.paragraphs == [
        "Bern is a towns' town on the Aare river.",
        "It was founded by a duke in the year 1191.",
    ]
    assert document.links == (("towns", "Market town"), ("Aare", "Aare"), ("duke", "Duke"))
    assert without_anchors("No link.") == ("No link.", [])


def test_a_setting_that_is_no_boolean_is_named(tmp_path: Path) -> None:
    for kind in (WikipediaDump, WikipediaExtracted):
        with pytest.raises(ValueError, match=r"^corpus c: links must be true or false; got 'yes'"):
            kind("c", tmp_path, "none", "test", links="yes")  # type: ignore[arg-type]


def test_the_key_decides_the_input_only_if_it_is_on(tmp_path: Path) -> None:
    readers = [WikipediaDump("c", tmp_path, "none", "test", links=links) for links in (False, True)]
    assert [reader.decisive.get("links") for reader in readers] == [None, True]
