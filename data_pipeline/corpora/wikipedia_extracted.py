"""Output of WikiExtractor: `<doc id= url= title=>` ... `</doc>`, or one JSON object a line (`--json`)."""

import codecs
import html
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from data_pipeline.corpora.bad_lines import BadLines
from data_pipeline.corpora.byte_ranges import compression_of, entry_offsets
from data_pipeline.corpora.parts import Part, cut_at
from data_pipeline.corpora.prose import is_prose, only_announces, tidy
from data_pipeline.corpora.reader import FileReader, Item
from data_pipeline.corpora.wiki_links import checked_links, without_anchors
from data_pipeline.records import Document, Dropped

_BEGIN = re.compile(r'<doc id="(?P<id>[^"]*)"(?: revid="[^"]*")? url="(?P<url>[^"]*)" title="(?P<title>.*)">\s*$')
_HEAD_BYTES = 256
_PLACEHOLDER = re.compile(r"\b(?:formula|codice)_\d+\b")
_UPDATE = re.compile(r"\[ ?\[ ?update\b(?:\]\])?")
_DEBRIS = re.compile(r"\{\{|\}\}|\[\[|&rft|=\"(?<=\bclass=\"|\bstyle=\")")
_TABLE_ROW = re.compile(r"\s*[|!]")
_HEADING_WORDS = 8
"""Most words of a heading, which WikiExtractor writes as a paragraph with a full stop."""
_VERB = re.compile(r"\b(?:is|are|was|were|has|have|had|can|may|will)\b")
_STOP = re.compile(r"[.!?:;\u3002\uff01\uff1f]")


class WikipediaExtracted(FileReader):
    """Reader of WikiExtractor's articles; each line is a paragraph, and the first line repeats the title.

    Headings, list entries and remains of templates are dropped, and so are the placeholders that WikiExtractor leaves
    for formulas and code (formula_1, codice_2). Behind the first paragraph, one of a single sentence with at most 8
    words and no usual verb is a heading.

    Args:
        name: Name of the source in the manifest.
        path: A file, a folder, or a glob pattern.
        licence: License of the text.
        origin: Where the text comes from, in words.
        links: Whether documents come with the links of their text, which WikiExtractor keeps with --links.
        **reader: Arguments of every `FileReader`.
    """

    file_names = re.compile(r"^[^.]+$|\.(txt|xml|jsonl?)$", re.IGNORECASE)

    def __init__(
        self, name: str, path: str | Path, licence: str, origin: str, links: bool = False, **reader: Any
    ) -> None:
        super().__init__(name, path, licence, origin, **reader)
        self.links = checked_links(name, links)

    def cut(self, file: Path, part_bytes: int) -> Iterator[Part]:
        """Cut a file where an article begins."""
        entry = re.compile(rb"\n(?=\{)" if _is_json(file) else rb"\n(?=<doc )")
        is_whole = compression_of(file) is not None or self.encoding is not None
        return cut_at(file, () if is_whole else entry_offsets(file, part_bytes, entry))

    def read_part(self, part: Part) -> Iterator[Item]:
        """Yield every article of a part."""
        return self.with_bad_lines(part, lambda bad: self._articles(part, bad))

    def _articles(self, part: Part, bad: BadLines) -> Iterator[Item]:
        lines = ((offset, line) for offset, line in self.lines(part, bad) if line.strip())
        first = next(lines, None)
        if first is None:
            yield Dropped("empty file")
        elif first[1].startswith("{"):
            yield from self._from_json(chain([first], lines), bad)
        elif _BEGIN.match(first[1]):
            yield from self._from_tags(chain([first], lines), part, bad)
        else:
            raise ValueError(
                f"corpus {self.name}: {part.name} is not WikiExtractor output: no <doc ...> in its first line"
            )

    def _from_json(self, lines: Iterable[tuple[int, str]], bad: BadLines) -> Iterator[Item]:
        for offset, line in lines:
            try:
                article = json.loads(line)
                document = self._document(article["id"], article["title"], article["text"].split("\n"))
            except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
                bad.add(offset, f"is not an article: {error!r}")
            else:
                yield document

    def _from_tags(self, lines: Iterable[tuple[int, str]], part: Part, bad: BadLines) -> Iterator[Item]:
        begin: re.Match[str] | None = None
        body: list[str] = []
        for offset, line in lines:
            match = _BEGIN.match(line)
            if match and begin:
                bad.add(offset, f"begins an article, but there is no </doc> after {begin['title']!r}")
            if match:
                begin, body = match, []
            elif line.startswith("</doc>") and begin:
                yield self._document(begin["id"], html.unescape(begin["title"]), body)
                begin = None
            else:
                body.append(line)
        if begin:
            raise ValueError(f"corpus {self.name}: {part.name} ends inside the article {begin['title']!r}")

    def _document(self, identifier: str, title: str, lines: list[str]) -> Document | Dropped:
        unescaped = [_UPDATE.sub("", line) if "[" in line else line for line in map(html.unescape, lines)]
        whole = [line for line in unescaped if not (_TABLE_ROW.match(line) or _DEBRIS.search(line))]
        linked = [without_anchors(line) if self.links else (line, []) for line in whole]
        placeholders = sum(len(_PLACEHOLDER.findall(line)) for line in whole if "_" in line)
        cleaned = [(tidy(_PLACEHOLDER.sub("", line) if "_" in line else line), links) for line, links in linked]
        prose = [(line, links) for line, links in cleaned if line != title and is_prose(line)]
        kept = [*prose[:1], *((line, links) for line, links in prose[1:] if not _is_heading(line))]
        paragraphs = [line for line, _ in kept]
        if not paragraphs:
            return Dropped("no running text")
        if only_announces(paragraphs):
            return Dropped("only the beginnings of lists")
        removed = {
            "line with remains of markup": len(unescaped) - len(whole),
            "heading of several words": len(prose) - len(paragraphs),
            "placeholder of a formula or of code": placeholders,
        }
        links = tuple(chain.from_iterable(links for _, links in kept))
        return Document(f"{self.name}/{identifier}", paragraphs, title, removed=removed, links=links)


def _is_heading(paragraph: str) -> bool:
    """Return whether a paragraph is a heading; in scripts without spaces a full stop of ASCII gives it away.

    >>> _is_heading("Campaigns against the Eastern Empire."), _is_heading("He was buried in Rome.")
    (True, False)
    """
    is_short = len(paragraph.split()) <= _HEADING_WORDS and len(paragraph) < 100
    ends = [match.start() for match in _STOP.finditer(paragraph)]
    begins = not paragraph[0].islower()
    return begins and is_short and paragraph[-1] == "." and ends == [len(paragraph) - 1] and not _VERB.search(paragraph)


def _is_json(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(_HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
