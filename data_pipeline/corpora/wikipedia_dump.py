"""Wikipedia XML dumps, plain or compressed (multistream bz2 too), read one page at a time.

Running prose is kept, as for BERT. Templates, tables, references, headings, lists, captions and categories are dropped;
templates that carry numbers and dates keep their text (`wikitext_templates`). Of a page with its history, the newest
revision is read.
"""

import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import mwparserfromhell
from mwparserfromhell.parser import ParserError

from data_pipeline.corpora import wikitext_templates
from data_pipeline.corpora.bad_lines import BadLine
from data_pipeline.corpora.byte_ranges import BZ2_STREAM, compression_of, entry_offsets, open_range, open_whole
from data_pipeline.corpora.parts import Part, cut_at
from data_pipeline.corpora.prose import is_prose, only_announces, tidy
from data_pipeline.corpora.reader import FileReader, Item
from data_pipeline.corpora.wiki_links import NAMESPACES, Link, checked_links, links_of, normalized_title
from data_pipeline.records import Document, Dropped, Redirect

ARTICLES = "0"
CHUNK_BYTES = 1 << 16
HEAD_BYTES = 1 << 18
_PAGE = re.compile(rb"(?=<page>)")
_DROPPED_TAGS = (
    "ref|references|gallery|math|chem|score|timeline|imagemap|source|syntaxhighlight|code|pre|graph|hiero"
    "|table|ul|ol|dl"
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(rf"<(?P<end>/)?(?P<name>{_DROPPED_TAGS})\b(?(end)\s*|[^<>]*?)(?P<empty>/?)>", re.IGNORECASE)
_PARAGRAPH_END = re.compile(r"\n\s*\n|\Z")
_TEMPLATE = re.compile(r"\{\{(?:(?!\{\{|\}\}).)*\}\}", re.DOTALL)
_TABLE = re.compile(r"\{\|(?:(?!\{\|).)*?\n\s*\|\}", re.DOTALL)
_EXTERNAL_LINK = re.compile(r"\[(?:https?:)?//[^\s\]]+\s*([^\]]*)\]")
_DROPPED_LINE = re.compile(r"\s*([*#:;|!{}=]|__[A-Z]+__\s*$)")
_SHOWN_APART = {"-2": "Media", "6": "File|Image", "14": "Category"}


def links_shown_apart(names: Iterable[str] = ()) -> re.Pattern[str]:
    """Return a pattern of links that do not belong to the sentence around them: images, categories, languages.

    Only known prefixes count, because titles may contain colons too ([[Mission: Impossible]]).

    Args:
        names: Names of the namespaces of media, files and categories in this wiki, besides the English names.
    """
    prefixes = "|".join([*_SHOWN_APART.values(), *(re.escape(name) for name in names)])
    inside = r"(?:[^\[\]]++|\[\[[^\[\]]*+\]\]|\[[^\[\]]*+\])*+"
    return re.compile(rf"\[\[\s*(?:(?i:{prefixes})\s*|[a-z]{{2,3}}(?:-[a-z-]+)?):{inside}\]\]")


_ENGLISH_LINKS = links_shown_apart()


@dataclass(frozen=True, slots=True)
class _Site:
    """What the head of a dump says: the prefix of its XML tags, and the links that are no links to articles."""

    prefix: str
    shown_apart: re.Pattern[str] = _ENGLISH_LINKS
    namespaces: frozenset[str] = NAMESPACES

    def with_namespaces(self, names: Mapping[str, str]) -> "_Site":
        """Return the site with the names of its namespaces, by their keys."""
        apart = links_shown_apart(name for key, name in names.items() if key in _SHOWN_APART)
        others = (name.lower() for key, name in names.items() if key != ARTICLES)
        return _Site(self.prefix, apart, NAMESPACES.union(others))


class WikipediaDump(FileReader):
    """Reader of a pages-articles XML dump; plain and multistream bz2 files are cut into parts.

    Args:
        name: Name of the source in the manifest.
        path: A file, a folder, or a glob pattern.
        licence: License of the text.
        origin: Where the text comes from, in words.
        links: Whether documents come with the links of their text, and redirects with their targets.
        **reader: Arguments of every `FileReader`.
    """

    file_names = re.compile(r"\.xml", re.IGNORECASE)

    def __init__(
        self, name: str, path: str | Path, licence: str, origin: str, links: bool = False, **reader: Any
    ) -> None:
        super().__init__(name, path, licence, origin, **reader)
        self.links = checked_links(name, links)

    def cut(self, file: Path, part_bytes: int) -> Iterator[Part]:
        """Cut a plain file where a page begins, a bz2 file where a stream begins that starts with a page."""
        offsets: Iterable[int] = ()
        if compression_of(file) == "bz2":
            streams = entry_offsets(file, part_bytes, BZ2_STREAM)
            offsets = (offset for offset in streams if _begins_page(file, offset))
        elif compression_of(file) is None:
            offsets = entry_offsets(file, part_bytes, _PAGE)
        return cut_at(file, offsets)

    def read_part(self, part: Part) -> Iterator[Item]:
        """Yield every article whose page begins in the part; a page that cannot be read counts as a bad line."""
        parser: ElementTree.XMLPullParser[Any] = ElementTree.XMLPullParser(events=("start", "end"))
        try:
            yield from self._pages(parser, _chunks(part), part.name)
        except (ElementTree.ParseError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"corpus {self.name}: {part.name} is not a MediaWiki XML dump: {error}") from error

    def _pages(self, parser: "ElementTree.XMLPullParser[Any]", chunks: Iterable[bytes], file: str) -> Iterator[Item]:
        site: _Site | None = None
        newest: ElementTree.Element | None = None
        for event, element in _events(parser, chunks):
            if site is None:
                root = element
                namespace, _, tag = root.tag.rpartition("}")
                if tag != "mediawiki":
                    raise ValueError(f"corpus {self.name}: {file} is not a MediaWiki XML dump: its root is <{tag}>")
                site = _Site(f"{namespace}}}" if namespace else "")
            elif event == "end" and element.tag == f"{site.prefix}namespaces":
                site = site.with_namespaces({e.get("key", ""): e.text for e in element if e.text})
            elif event == "end" and element.tag == f"{site.prefix}revision":
                newest = _newer(newest, element, f"{site.prefix}timestamp")
            elif event == "end" and element.tag == f"{site.prefix}page":
                yield self._item(element, newest, site, file)
                newest = None
                root.clear()

    def _item(self, page: ElementTree.Element, newest: ElementTree.Element | None, site: _Site, file: str) -> Item:
        try:
            return self._document(page, newest, site)
        except (ValueError, LookupError, RecursionError, ParserError) as error:
            title = page.findtext(f"{site.prefix}title")
            return BadLine(file, None, f"has the page {title!r}, which cannot be read: {error!r}")

    def _document(
        self, page: ElementTree.Element, newest: ElementTree.Element | None, site: _Site
    ) -> Document | Dropped:
        title = page.findtext(f"{site.prefix}title") or ""
        if (redirect := page.find(f"{site.prefix}redirect")) is not None:
            return Redirect("redirect", title, normalized_title(redirect.get("title", "")))
        if page.findtext(f"{site.prefix}ns", ARTICLES) != ARTICLES:
            return Dropped("not an article")
        wikitext = "" if newest is None else newest.findtext(f"{site.prefix}text") or ""
        removed, links = Counter[str](), list[Link]()
        kept_links = links if self.links else None
        paragraphs = plain_paragraphs(wikitext, site.shown_apart, removed, kept_links, site.namespaces)
        if not paragraphs:
            return Dropped("no running text")
        if only_announces(paragraphs):
            return Dropped("only the beginnings of lists")
        identifier = f"{self.name}/{page.findtext(f'{site.prefix}id')}"
        return Document(identifier, paragraphs, title, removed=removed, links=tuple(links))


def _newer(newest: ElementTree.Element | None, revision: ElementTree.Element, timestamp: str) -> ElementTree.Element:
    """Return the newer of two revisions, the later one of the same age, and let the text of the other go."""
    if newest is None:
        return revision
    older, newer = sorted((newest, revision), key=lambda each: each.findtext(timestamp) or "")
    older.clear()
    return newer


def _events(
    parser: "ElementTree.XMLPullParser[Any]", chunks: Iterable[bytes]
) -> Iterator[tuple[str, ElementTree.Element]]:
    for chunk in chunks:
        parser.feed(chunk)
        yield from cast(Iterator[tuple[str, ElementTree.Element]], parser.read_events())
    parser.close()


def _chunks(part: Part) -> Iterator[bytes]:
    """Yield complete XML: a range of a file gets the head of the file before it and the closing root tag after it."""
    file = Path(part.name)
    if part.begin:
        with open_whole(file) as stream:
            head = stream.read(HEAD_BYTES)
        yield head[: head.index(b"<page>")]
    with open_range(file, part.begin, part.end) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
    if part.end is not None:
        yield b"</mediawiki>"


def _begins_page(file: Path, offset: int) -> bool:
    try:
        with open_range(file, offset, None) as stream:
            return stream.read(CHUNK_BYTES).lstrip().startswith(b"<page>")
    except (OSError, EOFError):
        return False  # a damaged file is reported when it is read


def plain_paragraphs(
    wikitext: str,
    dropped_links: re.Pattern[str] = _ENGLISH_LINKS,
    removed: Counter[str] | None = None,
    links: list[Link] | None = None,
    namespaces: frozenset[str] = NAMESPACES,
) -> list[str]:
    r"""Return the running prose of a page, one string for each paragraph.

    Args:
        wikitext: Source text of the page.
        dropped_links: Links that do not belong to the sentence around them.
        removed: Counts, to which the templates are added that were removed from these paragraphs.
        links: List to which the links of these paragraphs are added.
        namespaces: Names, in small letters, of the namespaces without articles.

    >>> plain_paragraphs("'''Bern''' is a [[city|town]].<ref>x</ref>\n* a list\n== H ==\n{{box}}")
    ['Bern is a town.']
    """
    lines = _without_blocks(wikitext, dropped_links).split("\n")
    blocks = groupby(lines, key=_is_text)
    paragraphs = []
    for wrapped in (" ".join(block) for is_text, block in blocks if is_text):  # a line break does not end a paragraph
        source = wikitext_templates.MARK.sub("", wrapped)
        text = _shown(source)
        if is_prose(text):
            paragraphs.append(text)
            if links is not None:
                links.extend(links_of(source, _shown, namespaces))
            if removed is not None:
                removed.update(wikitext_templates.counted(wrapped))
    return paragraphs


def _shown(wikitext: str) -> str:
    return tidy(mwparserfromhell.parse(wikitext).strip_code(normalize=True, collapse=True))


def _is_text(line: str) -> bool:
    return bool(wikitext_templates.MARK.sub("", line).strip()) and not _DROPPED_LINE.match(line)


def _without_elements(text: str) -> str:
    """Remove elements whose content is no prose, in one pass over the tags.

    A <ref> that is not closed before the next one ends at its paragraph; other tags without an end stay.
    """
    tags = list(_TAG.finditer(text))
    following: list[re.Match[str] | None] = []  # the next tag of the same name that is not empty, last tag first
    last: dict[str, re.Match[str]] = {}
    for tag in reversed(tags):
        name = tag["name"].lower()
        following.append(last.get(name))
        if not tag["empty"]:
            last[name] = tag
    kept, begin = [], 0
    for tag, next_tag in zip(tags, reversed(following), strict=True):
        if tag.start() >= begin and not tag["end"] and (end := _element_end(text, tag, next_tag)):
            kept.append(text[begin : tag.start()])
            begin = end
    return "".join([*kept, text[begin:]])


def _element_end(text: str, tag: re.Match[str], following: re.Match[str] | None) -> int | None:
    """Return where the element of an opening tag ends, None if it does not end."""
    if tag["empty"]:
        return tag.end()
    if following is not None and following["end"]:
        return following.end()
    if tag["name"].lower() != "ref":
        return None
    end = _PARAGRAPH_END.search(text, tag.end())
    return end.start() if end else len(text)


def _nothing(block: re.Match[str]) -> str:
    return ""


def _without_blocks(wikitext: str, dropped_links: re.Pattern[str]) -> str:
    """Remove nested blocks that span lines, from the inside out.

    The parser would be slow on them, and would keep the content of some.
    """
    text = _without_elements(_COMMENT.sub("", wikitext))
    patterns = {_TEMPLATE: wikitext_templates.shown, _TABLE: _nothing, dropped_links: _nothing}
    for pattern, shown in patterns.items():
        before = None
        while before != text:
            before, text = text, pattern.sub(shown, text)
    return _EXTERNAL_LINK.sub(r"\1", text)
