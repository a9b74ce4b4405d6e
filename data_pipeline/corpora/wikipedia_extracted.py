"""What WikiExtractor writes: `<doc id= url= title=>` ... `</doc>`, or one JSON object a line (`--json`)."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from data_pipeline.corpora.prose import is_prose, tidy
from data_pipeline.corpora.reader import FileReader
from data_pipeline.records import Document, Dropped

_BEGIN = re.compile(r'<doc id="(?P<id>[^"]*)" url="(?P<url>[^"]*)" title="(?P<title>.*)">\s*$')
_DEBRIS = re.compile(r"\{\{|\}\}|\[\[|^\s*[|!]|&rft|\b(?:class|style)=\"")


class WikipediaExtracted(FileReader):
    """The articles WikiExtractor found; each line is a paragraph, the first one repeats the title.

    Headings, list entries and pieces of templates that WikiExtractor left in are dropped.
    """

    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield every article of a file."""
        with self.opened(file) as opened:
            lines = ((number, line) for number, line in enumerate(opened, 1) if line.strip())
            first = next(lines, None)
            if first is None:
                yield Dropped("empty file")
            elif first[1].startswith("{"):
                yield from self._from_json(chain([first], lines), file)
            elif _BEGIN.match(first[1]):
                yield from self._from_tags(chain([first], lines), file)
            else:
                raise ValueError(
                    f"corpus {self.name}: {file} is not WikiExtractor output: no <doc ...> in its first line"
                )

    def _from_json(self, lines: Iterable[tuple[int, str]], file: Path) -> Iterator[Document | Dropped]:
        for number, line in lines:
            try:
                article = json.loads(line)
                yield self._document(article["id"], article["title"], article["text"].split("\n"))
            except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"corpus {self.name}: {file}, line {number} is not an article: {error!r}") from error

    def _from_tags(self, lines: Iterable[tuple[int, str]], file: Path) -> Iterator[Document | Dropped]:
        begin: re.Match[str] | None = None
        body: list[str] = []
        for number, line in lines:
            match = _BEGIN.match(line)
            if match and begin:
                raise ValueError(f"corpus {self.name}: {file}, line {number}: no </doc> after {begin['title']!r}")
            if match:
                begin, body = match, []
            elif line.startswith("</doc>") and begin:
                yield self._document(begin["id"], html.unescape(begin["title"]), body)
                begin = None
            else:
                body.append(line)
        if begin:
            raise ValueError(f"corpus {self.name}: {file} ends inside the article {begin['title']!r}")

    def _document(self, identifier: str, title: str, lines: list[str]) -> Document | Dropped:
        unescaped = (html.unescape(line) for line in lines)
        cleaned = (tidy(line) for line in unescaped if not _DEBRIS.search(line))
        paragraphs = [line for line in cleaned if line != title and is_prose(line)]
        if not paragraphs:
            return Dropped("no running text")
        return Document(f"{self.name}/{identifier}", paragraphs, title)
