"""Wikipedia XML dumps, plain or bz2 (multistream too), one page at a time.

What stays is running prose, as for BERT: templates, tables, references, headings, lists, captions and categories go.
"""

import bz2
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import mwparserfromhell

from data_pipeline.corpora.prose import is_prose, tidy
from data_pipeline.corpora.reader import Reader
from data_pipeline.records import Document, Dropped

ARTICLES = "0"
_DROPPED_TAGS = (
    "ref|references|gallery|math|chem|score|timeline|imagemap|source|syntaxhighlight|code|pre|graph|hiero"
    "|table|ul|ol|dl"
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ELEMENT = re.compile(rf"<({_DROPPED_TAGS})\b(?:[^<>]*?/>|[^<>]*?>.*?</\1\s*>)", re.DOTALL | re.IGNORECASE)
_TEMPLATE = re.compile(r"\{\{(?:(?!\{\{|\}\}).)*\}\}", re.DOTALL)
_TABLE = re.compile(r"\{\|(?:(?!\{\|).)*?\n\s*\|\}", re.DOTALL)
_EXTERNAL_LINK = re.compile(r"\[(?:https?:)?//[^\s\]]+\s*([^\]]*)\]")
_DROPPED_LINE = re.compile(r"\s*([*#:;|!{}=]|__[A-Z]+__\s*$)")
_SHOWN_APART = {"-2": "Media", "6": "File|Image", "14": "Category"}


def links_shown_apart(names: Iterable[str] = ()) -> re.Pattern[str]:
    """Return a pattern of the links that are no part of the sentence they stand in: images, categories, languages.

    A title may hold a colon too ([[Mission: Impossible]]), so only known prefixes count.

    Args:
        names: What a wiki calls the namespaces of media, files and categories, beside the English names.
    """
    prefixes = "|".join([*_SHOWN_APART.values(), *(re.escape(name) for name in names)])
    inside = r"(?:[^\[\]]++|\[\[[^\[\]]*+\]\]|\[[^\[\]]*+\])*+"
    return re.compile(rf"\[\[\s*(?:(?i:{prefixes})\s*|[a-z]{{2,3}}(?:-[a-z-]+)?):{inside}\]\]")


_ENGLISH_LINKS = links_shown_apart()


class WikipediaDump(Reader):
    """The articles of a pages-articles XML dump."""

    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield every article as running text; redirects and other namespaces are dropped."""
        with closing(self._open(file)) as stream:
            try:
                yield from self._pages(stream, file)
            except (ElementTree.ParseError, OSError, EOFError) as error:
                raise ValueError(f"corpus {self.name}: {file} is not a MediaWiki XML dump: {error}") from error

    def _open(self, file: Path) -> IO[bytes]:
        return bz2.open(file, "rb") if file.suffix == ".bz2" else file.open("rb")

    def _pages(self, stream: IO[bytes], file: Path) -> Iterator[Document | Dropped]:
        events = ElementTree.iterparse(stream, events=("start", "end"))
        _, root = next(events)
        namespace, _, tag = root.tag.rpartition("}")
        if tag != "mediawiki":
            raise ValueError(f"corpus {self.name}: {file} is not a MediaWiki XML dump: its root is <{tag}>")
        prefix = f"{namespace}}}" if namespace else ""
        links = _ENGLISH_LINKS
        for event, element in events:
            if event == "end" and element.tag == f"{prefix}namespaces":
                links = links_shown_apart(e.text for e in element if e.text and e.get("key") in _SHOWN_APART)
            elif event == "end" and element.tag == f"{prefix}page":
                yield self._document(element, prefix, links)
                root.clear()

    def _document(self, page: ElementTree.Element, prefix: str, links: re.Pattern[str]) -> Document | Dropped:
        if page.find(f"{prefix}redirect") is not None:
            return Dropped("redirect")
        if page.findtext(f"{prefix}ns", ARTICLES) != ARTICLES:
            return Dropped("not an article")
        wikitext = page.findtext(f"{prefix}revision/{prefix}text") or ""
        paragraphs = plain_paragraphs(wikitext, links)
        if not paragraphs:
            return Dropped("no running text")
        identifier = f"{self.name}/{page.findtext(f'{prefix}id')}"
        return Document(identifier, paragraphs, page.findtext(f"{prefix}title") or "")


def plain_paragraphs(wikitext: str, dropped_links: re.Pattern[str] = _ENGLISH_LINKS) -> list[str]:
    r"""Return the running prose of a page, one string a paragraph.

    >>> plain_paragraphs("'''Bern''' is a [[city|town]].<ref>x</ref>\n* a list\n== H ==\n{{box}}")
    ['Bern is a town.']
    """
    lines = _without_blocks(wikitext, dropped_links).split("\n")
    blocks = groupby(lines, key=lambda line: bool(line.strip()) and not _DROPPED_LINE.match(line))
    wrapped = (" ".join(block) for is_text, block in blocks if is_text)  # a single line break does not end a paragraph
    cleaned = (tidy(mwparserfromhell.parse(text).strip_code(normalize=True, collapse=True)) for text in wrapped)
    return [text for text in cleaned if is_prose(text)]


def _without_blocks(wikitext: str, dropped_links: re.Pattern[str]) -> str:
    """Remove what spans lines and nests, from the inside out, where the parser is slow and keeps the inside of some."""
    text = _ELEMENT.sub("", _COMMENT.sub("", wikitext))
    for pattern in (_TEMPLATE, _TABLE, dropped_links):
        before = None
        while before != text:
            before, text = text, pattern.sub("", text)
    return _EXTERNAL_LINK.sub(r"\1", text)
