"""Wikipedia XML dumps, plain or bz2 (multistream too), one page at a time.

What stays is running prose, as for BERT: templates, tables, references, headings, lists, captions and categories go.
"""

import bz2
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import mwparserfromhell

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
_NAMESPACED_LINK = re.compile(r"\[\[\s*[A-Za-z][\w -]*:[^\[\]]*(?:\[\[[^\[\]]*\]\][^\[\]]*)*\]\]")
_EXTERNAL_LINK = re.compile(r"\[(?:https?:)?//[^\s\]]+\s*([^\]]*)\]")
_DROPPED_LINE = re.compile(r"\s*([*#:;|!{}=]|__[A-Z]+__\s*$)")
_LEFTOVER = re.compile(r"<[^<>\n]{1,200}>|\{\{|\}\}|\[\[|\]\]|'{2,}|__[A-Z]+__")
_EMPTY_BRACKETS = re.compile(r"\s*\(\s*[,;:\s]*\)")
_SPACED = re.compile(r"\s+([,.;:)])|(\()[\s,;]+")


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
        for event, element in events:
            if event == "end" and element.tag == f"{prefix}page":
                yield self._document(element, prefix)
                root.clear()

    def _document(self, page: ElementTree.Element, prefix: str) -> Document | Dropped:
        if page.find(f"{prefix}redirect") is not None:
            return Dropped("redirect")
        if page.findtext(f"{prefix}ns", ARTICLES) != ARTICLES:
            return Dropped("not an article")
        wikitext = page.findtext(f"{prefix}revision/{prefix}text") or ""
        paragraphs = plain_paragraphs(wikitext)
        if not paragraphs:
            return Dropped("no running text")
        identifier = f"{self.name}/{page.findtext(f'{prefix}id')}"
        return Document(identifier, paragraphs, page.findtext(f"{prefix}title") or "")


def plain_paragraphs(wikitext: str) -> list[str]:
    r"""Return the running prose of a page, one string a paragraph.

    >>> plain_paragraphs("'''Bern''' is a [[city|town]].<ref>x</ref>\n* a list\n== H ==\n{{box}}")
    ['Bern is a town.']
    """
    paragraphs = []
    for line in _without_blocks(wikitext).split("\n"):
        if not line.strip() or _DROPPED_LINE.match(line):
            continue
        clean = _tidy(mwparserfromhell.parse(line).strip_code(normalize=True, collapse=True))
        if _is_prose(clean):
            paragraphs.append(clean)
    return paragraphs


def _without_blocks(wikitext: str) -> str:
    """Remove what spans lines and nests, from the inside out, where the parser is slow and keeps the inside of some."""
    text = _ELEMENT.sub("", _COMMENT.sub("", wikitext))
    for pattern in (_TEMPLATE, _TABLE, _NAMESPACED_LINK):
        before = None
        while before != text:
            before, text = text, pattern.sub("", text)
    return _EXTERNAL_LINK.sub(r"\1", text)


def _tidy(line: str) -> str:
    """Remove markup that was left unbalanced, brackets that lost their content, and the spaces around them."""
    line = _EMPTY_BRACKETS.sub("", _LEFTOVER.sub("", line))
    return " ".join(_SPACED.sub(r"\1\2", line).split())


def _is_prose(line: str) -> bool:
    """Tell a paragraph from captions, leftovers of infoboxes and headings: it has words and ends like a sentence."""
    return len(line.split()) > 3 and line.rstrip("\"')]\u201d\u2019")[-1:] in {
        ".",
        "!",
        "?",
        ":",
        ";",
        "\u2026",
        "\u3002",
    }
