"""Links between the pages of a wiki: the text that a link shows, and the title of the page that it leads to."""

import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import chain
from urllib.parse import unquote

Link = tuple[str, str]
"""Shown text, and title of the page."""

_TRAIL = "(?P<trail>[a-z\u00df-\u024f\u0370-\u04ff]*)"
"""Letters behind a link, which belong to it: [[town]]s shows "towns"."""
_LINK = re.compile(rf"\[\[(?P<target>[^\[\]|]+)(?:\|(?P<text>[^\[\]]*))?\]\]{_TRAIL}")
_ANCHOR = re.compile(rf'<a href="(?P<target>[^"]*)">(?P<text>[^<]*)</a>{_TRAIL}')
_SPACES = re.compile(r"[\s_\u200e\u200f]+")
_OTHER_WIKI = re.compile(
    r"(?i:w|wikipedia|wikt|wiktionary|s|wikisource|b|wikibooks|q|wikiquote|n|wikinews|v|wikiversity|voy|wikivoyage|c"
    r"|commons|d|wikidata|species|wikispecies|m|meta|mw|foundation|phab|toollabs|doi|hdl|arxiv)"
    r"|[a-z]{2,3}(?:-[a-z-]+)?"
)
"""Prefixes that lead to another wiki; those of languages have small letters, so [[Us: The Film]] is a title."""
NAMESPACES = frozenset(
    {"media", "special", "talk", "user", "wikipedia", "project", "file", "image", "mediawiki", "template", "help"}
    | {"category", "portal", "draft", "module"}
)
"""Names, in small letters, of namespaces that have no articles; a dump lists the names in its language."""


def checked_links(corpus: str, links: object) -> bool:
    """Return the setting `links` of a corpus; ValueError if it is not true or false."""
    if not isinstance(links, bool):
        raise ValueError(f"corpus {corpus}: links must be true or false; got {links!r}")
    return links


def normalized_title(target: str) -> str:
    """Return the title of a page as MediaWiki writes it, "" for a link inside the page.

    Underscores are spaces, the first letter is a capital, and the section behind # is left out.

    >>> [normalized_title(target) for target in ("bern_(city)#History", " :Zoo &amp; park", "iPod%20touch", "#Notes")]
    ['Bern (city)', 'Zoo & park', 'IPod touch', '']
    """
    title = unicodedata.normalize("NFC", _page(target))
    return title[:1].upper() + title[1:] if len(title[:1].upper()) == 1 else title


def _page(target: str) -> str:
    """Return what a link says without escapes and section."""
    page = unquote(html.unescape(target)).partition("#")[0]
    return _SPACES.sub(" ", page).strip().removeprefix(":").strip()


def is_page(target: str, namespaces: frozenset[str] = NAMESPACES) -> bool:
    """Return whether a link leads to an article of the same wiki.

    Args:
        target: What the link says.
        namespaces: Names, in small letters, of the namespaces without articles.

    >>> [is_page(target) for target in ("Mission: Impossible", "Category:Towns", ":de:Bern", "wikt%3Atown", "Bern")]
    [True, False, False, False, True]
    """
    prefix, colon, rest = _page(target).partition(":")
    prefix = prefix.strip()
    return not (colon and (rest[:2] == "//" or _OTHER_WIKI.fullmatch(prefix) or prefix.lower() in namespaces))


def links_of(
    wikitext: str, shown_text: Callable[[str], str], namespaces: frozenset[str] = NAMESPACES
) -> Iterator[Link]:
    """Yield the links of a paragraph in their order, without links to other wikis and namespaces.

    Args:
        wikitext: Source of the paragraph, in which no link is inside another.
        shown_text: Function that returns what wikitext shows.
        namespaces: Names, in small letters, of the namespaces without articles.

    >>> list(links_of("Two [[market town|market]]s on the [[Aare]].", str))
    [('markets', 'Market town'), ('Aare', 'Aare')]
    """
    for link in _LINK.finditer(wikitext):
        text = link["target"].strip().removeprefix(":") if link["text"] is None else link["text"]
        yield from _to_page(link["target"], shown_text(text + link["trail"]), namespaces)


def without_anchors(line: str) -> tuple[str, list[Link]]:
    """Return a line of WikiExtractor's output without the marks of its links, and the links, in their order.

    >>> without_anchors('A <a href="Market%20town">market</a>s in <a href="http://a.b">Bern</a>.')
    ('A markets in Bern.', [('markets', 'Market town')])
    """
    found = (_to_page(link["target"], link["text"] + link["trail"], NAMESPACES) for link in _ANCHOR.finditer(line))
    return _ANCHOR.sub(r"\g<text>\g<trail>", line), list(chain.from_iterable(found))


def _to_page(target: str, shown: str, namespaces: frozenset[str]) -> Iterator[Link]:
    """Yield the link if it shows something and leads to an article."""
    title = normalized_title(target)
    if title and shown.strip() and is_page(target, namespaces):
        yield shown, title
