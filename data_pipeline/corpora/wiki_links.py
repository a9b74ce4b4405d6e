"""Links between the pages of a wiki: the text that a link shows, and the title of the page that it leads to."""

import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import unquote

Link = tuple[str, str]
"""Shown text, and title of the page."""

_LINK = re.compile(r"\[\[(?P<target>[^\[\]|]+)(?:\|(?P<text>[^\[\]]*))?\]\](?P<trail>[a-z\u00df-\u024f\u0370-\u04ff]*)")
"""A link, and the small letters behind it, which belong to it: [[town]]s shows "towns"."""
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
    page = unquote(html.unescape(target)).partition("#")[0]
    title = unicodedata.normalize("NFC", _SPACES.sub(" ", page).strip().removeprefix(":").strip())
    return title[:1].upper() + title[1:] if len(title[:1].upper()) == 1 else title


def is_page(target: str, namespaces: frozenset[str] = NAMESPACES) -> bool:
    """Return whether a link leads to an article of the same wiki.

    Args:
        target: What the link says.
        namespaces: Names, in small letters, of the namespaces without articles.

    >>> [is_page(target) for target in ("Mission: Impossible", "Category:Towns", ":de:Bern", "wikt:town", "Bern")]
    [True, False, False, False, True]
    """
    prefix, colon, _ = _SPACES.sub(" ", target).strip().removeprefix(":").partition(":")
    prefix = prefix.strip()
    return not (colon and (_OTHER_WIKI.fullmatch(prefix) or prefix.lower() in namespaces))


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
        title = normalized_title(link["target"])
        text = link["target"].strip().removeprefix(":") if link["text"] is None else link["text"]
        shown = shown_text(text + link["trail"])
        if title and shown and is_page(link["target"], namespaces):
            yield shown, title
