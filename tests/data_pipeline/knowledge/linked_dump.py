"""A dump of a made-up wiki whose pages link to each other, and its prepared folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_pipeline.corpora.wikipedia_dump import WikipediaDump
from data_pipeline.preparation.entity_stage import EntitySettings
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.preparation import Preparation
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.support.texts import WORDS

NAMES = [f"{first.title()} {second}" for first in WORDS[5:15] for second in WORDS[32:36]]
"""Titles of the pages."""
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo><namespaces>
<namespace key="0"/><namespace key="6">File</namespace><namespace key="100">Gate</namespace></namespaces></siteinfo>
{}</mediawiki>"""
PAGE = "<page><title>{}</title><ns>0</ns><id>{}</id>{}<revision><text>{}</text></revision></page>\n"


@dataclass(frozen=True)
class Linked:
    """Links of the pages of a dump.

    Attributes:
        links: Shown text, in small letters, and title of the page of every link, by the title of the page.
    """

    links: dict[str, list[tuple[str, str]]]

    def counts(self) -> dict[str, int]:
        """How often each page is linked from all pages."""
        targets = [title for links in self.links.values() for _, title in links]
        return {title: targets.count(title) for title in targets}


def write_dump(path: Path, seed: int = 0) -> Linked:
    """Write the dump: links with and without text and trail, over redirects, and to what is no article."""
    numbers = np.random.default_rng(seed)
    links: dict[str, list[tuple[str, str]]] = {}
    pages = []
    for number, title in enumerate(NAMES):
        links[title] = []
        paragraphs = [_paragraph(numbers, links[title]) for _ in range(4)]
        pages.append(PAGE.format(title, number, "", "\n\n".join(paragraphs)))
    for number, title in enumerate(NAMES):
        pages.append(PAGE.format(alias(title), 100 + number, f'<redirect title="{title}"/>', "#REDIRECT"))
    path.write_text(DUMP.format("".join(pages)))
    return Linked(links)


def alias(title: str) -> str:
    """Return the title of the redirect to a page."""
    return f"Old {title.lower()}"


def _paragraph(numbers: np.random.Generator, links: list[tuple[str, str]]) -> str:
    sentences = []
    for _ in range(5):
        words = numbers.choice(WORDS, size=8).tolist()
        for place in (2, 5):
            title = NAMES[int(len(NAMES) * numbers.random() ** 3)]
            kind = int(numbers.integers(6))
            shown = {0: title, 1: f"{words[place]}s", 2: words[place], 3: words[place]}.get(kind)
            words[place] = {
                0: f"[[{title}]]",
                1: f"[[{title.lower().replace(' ', '_')}#part|{words[place]}]]s",
                2: f"[[{alias(title)}|''{words[place]}'']]",
                3: f"[[:{title}|{words[place]}]]",
                4: f"[[Gate:{title}|{words[place]}]]",
            }.get(kind, words[place])
            if shown is not None:
                links.append((shown.lower(), title))
        sentences.append(" ".join(words).capitalize() + ".")
    return " ".join(sentences)


def prepare(
    source: Path, output: Path, workers: int = 1, links: bool = True, weight: float = 1, **changes: object
) -> Manifest:
    """Prepare the dump."""
    reader = WikipediaDump("wiki", source, "none", "made by the tests", links=links, weight=weight)
    settings = {
        "validation_fraction": 0.2,
        "shard_tokens": 1500,
        "group_bytes": 9000,
        "entities": EntitySettings(min_count=8, size=6),
    }
    preparation = Preparation(output, **(settings | changes))
    manifest, _ = preparation.run([reader], lambda texts: train_wordpiece(texts(), 150), {}, LocalExecutor(workers))
    return manifest
