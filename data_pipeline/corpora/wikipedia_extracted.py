"""What WikiExtractor writes: `<doc id= url= title=>` ... `</doc>`, or one JSON object a line (`--json`)."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.corpora.reader import Reader
from data_pipeline.records import Document, Dropped

_BEGIN = re.compile(r'<doc id="(?P<id>[^"]*)" url="(?P<url>[^"]*)" title="(?P<title>.*)">\s*$')
_TAG = re.compile(r"</?[a-zA-Z][^>\n]{0,200}>")


class WikipediaExtracted(Reader):
    """The articles WikiExtractor found; each line is a paragraph, the first one repeats the title."""

    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield every article of a file."""
        with file.open(encoding="utf-8-sig") as lines:
            first = next((line for line in lines if line.strip()), "")
            if first.startswith("{"):
                yield from self._from_json(file)
            elif _BEGIN.match(first):
                yield from self._from_tags(file)
            else:
                raise ValueError(
                    f"corpus {self.name}: {file} is not WikiExtractor output: no <doc ...> in its first line"
                )

    def _from_json(self, file: Path) -> Iterator[Document | Dropped]:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    article = json.loads(line)
                    yield self._document(article["id"], article["title"], article["text"].split("\n"))
                except (json.JSONDecodeError, KeyError, TypeError) as error:
                    raise ValueError(f"corpus {self.name}: {file}, line {number} is not an article: {error}") from error

    def _from_tags(self, file: Path) -> Iterator[Document | Dropped]:
        begin: re.Match[str] | None = None
        body: list[str] = []
        with file.open(encoding="utf-8-sig") as lines:
            for line in lines:
                if match := _BEGIN.match(line):
                    begin, body = match, []
                elif line.startswith("</doc>") and begin:
                    yield self._document(begin["id"], html.unescape(begin["title"]), body)
                    begin = None
                else:
                    body.append(line)
        if begin:
            raise ValueError(f"corpus {self.name}: {file} ends inside the article {begin['title']!r}")

    def _document(self, identifier: str, title: str, lines: list[str]) -> Document | Dropped:
        cleaned = (" ".join(_TAG.sub("", html.unescape(line)).split()) for line in lines)
        paragraphs = [line for line in cleaned if line and line != title]
        if not paragraphs:
            return Dropped("no running text")
        return Document(f"{self.name}/{identifier}", paragraphs, title)
