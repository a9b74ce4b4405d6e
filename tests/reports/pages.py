"""A page as a browser reads it: its words, its elements, its charts, and the scripts that it runs."""

import json
from functools import cache
from html.parser import HTMLParser
from typing import Any

from bokeh.resources import Resources

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "br"}
ATTRIBUTES = {"lang", "charset", "name", "content", "class", "type", "style", "data-name"}
"""All attributes that the templates write: none of them loads or runs anything."""


class Page(HTMLParser):
    """A page.

    Args:
        html: Its text.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words = ""
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.charts: list[dict[str, Any]] = []
        self.scripts: list[str] = []
        self.rows: list[list[str]] = []
        self.best_rows: list[list[str]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        given = dict(attrs)
        if tag == "tr":
            self.rows.append([])
            if given.get("class") == "best":
                self.best_rows.append(self.rows[-1])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append((tag, given.get("type") or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, kind = self._open[-1] if self._open else ("", "")
        if tag == "script":
            (self.charts.append(json.loads(data)) if kind == "application/json" else self.scripts.append(data))
        elif tag != "style":
            self.words += data
            if any(each in ("td", "th") for each, _ in self._open):
                self.rows[-1][-1] += data

    @property
    def said(self) -> list[str]:
        """What the lines and dots of the charts say when they are pointed at."""
        return [text for chart in self.charts for text in _column(chart, "said")]


def _column(value: Any, name: str) -> list[str]:
    """Return all columns of a name, wherever they stand in a drawing."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in _column(each, name)]
    if isinstance(value, list):
        if len(value) == 2 and value[0] == name:
            return list(value[1])
        return [text for each in value for text in _column(each, name)]
    return []


@cache
def library() -> str:
    """Return the script that draws charts."""
    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)


def assert_stands_alone(page: Page) -> None:
    """The page loads nothing and runs the library of charts and its few lines of script alone."""
    assert page.attributes <= ATTRIBUTES
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert page.scripts[0] == library()
    assert len(page.scripts) == 2
    assert "embed_item" in page.scripts[1]
