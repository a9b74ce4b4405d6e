"""The entities of a prepared folder: the pages that its text links to, the most linked first, and their vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.prepared.manifest import FileEntry, KnowledgeEntry
from data_pipeline.prepared.npy import parse_matrix
from data_pipeline.prepared.prepared_folder import PreparedFolder, open_folder

TITLES, VECTORS = "titles", "vectors"


@dataclass(frozen=True, slots=True)
class EntityTable:
    """The entities that the mentions of a prepared folder name, by their row.

    Attributes:
        titles: Titles of the entities.
        vectors: Vectors of the entities, (num_entities, entity_size).
        vectors_sha256: Hash of the file of the vectors.
    """

    titles: list[str]
    vectors: NDArray[np.float32]
    vectors_sha256: str


def read_entity_table(folder: PreparedFolder | str | Path) -> EntityTable:
    """Return the entities of a prepared folder.

    Raises:
        ValueError: if the folder has none, or a file is damaged; the message names the file.
    """
    source = open_folder(folder)
    knowledge = knowledge_of(source)
    vectors = file_of(source, VECTORS)
    shape = (knowledge.num_entities, knowledge.entity_size)
    content = source.read_file(vectors)
    try:
        matrix = parse_matrix(content, VECTORS, shape)
    except ValueError as error:
        raise ValueError(f"file {vectors.name} of {source} {error}") from None
    return EntityTable(entity_titles(source), matrix, vectors.sha256)


def entity_titles(folder: PreparedFolder) -> list[str]:
    """Return the titles of the entities of a folder, by their row; the errors are those of `read_entity_table`."""
    return read_titles(folder, file_of(folder, TITLES), knowledge_of(folder).num_entities)


def knowledge_of(folder: PreparedFolder) -> KnowledgeEntry:
    """Return what the manifest of a folder says about entities; ValueError if the links were not read."""
    if folder.manifest.knowledge is None:
        raise ValueError(f"{folder} has no mentions of entities; prepare it with corpus.links=true")
    return folder.manifest.knowledge


def file_of(folder: PreparedFolder, kind: str) -> FileEntry:
    """Return a file of entities; ValueError if the manifest lists none of this kind."""
    files = knowledge_of(folder).files
    if kind not in files:
        raise ValueError(f"the manifest of {folder} lists no file knowledge.files.{kind}")
    return files[kind]


def encode_titles(titles: Sequence[str]) -> bytes:
    """Return titles as a text file of one title a line; no title has a line feed."""
    return "".join(f"{title}\n" for title in titles).encode()


def read_titles(folder: PreparedFolder, file: FileEntry, number: int) -> list[str]:
    """Return the titles of a file; ValueError naming the file if it has another number of titles or is no text."""
    try:
        lines = folder.read_file(file).decode().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"file {file.name} of {folder} is not UTF-8 text: {error}") from None
    if lines.pop():
        raise ValueError(f"file {file.name} of {folder} ends inside a line")
    if len(lines) != number:
        raise ValueError(f"file {file.name} of {folder} has {len(lines)} titles, the manifest says {number}")
    return lines
