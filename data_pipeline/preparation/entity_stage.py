"""The stage of a preparation that finds the entities: text with links -> entities, link graph, vectors.

    links of each page (a task a file) -> entities, graph and vectors of all pages (one task)

Only the training split counts, every document once. The titles that are linked, and the edges, are in the memory of the
one task; redirects are read file by file, and only those of linked titles and of entities are kept.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.corpora.wiki_links import normalized_title
from data_pipeline.knowledge.entity_table import TITLES, VECTORS, encode_titles
from data_pipeline.knowledge.link_graph import LINKS, PAGES, LinkGraph, encode_links, link_graph, linked_entities
from data_pipeline.knowledge.link_vectors import link_vectors
from data_pipeline.knowledge.title_rows import TitleRows
from data_pipeline.preparation.executors import Executor
from data_pipeline.preparation.extracted_text import ExtractedText, read_records, record_line
from data_pipeline.preparation.work_folder import WorkFolder, copy_to_disk
from data_pipeline.prepared.manifest import FileEntry, KnowledgeEntry
from data_pipeline.prepared.npy import npy
from data_pipeline.whole_numbers import check_whole_number

FOLDER = "entities"
"""Folder of the files in the prepared folder."""
_NAMES = {TITLES: "titles.txt", PAGES: "pages.txt", LINKS: "links.npy", VECTORS: "vectors.npy"}


@dataclass(frozen=True, slots=True)
class EntitySettings:
    """Settings of the entities of a corpus with links.

    Attributes:
        min_count: Fewest links to a page that is an entity.
        size: Numbers of the vector of an entity; 100 as in ERNIE (Zhang et al., 2019, section 4.1).
        seed: Seed of the vectors.
    """

    min_count: int = 5
    size: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("min_count", 1), ("size", 1), ("seed", 0)):
            check_whole_number(f"entities.{name}", getattr(self, name), least)


@dataclass(frozen=True, slots=True)
class EntityStage:
    """Tasks that find the entities of a corpus.

    Attributes:
        work: Folder of the stage.
        text: The extracted text of all sources.
        read: The text as it was read, with the redirects.
        num_files: Files of each.
        settings: Settings of the entities.
    """

    work: WorkFolder
    text: ExtractedText
    read: ExtractedText
    num_files: int
    settings: EntitySettings

    def run(self, executor: Executor) -> KnowledgeEntry:
        """Find the entities, and return what the manifest says about them.

        Raises:
            ValueError: if no page is linked often enough.
        """
        executor.run("links", self.count_links, self.num_files, self.work.tasks("links"))
        executor.run("entities", self.find_entities, 1, self.work.tasks("entities"))
        numbers = json.loads((self.work.folder("about") / "numbers.json").read_text(encoding="utf-8"))
        files = {kind: _entry(self.work.folder(FOLDER), name) for kind, name in _NAMES.items()}
        return KnowledgeEntry(**numbers, entity_size=self.settings.size, files=files)

    def count_links(self, number: int) -> None:
        """Write how often each training document of a file links to each title."""
        with self.work.delivered() as scratch, self._links(scratch, number).open("w", encoding="utf-8") as file:
            for record in read_records(self.text.path("train", number)):
                if links := record.get("links"):
                    counts = Counter(title for _, title in links)
                    file.write(record_line({"title": normalized_title(record["title"]), "links": counts}))

    def find_entities(self, number: int) -> None:
        """Write the titles of the entities, the graph of their links, and their vectors."""
        titles, rows = linked_entities(self._pages(), self._redirects, self.settings.min_count)
        graph = link_graph(self._pages(), titles, rows.get)
        vectors = link_vectors(graph, self.settings.size, self.settings.seed)
        with self.work.delivered() as scratch:
            contents = {
                TITLES: encode_titles(titles),
                PAGES: encode_titles(graph.pages),
                LINKS: encode_links(graph),
                VECTORS: npy(vectors),
            }
            for kind, content in contents.items():
                (scratch.folder(FOLDER) / _NAMES[kind]).write_bytes(content)
            TitleRows.of(rows).save(rows_of(scratch))
            self._save_numbers(scratch, graph)

    def deliver(self, output: Path) -> None:
        """Copy the files into the folder that becomes the prepared folder."""
        copy_to_disk(self.work.folder(FOLDER), output / FOLDER)

    @staticmethod
    def _save_numbers(work: WorkFolder, graph: LinkGraph) -> None:
        numbers = {"num_entities": len(graph.titles), "num_pages": len(graph.pages)}
        (work.folder("about") / "numbers.json").write_text(json.dumps(numbers), encoding="utf-8")

    @staticmethod
    def _links(work: WorkFolder, number: int) -> Path:
        return work.folder("links") / f"{number:05d}.jsonl"

    def _pages(self) -> Iterator[tuple[str, dict[str, int]]]:
        for number in range(self.num_files):
            for record in read_records(self._links(self.work, number)):
                yield record["title"], record["links"]

    def _redirects(self) -> Iterator[tuple[str, str]]:
        for number in range(self.num_files):
            yield from self.read.redirects(number).items()


def rows_of(work: WorkFolder) -> Path:
    """Return the file of the rows of titles (`TitleRows`) in the folder of the stage."""
    return work.folder("about") / "rows.npy"


def _entry(folder: Path, name: str) -> FileEntry:
    content = (folder / name).read_bytes()
    return FileEntry(f"{FOLDER}/{name}", len(content), hashlib.sha256(content).hexdigest())
